"""Reading a PCR dataset: `open(path)` gives a `Dataset`, and that gives records at fidelity k."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import psutil
from numpy.typing import NDArray

from dl2cli.errors import DataError, UsageError, system_failure
from dl2cli.pcr import index, published
from dl2cli.pcr.database import Database, open_database
from dl2cli.pcr.dataset_files import has_journal, in_file, local_file
from dl2cli.pcr.index import RecordInfo, RejectedInfo, SourceInfo
from dl2cli.stores.cache import RecordExtent
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath, dataset_path
from dl2cli.stores.reader import StoreReader
from dl2cli_native import _core

MAX_PIXELS: Final = 65_535**2  # JPEG's own limit
DECODE_BYTES_PER_PIXEL: Final = 9  # 6 of coefficients, 3 of pixels
MAX_PASSES: Final = 256  # times the pixels: 64 scans of a CMYK image, each component on its own
MAX_SCANS: Final = 1000  # a script of 64 scans gives a CMYK image up to 256


def limits_of(max_pixels: int) -> _core.Limits:
    """Return the limits for images of up to so many pixels, in any number of scans."""
    return _core.Limits(
        max_pixels=max_pixels, max_scans=MAX_SCANS, max_scan_pixels=MAX_PASSES * max_pixels
    )


@dataclass(frozen=True)
class Record:
    """The images of one record at fidelity k, all in one buffer.

    `labels` is int32 (n,); `widths`, `heights` (uint16) and `orientations` (uint8, EXIF) are (n,),
    or empty in datasets of the PCR_Release converter. `bytes_read` counts what came from storage.
    """

    info: RecordInfo
    scans: int
    labels: NDArray[np.int32]
    widths: NDArray[np.uint16]
    heights: NDArray[np.uint16]
    orientations: NDArray[np.uint8]
    bytes_read: int
    _buffer: memoryview
    _offsets: list[int]

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def image(self, slot: int) -> memoryview:
        """Return a JPEG, end marker included, as a view of the record's buffer.

        Negative slots count from the end. Raises IndexError where there is no such image.
        """
        slot = range(len(self))[slot]
        return self._buffer[self._offsets[slot] : self._offsets[slot + 1]]

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle a copy of the bytes: views of a buffer cannot leave their process."""
        sizes = (self.labels, self.widths, self.heights, self.orientations)
        fields = (self.info, self.scans, *sizes, self.bytes_read)
        return _restore_record, (fields, bytes(self._buffer), self._offsets)

    @property
    def images(self) -> list[memoryview]:
        """All JPEGs of the record, as views of one buffer."""
        return [self.image(slot) for slot in range(len(self))]


def _restore_record(fields: tuple[Any, ...], buffer: bytes, offsets: list[int]) -> Record:
    info, scans, labels, widths, heights, orientations, bytes_read = fields
    view = memoryview(buffer)
    return Record(info, scans, labels, widths, heights, orientations, bytes_read, view, offsets)


