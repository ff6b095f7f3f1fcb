"""The work of a conversion: threads transcode, Pillow takes foreign formats, records go to disk.

Threads of the native core transcode images over record boundaries, a few records ahead of the one
being written. A record file is durable under its name before its rows are yielded; the caller adds
them to an index.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dl2cli.dataset.discovery import ImageFile
from dl2cli.dataset.pillow_limits import pillow_limits
from dl2cli.durability import sync_folder
from dl2cli.errors import DataError, StorageError, UsageError, is_file_fault, system_failure
from dl2cli.pcr import index
from dl2cli.pcr.config import ConvertConfig, ConvertProgress
from dl2cli.pcr.index import RecordRows, RejectedRow, SourceRow
from dl2cli.pcr.output_folder import working_folder
from dl2cli.pcr.reencoding import foreign
from dl2cli.pcr.reencoding.lossy import is_lossy, quality_of, reencode_jpeg
from dl2cli.pcr.transfer.to_store import sent
from dl2cli.stores.path import StorePath
from dl2cli_native import _core

POLL_MS: Final = 100  # how often progress is told, and Ctrl-C is seen
IN_FLIGHT_IMAGES: Final = 64  # small records: keep at least this many images a thread ahead

OnProgress = Callable[[ConvertProgress], None]
_Status = _core.SourceStatus


# Converts the records that are not in the set of finished ones; yields each once it is durable.
RunRecords = Callable[
    [ConvertConfig, list[ImageFile], set[int], OnProgress], Generator[RecordRows, None, None]
]


def run_here(
    config: ConvertConfig, order: list[ImageFile], done: set[int], tell: OnProgress
) -> Generator[RecordRows, None, None]:
    """Convert the records that are not done on this machine's threads, in order."""
    records = split_records(config, order)
    resumed = sum(len(files) for record, files in records if record in done)
    pipeline = Pipeline(config, tell, images=len(order), resumed_images=resumed)
    yield from pipeline.run(each for each in records if each[0] not in done)


