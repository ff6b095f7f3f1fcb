"""Copying a dataset between folders and stores, at a fidelity.

A copy at fidelity K is a dataset of K scan groups: its records are prefixes of the source's, with
metadata that say so, and its images are the bytes that a reader at fidelity K has. A copy of all
groups is the source, byte for byte.

Records are written one by one, each whole or not at all, and the index last: a reader finds a
complete dataset or none. Where the copy goes to a store, its working index is kept in the user's
cache folder, so that the same command goes on where it was stopped.

Memory: for each worker, a record's prefix, twice.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dl2cli.errors import DataError, StorageError, UsageError, system_failure
from dl2cli.pcr import index
from dl2cli.pcr.database import open_database
from dl2cli.pcr.dataset import Dataset
from dl2cli.pcr.dataset import open as open_dataset
from dl2cli.pcr.dataset_files import is_file, local_file
from dl2cli.pcr.index import RecordInfo, RecordRows
from dl2cli.pcr.output_folder import locked, storage_errors, working_folder
from dl2cli.pcr.transfer.to_store import publish
from dl2cli.stores.fetch import cancel_until_done
from dl2cli.stores.path import StorePath
from dl2cli.stores.reader import REREADS, StoreReader
from dl2cli.stores.writer import StoreWriter, write_file
from dl2cli_native import _core

_WORKERS: Final = 4


@dataclass(frozen=True)
class CopyResult:
    """What was copied.

    Attributes:
        source: where from.
        out: where to.
        scans: the fidelity K.
        images: images in the copy.
        records: records in it.
        bytes_written: bytes of records that this run wrote.
        resumed_records: records that an earlier run had written.
    """

    source: Path
    out: Path
    scans: int
    images: int
    records: int
    bytes_written: int
    resumed_records: int


def copy(
    source: Dataset,
    out: Path,
    scans: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
    workers: int = _WORKERS,
) -> CopyResult:
    """Copy a dataset to a folder or a store, or go on with that.

    Args:
        source: what to copy.
        out: a new or empty folder, a place in a store without a dataset, or a copy that was
            stopped.
        scans: the fidelity K; all scan groups if None.
        on_progress: called with the images copied and their number in all.
        workers: records that are on their way at a time.

    Raises:
        UsageError: there is another dataset at `out`, or the source has no such fidelity.
        DataError: a record of the source is damaged.
        StorageError: a disk or a store failed; what is done is kept.
    """
    scans = source.groups if scans is None else scans
    source.prefix_bytes(scans)  # refuses what is out of range
    if source.is_published_format:
        raise UsageError(
            f"{source.path} was written by the PCR_Release converter and has no checksums, so that "
            "a copy could not be verified: copy its files, or convert its images anew."
        )
    writer = StoreWriter(out) if isinstance(out, StorePath) else None
    folder = working_folder(out, "copies")
    job = _CopyJob(source, out, folder, scans, writer)
    if job.is_done():
        return job.result(0, len(source.records))
    with storage_errors(out), locked(folder):
        return job.run(on_progress or (lambda _done, _all: None), workers)


class _CopyJob:
    def __init__(
        self, source: Dataset, out: Path, folder: Path, scans: int, writer: StoreWriter | None
    ) -> None:
        self.source, self.out, self.folder, self.scans = source, out, folder, scans
        self.writer = writer

    def is_done(self) -> bool:
        """Tell whether the copy is there. Raises UsageError if another dataset is."""
        if self.writer is None:
            return False  # `_working` looks
        if local_file(self.out / index.INDEX, None) is None:
            return False
        there = open_dataset(self.out)
        if self._same(there.properties, there.classes) and self._have(there.records):
            return True
        raise UsageError(f"There is another dataset at {self.out}; choose another place.")

    def run(self, tell: Callable[[int, int], None], workers: int) -> CopyResult:
        complete = self._prepare()
        written = 0
        if complete:
            return self.result(0, len(self.source.records))
        with open_database(self.folder / index.INDEX, write=True) as database:
            done = index.read_progress(database)
            todo = [number for number, r in enumerate(self.source.records) if r.id not in done]
            images = self.source.image_count
            behind = images - sum(self.source.records[number].images for number in todo)
            with contextlib.closing(self._copied(todo, workers)) as copied:
                for row, size in copied:
                    index.add_record(database.connection, row)
                    written += size
                    behind += row.images
                    tell(behind, images)
        self._finish()
        return self.result(written, len(self.source.records) - len(todo))

    def result(self, written: int, resumed: int) -> CopyResult:
        source = self.source
        return CopyResult(
            source.path,
            self.out,
            self.scans,
            source.image_count,
            len(source.records),
            written,
            resumed,
        )

    def _properties(self) -> dict[str, Any]:
        """Return the properties of the copy: the source's, cut to its scan groups."""
        properties = {k: v for k, v in self.source.properties.items() if k != "complete"}
        if self.scans == self.source.groups:
            return properties
        script = properties.get("scan_script")
        if isinstance(script, str):
            properties["scan_script"] = "".join(script.splitlines(keepends=True)[: self.scans])
        fidelity = properties.get("fidelity")
        if isinstance(fidelity, list):
            properties["fidelity"] = [f for f in fidelity if f.get("scans", 0) <= self.scans]
        whole = properties.get(index.OF_GROUPS, self.source.groups)
        return {**properties, index.OF_GROUPS: whole}

    def _same(self, properties: dict[str, Any], classes: tuple[str, ...]) -> bool:
        theirs = {k: v for k, v in properties.items() if k != "complete"}
        return theirs == self._properties() and classes == self.source.classes

    def _have(self, records: tuple[RecordInfo, ...], *, all_of_them: bool = True) -> bool:
        """Tell whether the records are the same as those in the copy."""
        wanted = {r.id: (r.file, r.images, self._groups(r)) for r in self.source.records}
        found = {r.id: (r.file, r.images, r.lengths[1:]) for r in records}
        if all_of_them and len(found) != len(wanted):
            return False
        return all(wanted.get(number) == each for number, each in found.items())

    def _groups(self, record: RecordInfo) -> tuple[int, ...]:
        return record.lengths[1 : self.scans + 1]

    def _prepare(self) -> bool:
        """Make or open the working index; True if the copy is complete. Raises UsageError."""
        working = self.folder / index.INDEX
        other = UsageError(f"{self.out} holds something else; choose an empty folder for the copy.")
        if not is_file(working):
            if any(not each.name.endswith(".tmp") for each in self.folder.iterdir()):
                raise other
            index.create_working(working, self._properties(), self.source.classes)
            return False
        with open_database(working) as database:
            if not database.has_table("dataset"):
                raise other
            properties = index.read_properties(database)
            records = index.read_records(database)
            complete = properties.get("complete") is True
            mine = self._same(properties, index.read_classes(database))
            if not mine or not self._have(records, all_of_them=complete):
                raise other
        # What a store was given is complete when its index is there (`is_done`).
        return complete and self.writer is None

    def _copied(
        self, todo: list[int], workers: int
    ) -> Generator[tuple[RecordRows, int], None, None]:
        """Copy records side by side, and yield the rows of each when it is durable, in order."""
        waiting: deque[Future[tuple[RecordRows, int]]] = deque()
        rest = iter(todo)
        with ThreadPoolExecutor(workers) as pool:
            try:
                for number in rest:
                    waiting.append(pool.submit(self._record, number))
                    if len(waiting) > workers:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            except BaseException:
                cancel_until_done(waiting, self._cancel)
                raise

    def _cancel(self) -> None:
        """End the requests that are under way."""
        if isinstance(self.source.place, StoreReader):
            self.source.place.cancel()
        if self.writer is not None:
            self.writer.cancel()

    def _record(self, number: int) -> tuple[RecordRows, int]:
        info = self.source.records[number]
        metadata, groups = read_verified(self.source, info, self.scans)
        if self.scans < len(info.lengths) - 1:
            metadata = _core.cut_metadata(metadata, self.scans)
        lengths = [len(metadata), *map(len, groups)]
        try:
            if self.writer is not None:
                self.writer.write(info.file, [metadata, *groups])
            else:
                write_file(self.folder / info.file, [metadata, *groups])
        except OSError as error:
            raise StorageError(
                f"{self.out / info.file} cannot be written: {error.strerror}."
            ) from error
        row = (
            info.id,
            info.file,
            info.images,
            index.pack_lengths(lengths),
            _core.crc32c(metadata),
        )
        return RecordRows(info.id, info.images, sum(lengths), row, (), ()), sum(lengths)

    def _finish(self) -> None:
        """Write the final index, provenance first."""
        sources = local_file(self.source.path / index.SOURCES, None)
        per_record = self.source.properties.get("images_per_record")
        if not isinstance(per_record, int):
            per_record = max((r.images for r in self.source.records), default=1)
        with open_database(self.folder / index.INDEX) as database:
            complete = index.read_properties(database).get("complete") is True
        if not complete:
            index.finalize(self.folder, {}, per_record, sources)
        if isinstance(self.out, StorePath):
            publish(self.folder, self.out)