class Dataset:
    """A PCR dataset on disk or in a store. Reading is thread-safe and releases the GIL.

    It can be pickled, to hand it to other processes, and opens its files there anew; a throttle
    stays behind.
    """

    def __init__(
        self,
        path: Path,
        records: tuple[RecordInfo, ...],
        classes: tuple[str, ...],
        properties: dict[str, Any],
        *,
        throttle: _core.Throttle | None = None,
        store: StoreOptions | None = None,
    ) -> None:
        self.path = path
        self.records = records
        self.classes = classes
        self.properties = properties
        self._store = store
        self.place: bytes | StoreReader
        """Where the records are, for the native core."""
        if isinstance(path, StorePath):
            extents = [RecordExtent(each.file, each.lengths, each.crc32c) for each in records]
            self.place = StoreReader(path, store, extents)
        else:
            self.place = os.fsencode(path)
        self._reader = _core.RecordReader(self.place, throttle=throttle)

    def __reduce__(self) -> tuple[Any, ...]:
        what = (self.path, self.records, self.classes, self.properties)
        return functools.partial(Dataset, store=self._store), what

    @cached_property
    def groups(self) -> int:
        """The number of scan groups G; fidelity k runs from 1 to G."""
        return max((len(record.lengths) - 1 for record in self.records), default=0)

    @cached_property
    def image_count(self) -> int:
        """The number of images."""
        return sum(record.images for record in self.records)

    @cached_property
    def limits(self) -> _core.Limits:
        """Limits that admit whatever the conversion admitted, in any number of scans.

        The dataset itself says what they are. To read a stranger's dataset, use your own limits
        (`verify`).
        """
        stored = self.properties.get("limits")
        pixels = stored[0] if isinstance(stored, list) and stored else None
        if not isinstance(pixels, int) or pixels < 1:
            pixels = _core.Limits().max_pixels
        # No image may take more than half of the memory, whatever the dataset says of itself.
        room = psutil.virtual_memory().total // 2 // DECODE_BYTES_PER_PIXEL
        pixels = min(pixels, MAX_PIXELS, room)
        return limits_of(pixels)

    @property
    def is_published_format(self) -> bool:
        """Whether the PCR_Release converter wrote it (no checksums, no sizes, no class names)."""
        return "format_version" not in self.properties

    def throttled(self, throttle: _core.Throttle) -> Dataset:
        """Return the dataset with a reader of its own, which `throttle` slows."""
        what = (self.path, self.records, self.classes, self.properties)
        return Dataset(*what, throttle=throttle, store=self._store)

    def release_throttle(self) -> None:
        """Stop waiting for the throttle, in reads under way and in later ones."""
        self._reader.release_throttle()

    def prefix_bytes(self, scans: int) -> int:
        """Return how many bytes of record files a reader at fidelity `scans` takes in all."""
        self._check_scans(scans)
        return sum(sum(record.lengths[: scans + 1]) for record in self.records)

    def read(self, record: int, scans: int | None = None) -> Record:
        """Read a record at fidelity `scans` (all scan groups if None) in one range of its file.

        Raises:
            DataError: the record is damaged, missing, or another dataset's; names record and group.
            StorageError: the operating system refused, memory included.
            UsageError: there is no such fidelity.
        """
        info = self.records[record]
        wanted = self.groups if scans is None else scans
        self._check_scans(wanted)
        # A record of the PCR_Release converter may have fewer groups than the dataset.
        groups = min(wanted, len(info.lengths) - 1)
        with self._naming(info):
            native = self._reader.read(info.file, list(info.lengths), info.crc32c, groups)
            if len(native.labels) != info.images:
                raise DataError(
                    f"it holds {len(native.labels)} images, but the index says {info.images}"
                )
        return Record(
            info,
            wanted,
            native.labels,
            native.widths,
            native.heights,
            native.orientations,
            native.bytes_read,
            memoryview(native),
            native.offsets.tolist(),
        )

    def read_labels(self, record: int) -> NDArray[np.int32]:
        """Read only the labels of a record; raises as `read` does."""
        info = self.records[record]
        with self._naming(info):
            return self._reader.read_labels(info.file, list(info.lengths), info.crc32c)

    def read_orientations(self, record: int) -> NDArray[np.uint8]:
        """Read only the EXIF orientation (1 to 8) of each image of a record; raises as `read` does.

        Datasets of the PCR_Release converter give an empty array.
        """
        info = self.records[record]
        with self._naming(info):
            return self._reader.read_orientations(info.file, list(info.lengths), info.crc32c)

    def record_bytes(self, record: int) -> int:
        """Return the size of a record's file now; raises as `read` does.

        In a store it is what the last answer said; a record that was not read yet is asked for.
        """
        info = self.records[record]
        with self._naming(info):
            if isinstance(self.place, StoreReader):
                return self.place.size(info.file)
            return (self.path / info.file).stat().st_size

    def missing_records(self) -> list[str]:
        """Say which record files are missing, or not as long as the index says.

        Their content is not read. A store is not asked, since each record would take a request.
        Raises StorageError.
        """
        if isinstance(self.place, StoreReader):
            return []
        reasons = []
        for number, info in enumerate(self.records):
            try:
                size = self.record_bytes(number)
            except DataError as error:
                reasons.append(str(error))
                continue
            if size != sum(info.lengths):
                reasons.append(
                    f"{self.path}, record {info.file}: it has {size:,} bytes, but the index says "
                    f"{sum(info.lengths):,}."
                )
        return reasons

    def sources(self, record: int | None = None) -> Iterator[SourceInfo]:
        """Yield where each image came from, by record and slot; nothing if that is not known."""
        path = local_file(self.path / index.SOURCES, self._store)
        if path is not None:
            with open_database(path) as database, in_file(self.path / index.SOURCES):
                yield from index.read_sources(database, record)

    def sources_by_record(self) -> Iterator[dict[int, SourceInfo]]:
        """Yield, for each record in order, where its images came from, by slot.

        The table is read once from front to back, whereas `sources` searches it for each record.
        """
        rows = self.sources()
        row = next(rows, None)
        for info in self.records:
            found: dict[int, SourceInfo] = {}
            while row is not None and row.record <= info.id:
                if row.record == info.id:
                    found[row.slot] = row
                if len(found) > index.MAX_RECORD_IMAGES:
                    raise DataError(f"{self.path / index.SOURCES} has too many rows for a record.")
                row = next(rows, None)
            yield found

    def rejected(self) -> list[RejectedInfo]:
        """Return the source files that were not converted, with their reasons."""
        path = local_file(self.path / index.SOURCES, self._store)
        if path is None:
            return []
        with open_database(path) as database, in_file(self.path / index.SOURCES):
            return list(index.read_rejected(database))

    def _check_scans(self, scans: int) -> None:
        if not 1 <= scans <= self.groups:
            raise UsageError(f"{self.path} has fidelities 1 to {self.groups}, but not {scans}.")

    def _naming(self, info: RecordInfo) -> _Naming:
        return _Naming(f"{self.path}, record {info.file}")