def split_records(
    config: ConvertConfig, order: list[ImageFile]
) -> list[tuple[int, list[ImageFile]]]:
    """Divide images in the order of the records: the number of each, and the files of its slots."""
    size = config.images_per_record
    return [(i // size, order[i : i + size]) for i in range(0, len(order), size)]


@dataclass
class _Job:
    """A record on its way: the files of its slots, and the native job that converts them."""

    record: int
    files: list[ImageFile]
    native: _core.RecordJob
    reencoded: dict[int, foreign.Reencoded] = field(default_factory=dict)  # by slot, without bytes


class Pipeline:
    """One run of a conversion over some of its records.

    Attributes:
        images: how many images there are in all, for the progress that is told.
        resumed_images: images of records that an earlier run finished.
        attempt: 16 hexadecimal digits of this run, where another process may write the same record
            at the same time (a task that a cluster starts twice): each writes a file of its own,
            and the last rename wins, with the same bytes.
        folder: where record files are written; on their way to a store, they leave it again.
    """

    def __init__(
        self,
        config: ConvertConfig,
        tell: OnProgress,
        *,
        images: int,
        resumed_images: int = 0,
        attempt: str = "",
        folder: Path | None = None,
    ) -> None:
        self.config = config
        self.folder = folder or working_folder(config.out)
        self.tell = tell
        self.images = images
        self.resumed_images = resumed_images
        self.attempt = attempt
        self.converted_images = 0
        self._source_bytes = 0
        self._rejected = 0
        self._jobs: deque[_Job] = deque()
        self._source = _identity(config.source)

    def run(
        self, records: Iterable[tuple[int, list[ImageFile]]]
    ) -> Generator[RecordRows, None, None]:
        """Convert and write records in turn, and yield what each adds to the index.

        Args:
            records: the number of each record, and the files of its slots.

        Raises as `convert` does.
        """
        made = self._make(records)
        out = self.config.out
        yield from sent(made, self.folder, out) if isinstance(out, StorePath) else made

    def _make(
        self, records: Iterable[tuple[int, list[ImageFile]]]
    ) -> Generator[RecordRows, None, None]:
        config = self.config
        size = config.images_per_record
        # One record is written while two are converted; small records need more of them ahead.
        ahead = max(2, -(-IN_FLIGHT_IMAGES * config.workers // size))
        native = self._start()
        with ThreadPoolExecutor(config.workers) as pool, pillow_limits(config.limits):
            try:
                for record, files in records:
                    self._submit(native, record, files)
                    if len(self._jobs) > ahead:
                        yield self._complete(native, pool)
                        self._report()  # the record is in the index now
                while self._jobs:
                    yield self._complete(native, pool)
                    self._report()
            except BaseException:
                native.cancel()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _start(self) -> _core.Converter:
        config = self.config
        try:
            return _core.Converter(
                script=config.script.native,
                keep=config.keep_metadata,
                keep_damaged=config.keep_damaged,
                limits=config.limits,
                threads=config.workers,
                codec=config.codec,
            )
        except ValueError as error:
            raise UsageError(f"Cannot start the conversion: {error}.") from error

    def _submit(self, native: _core.Converter, record: int, files: list[ImageFile]) -> None:
        root = os.fsencode(self.config.source)
        paths = [root + b"/" + os.fsencode(file.path) for file in files]
        job = native.submit(paths, [file.label for file in files])
        self._jobs.append(_Job(record, files, job))

    def _complete(self, native: _core.Converter, pool: ThreadPoolExecutor) -> RecordRows:
        """Wait for the oldest record, and write it."""
        job = self._jobs[0]
        while job.native.failed < 0 and not job.native.wait(POLL_MS):
            self._report()
        self._check_system(job)
        self._reencode(job, native, pool)
        rejected = self._rejects(job)
        if rejected and self.config.on_error == "fail":
            _, path, _, reason = rejected[0]
            raise DataError(
                f"{index.from_sql(path)}: {reason}. Mend it and run the same command again, or "
                "use --on-error skip."
            )
        rows = self._write(job, rejected)
        self._rejected += len(rejected)
        self._jobs.popleft()
        self.converted_images += len(job.files)
        self._source_bytes += rows.source_bytes
        return rows

    def _check_system(self, job: _Job) -> None:
        """Stop at a file that the system failed to read, since nothing is known about it.

        Raises StorageError. Finished records stay, and a later run converts the others.
        """
        if job.native.failed >= 0:
            path = self.config.source / job.files[job.native.failed].path
            report = job.native.report(job.native.failed)
            raise system_failure(path, OSError(report.code, report.reason))
        # A share that was unmounted leaves an empty folder behind, in which no file exists.
        missing = next((s for s in range(len(job.files)) if job.native.report(s).code != 0), None)
        if missing is not None and _identity(self.config.source) != self._source:
            raise StorageError(
                f"{self.config.source} is no longer the folder that was listed: was a share "
                "unmounted? Run the same command again once it is back."
            )

    def _report(self) -> None:
        under_way = [job.native for job in self._jobs]
        self.tell(
            ConvertProgress(
                resumed=self.resumed_images,
                done=self.resumed_images
                + self.converted_images
                + sum(job.done for job in under_way),
                images=self.images,
                source_bytes=self._source_bytes + sum(job.source_bytes for job in under_way),
                rejected=self._rejected,
            )
        )

    def _reencode(self, job: _Job, native: _core.Converter, pool: ThreadPoolExecutor) -> None:
        """Hand images that have to be encoded anew to Pillow, on threads of its own."""
        config = self.config

        def work(slot: int) -> None:
            path = f"{config.source}/{job.files[slot].path}"
            try:
                image = self._encoded(path, is_jpeg=slot in jpegs)
                if image is not None:
                    job.native.put(slot, image.jpeg, native)
                    job.reencoded[slot] = image._replace(jpeg=b"")
            except (DataError, _core.DataError) as error:
                job.native.reject(slot, str(error))
            except (OSError, MemoryError) as error:
                if not is_file_fault(error):
                    raise system_failure(path, error) from error
                job.native.reject(slot, str(error))

        status = [job.native.report(slot).status for slot in range(len(job.files))]
        slots = [slot for slot, each in enumerate(status) if each == _Status.foreign]
        jpegs = {slot for slot, each in enumerate(status) if each == _Status.converted}
        jpegs = jpegs if is_lossy(config) else set()
        futures = {pool.submit(work, slot) for slot in (*slots, *jpegs)}
        while futures:
            done, futures = wait(futures, timeout=POLL_MS / 1000)
            for future in done:
                future.result()
            self._report()

    def _encoded(self, path: str, *, is_jpeg: bool) -> foreign.Reencoded | None:
        """Encode an image that is not an ordinary JPEG, or that a lossy step changes."""
        config = self.config
        if is_jpeg:
            return reencode_jpeg(path, config)
        return foreign.reencode(
            path,
            quality_of(config),
            config.limits,
            keep_exif=config.keep_metadata in {"exif", "all"},
            max_side=config.max_side,
        )

    def _rejects(self, job: _Job) -> tuple[RejectedRow, ...]:
        rows: list[RejectedRow] = []
        for slot, file in enumerate(job.files):
            report = job.native.report(slot)
            if report.status == _Status.rejected:
                rows.append((job.record, index.to_sql(file.path), file.label, report.reason))
        return tuple(rows)

    def _write(self, job: _Job, rejected: tuple[RejectedRow, ...]) -> RecordRows:
        sources = self._sources(job)
        row = None
        if sources:  # a record has no file if every image was rejected
            file = f"PCR_{job.record}.db"
            path = self.folder / file
            written = path.with_name(f"{file}.{self.attempt}") if self.attempt else path
            entry = job.native.write(os.fsencode(written), self.config.script.groups)
            if written != path:
                written.replace(path)
                sync_folder(path.parent)
            lengths = index.pack_lengths(entry.lengths)
            row = (job.record, file, len(sources), lengths, entry.metadata_crc32c)
        reports = [(job.native.report(slot), file.path) for slot, file in enumerate(job.files)]
        return RecordRows(
            record=job.record,
            images=len(job.files),
            source_bytes=job.native.source_bytes,
            record_row=row,
            sources=sources,
            rejected=rejected,
            unread=tuple(path for report, path in reports if report.code != 0),
        )

    def _sources(self, job: _Job) -> tuple[SourceRow, ...]:
        rows: list[SourceRow] = []
        for slot, file in enumerate(job.files):
            report = job.native.report(slot)
            if report.status != _Status.converted:
                continue
            note = index.KEPT_DAMAGED + report.reason if report.reason else ""
            kind = foreign.name_of_frame(report.frame)
            if report.reencoded:
                image = job.reencoded[slot]
                kind = image.kind
                note = f"{index.REENCODED}{quality_of(self.config)}"
                note += f"; {image.remark}" if image.remark else ""
            path = index.to_sql(file.path)
            rows.append(
                (job.record, len(rows), path, file.label, report.bytes, report.crc32c, kind, note)
            )
        return tuple(rows)


def _identity(folder: Path) -> tuple[int, int]:
    """Return what distinguishes a folder from one that takes its place later."""
    try:
        status = folder.stat()
        with os.scandir(folder):  # a ticket or a session that has expired refuses this
            return status.st_dev, status.st_ino
    except OSError as error:
        raise system_failure(folder, error) from error
