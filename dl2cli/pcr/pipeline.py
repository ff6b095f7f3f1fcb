"""The work of a conversion: images to threads, foreign formats to Pillow, records to disk.

Threads of the native core transcode images over record boundaries, a few records ahead of the one
being written. A record file is durable under its name before its row is committed.
"""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dl2cli.dataset.discovery import ImageFile
from dl2cli.errors import DataError, StorageError, UsageError, is_file_fault, system_failure
from dl2cli.pcr import foreign, index
from dl2cli.pcr.config import ConvertConfig, ConvertProgress
from dl2cli.pcr.database import open_database
from dl2cli_native import _core

POLL_MS: Final = 100  # how often progress is told, and Ctrl-C is seen
IN_FLIGHT_IMAGES: Final = 64  # small records: keep at least this many images a thread ahead

OnProgress = Callable[[ConvertProgress], None]
_Status = _core.SourceStatus
_Rejects = list[tuple[int, str | bytes, int, str]]  # rows of `rejected`


@dataclass
class _Job:
    """A record on its way: the files of its slots, and the native job that converts them."""

    record: int
    files: list[ImageFile]
    native: _core.RecordJob
    reencoded: dict[int, tuple[str, str]] = field(default_factory=dict)  # kind and remark by slot


class Pipeline:
    """One run of a conversion: from the first record that is not yet done to the last."""

    def __init__(self, config: ConvertConfig, order: list[ImageFile], tell: OnProgress) -> None:
        self.config = config
        self.order = order
        self.tell = tell
        self.resumed_records = 0
        self.converted_images = 0
        self._done = 0
        self._source_bytes = 0
        self._rejected = 0
        self._jobs: deque[_Job] = deque()
        self._source = _identity(config.source)

    def execute(self) -> None:
        """Convert and write every record that is not done; raises as `convert` does."""
        config = self.config
        size = config.images_per_record
        # One record is written while two are converted; small records need more of them ahead.
        ahead = max(2, -(-IN_FLIGHT_IMAGES * config.workers // size))
        native = self._start()
        with (
            open_database(config.out / index.INDEX, write=True) as database,
            ThreadPoolExecutor(config.workers) as pool,
            foreign.pillow_limits(config.limits),
        ):
            connection = database.connection
            try:
                done = {row[0] for row in connection.execute("SELECT record FROM progress")}
                self.resumed_records = len(done)
                for record in range(-(-len(self.order) // size)):
                    files = self.order[record * size : (record + 1) * size]
                    if record in done:
                        self._done += len(files)
                        continue
                    self._submit(native, record, files)
                    if len(self._jobs) > ahead:
                        self._complete(connection, native, pool)
                while self._jobs:
                    self._complete(connection, native, pool)
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

    def _complete(
        self, connection: sqlite3.Connection, native: _core.Converter, pool: ThreadPoolExecutor
    ) -> None:
        """Wait for the oldest record, write it, and make it part of the dataset."""
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
        self._rejected += len(rejected)
        self._write(connection, job, rejected)
        self._jobs.popleft()
        self._done += len(job.files)
        self.converted_images += len(job.files)
        self._source_bytes += job.native.source_bytes
        self._report()

    def _check_system(self, job: _Job) -> None:
        """Stop at what the system failed to read: nothing is known of such a file.

        Raises StorageError. Records that are finished stay, and a later run does the others.
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
                resumed=self._done - self.converted_images,
                done=self._done + sum(job.done for job in under_way),
                images=len(self.order),
                source_bytes=self._source_bytes + sum(job.source_bytes for job in under_way),
                rejected=self._rejected,
            )
        )

    def _reencode(self, job: _Job, native: _core.Converter, pool: ThreadPoolExecutor) -> None:
        """Hand what libjpeg cannot transcode to Pillow, on threads of its own."""
        config = self.config

        def work(slot: int) -> None:
            path = f"{config.source}/{job.files[slot].path}"
            keep_exif = config.keep_metadata in {"exif", "all"}
            try:
                image = foreign.reencode(path, config.quality, config.limits, keep_exif=keep_exif)
                job.native.put(slot, image.jpeg, native)
                job.reencoded[slot] = (image.kind, image.remark)
            except (DataError, _core.DataError) as error:
                job.native.reject(slot, str(error))
            except (OSError, MemoryError) as error:
                if not is_file_fault(error):
                    raise system_failure(path, error) from error
                job.native.reject(slot, str(error))

        slots = [s for s in range(len(job.files)) if job.native.report(s).status == _Status.foreign]
        futures = {pool.submit(work, slot) for slot in slots}
        while futures:
            done, futures = wait(futures, timeout=POLL_MS / 1000)
            for future in done:
                future.result()
            self._report()

    def _rejects(self, job: _Job) -> _Rejects:
        rows = []
        for slot, file in enumerate(job.files):
            report = job.native.report(slot)
            if report.status == _Status.rejected:
                rows.append((job.record, index.to_sql(file.path), file.label, report.reason))
        return rows

    def _write(
        self,
        connection: sqlite3.Connection,
        job: _Job,
        rejected: _Rejects,
    ) -> None:
        sources = self._sources(job)
        with connection:
            # A record of which every image was rejected has no file.
            if sources:
                file = f"PCR_{job.record}.db"
                path = os.fsencode(self.config.out / file)
                entry = job.native.write(path, self.config.script.groups)
                connection.execute(
                    "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
                    (
                        job.record,
                        file,
                        len(sources),
                        index.pack_lengths(entry.lengths),
                        entry.metadata_crc32c,
                    ),
                )
            connection.executemany("INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, ?)", sources)
            connection.executemany("INSERT INTO rejected VALUES (?, ?, ?, ?)", rejected)
            connection.execute("INSERT INTO progress VALUES (?)", (job.record,))

    def _sources(self, job: _Job) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for slot, file in enumerate(job.files):
            report = job.native.report(slot)
            if report.status != _Status.converted:
                continue
            note = index.KEPT_DAMAGED + report.reason if report.reason else ""
            kind = foreign.name_of_frame(report.frame)
            if report.reencoded:
                kind, remark = job.reencoded[slot]
                note = f"{index.REENCODED}{self.config.quality}"
                note += f"; {remark}" if remark else ""
            path = index.to_sql(file.path)
            rows.append(
                (job.record, len(rows), path, file.label, report.bytes, report.crc32c, kind, note)
            )
        return rows


def _identity(folder: Path) -> tuple[int, int]:
    """Return what tells a folder from one that is mounted or made in its place later."""
    try:
        status = folder.stat()
        with os.scandir(folder):  # a ticket or a session that has expired refuses this
            return status.st_dev, status.st_ino
    except OSError as error:
        raise system_failure(folder, error) from error