def read_verified(dataset: Dataset, info: RecordInfo, scans: int) -> tuple[bytes, list[memoryview]]:
    """Return a record's metadata and its first groups, each with the right checksum.

    Raises:
        DataError: the record is damaged or missing.
        StorageError: the disk or the store failed.
    """
    where = f"{dataset.path}, record {info.file}"
    for left in range(REREADS, -1, -1):
        try:
            content = _read(dataset, info, scans)
            return _taken_apart(content, info, scans)
        except FileNotFoundError as error:
            raise DataError(f"{where}: the file is missing.") from error
        except ValueError as error:
            if left == 0 or not isinstance(dataset.place, StoreReader):
                raise DataError(f"{where}: {error}.") from error
        except (OSError, MemoryError) as error:
            raise system_failure(where, error) from error
    raise AssertionError


def _read(dataset: Dataset, info: RecordInfo, scans: int) -> memoryview:
    size = sum(info.lengths[: scans + 1])
    if isinstance(dataset.place, StoreReader):
        pieces = dataset.place.read(info.file, 0, size)
        return memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
    with (dataset.path / info.file).open("rb") as file:
        content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{len(content):,} bytes, too few for {scans} scan groups")
    return memoryview(content)


def _taken_apart(
    content: memoryview, info: RecordInfo, scans: int
) -> tuple[bytes, list[memoryview]]:
    parts, at = [], 0
    for length in info.lengths[: scans + 1]:
        parts.append(content[at : at + length])
        at += length
    metadata = bytes(parts[0])
    if _core.crc32c(metadata) != info.crc32c:
        raise ValueError("metadata: wrong checksum: damaged, or the record of another dataset")
    checksums = _core.record_checksums(metadata)
    for number, (group, checksum) in enumerate(zip(parts[1:], checksums, strict=False), start=1):
        if _core.crc32c(group) != checksum:
            raise ValueError(f"scan group {number}: wrong checksum")
    return metadata, parts[1:]