class _Naming:
    """Turns errors of the native core into ours, with the name of what was read."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _core.DataError | DataError):
            raise DataError(f"{self.name}: {error}.") from error
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{self.name}: the file is missing.") from error
        if isinstance(error, OSError | MemoryError):
            raise system_failure(self.name, error) from error


def open(  # noqa: A001 - read as `pcr.open`
    path: str | os.PathLike[str], store: StoreOptions | None = None
) -> Dataset:
    """Open a PCR dataset that dl2 or the PCR_Release converter wrote.

    Args:
        path: its folder, or its URL in a store.
        store: how a store is asked.

    Raises:
        UsageError: there is no dataset at `path`.
        DataError: the index is damaged, or the conversion was not finished.
        StorageError: the operating system or the store refused.
        MissingDependency: `path` is a URL, and the library that reads stores is not installed.
    """
    folder = dataset_path(path)
    file = local_file(folder / index.INDEX, store)
    if file is None and isinstance(folder, StorePath):
        raise UsageError(f"{folder} holds no PCR dataset ({index.INDEX} is missing).")
    if file is None:
        splits = sorted(each.parent.name for each in folder.glob(f"*/{index.INDEX}"))
        hint = f"; its splits do: {', '.join(splits)}" if splits else ""
        raise UsageError(f"{folder} holds no PCR dataset ({index.INDEX} is missing){hint}.")
    unfinished = DataError(
        f"{folder} is an unfinished conversion; run the same `dl2 convert` again to resume it."
    )
    if has_journal(folder):
        raise unfinished
    try:
        with open_database(file) as database:
            if database.has_table("dataset"):
                dataset = _open_own(folder, database, store)
                if dataset.properties.get("complete") is not True:
                    raise unfinished
                return dataset
            if database.has_table(published.TABLE):
                return _open_published(folder, database, store)
    except DataError as error:
        if has_journal(folder):  # a conversion has changed the index while it was read
            raise unfinished from error
        raise
    raise DataError(f"{file} is not a PCR index: the tables of an index are missing.")


def _open_own(folder: Path, database: Database, store: StoreOptions | None) -> Dataset:
    file = folder / index.INDEX
    with in_file(file):
        properties = index.read_properties(database)
    version = properties.get("format_version")
    if not isinstance(version, int) or not 1 <= version <= index.FORMAT_VERSION:
        raise DataError(
            f"{folder} has format version {version!r}, this program reads up to "
            f"{index.FORMAT_VERSION}; use a newer dl2."
        )
    with in_file(file):
        records = index.read_records(database)
        classes = index.read_classes(database)
    return Dataset(folder, records, classes, properties, store=store)


def _open_published(folder: Path, database: Database, store: StoreOptions | None) -> Dataset:
    """Open a dataset of the PCR_Release converter; counts and classes are read from its records."""
    records: list[RecordInfo] = []
    classes = 0
    with in_file(folder / index.INDEX):
        for file, lengths in published.read_index(database).items():
            if Path(file).name != file or "\0" in file:
                raise DataError(f"{file!r} is not a plain file name.")
            index.check_lengths(lengths)
            index.check_metadata_length(lengths[0], index.MAX_RECORD_IMAGES, len(lengths) - 1)
            records.append(RecordInfo(len(records), file, 0, tuple(lengths), None))
    dataset = Dataset(folder, tuple(records), (), {}, store=store)
    counted = []
    for number, record in enumerate(records):
        labels = dataset.read_labels(number)
        classes = max(classes, int(labels.max(initial=-1)) + 1)
        if classes > index.MAX_CLASSES or labels.min(initial=0) < 0:
            raise DataError(f"{folder}, record {record.file}: a label out of range.")
        counted.append(RecordInfo(record.id, record.file, len(labels), record.lengths, None))
    names = tuple(map(str, range(classes)))
    return Dataset(folder, tuple(counted), names, {}, store=store)
