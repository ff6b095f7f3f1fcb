"""Converting an ImageFolder to a PCR dataset: plan, transcode, write, index.

The plan (which image goes to which slot of which record) is a function of the listing and the
options. Threads of the native core transcode images, two records at most ahead of the one being
written. A record file is durable under its name before its row is committed, so a run that was
killed goes on behind the last committed record, and ends with the same bytes.

Memory: the compressed bytes of three records, one image being transcoded a thread, and about 300
bytes a source file for the plan.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, Final

from PIL import Image

from dl2cli.dataset.discovery import (
    ImageFile,
    ImageFolder,
    discover,
    find_splits,
    union_classes,
)
from dl2cli.errors import DataError, Interrupted, StorageError, UsageError
from dl2cli.pcr import foreign, index
from dl2cli.pcr.config import (
    ConvertConfig,
    ConvertPlan,
    ConvertProgress,
    ConvertResult,
    ScanFidelity,
)
from dl2cli.pcr.dataset import Dataset
from dl2cli.pcr.dataset import open as open_dataset
from dl2cli.pcr.output_folder import prepare
from dl2cli_native import _core

POLL_MS: Final = 100  # how often progress is told, and Ctrl-C is seen
IN_FLIGHT_IMAGES: Final = 64  # small records: keep at least this many images before the threads

REENCODED: Final = "re-encoded at quality "
KEPT_DAMAGED: Final = "kept though damaged: "

OnProgress = Callable[[ConvertProgress], None]
_Status = _core.SourceStatus


def plan(config: ConvertConfig) -> ConvertPlan:
    """Say what `convert` would do, and write nothing. Raises as `convert` does."""
    folder = discover(config.source, config.classes)
    source_bytes = 0
    for file in folder.files:
        with contextlib.suppress(OSError):
            source_bytes += (config.source / file.path).stat().st_size
    return ConvertPlan(
        source=config.source,
        out=config.out,
        images=len(folder.files),
        classes=len(folder.classes),
        records=-(-len(folder.files) // config.images_per_record),
        source_bytes=source_bytes,
        ignored=_count_ignored(folder),
        scan_groups=config.script.groups,
    )


def convert(config: ConvertConfig, on_progress: OnProgress | None = None) -> ConvertResult:
    """Convert an ImageFolder, or go on with a conversion that was interrupted.

    Raises:
        UsageError: the options, or what is at `out`, do not allow it.
        DataError: `source` is no ImageFolder; or a bad file, with `on_error="fail"`.
        StorageError: the disk is full, or the system refused otherwise; what is done is kept.
        Interrupted: Ctrl-C; what is done is kept.
    """
    _check(config)
    start = time.perf_counter()
    folder = discover(config.source, config.classes)
    order = _order(folder, config)
    with _storage_errors(config), _locked(config):
        finished = prepare(config, folder, _properties(config, folder))
        run = _Run(config, order, on_progress or (lambda _: None))
        if finished:
            run.resumed_records = -(-len(order) // config.images_per_record)
        else:
            run.execute()
            _finish(config, folder)
        return _result(config, folder, run, time.perf_counter() - start)


def split_configs(config: ConvertConfig) -> tuple[ConvertConfig, ...]:
    """Return a config for each split of the source (train, val), with common labels.

    A source without splits gives the config itself. Raises UsageError, StorageError.
    """
    _check(config)
    splits = find_splits(config.source)
    if list(splits) == [""]:
        return (config,)
    classes = union_classes(splits.values())
    return tuple(
        replace(config, source=path, out=config.out / name, classes=classes)
        for name, path in splits.items()
    )


def _check(config: ConvertConfig) -> None:
    if not 1 <= config.images_per_record <= 1 << 20:
        raise UsageError("A record holds 1 to 1048576 images.")
    if not 1 <= config.quality <= 100:
        raise UsageError("The quality of re-encoded images is 1 to 100.")
    if not 1 <= config.workers <= 1024:
        raise UsageError("The number of workers is 1 to 1024.")
    source, out = config.source.resolve(), config.out.resolve()
    if out == source or source in out.parents:
        raise UsageError(
            f"{config.out} lies inside {config.source}, which is only ever read; "
            "choose a folder outside of it."
        )


def _order(folder: ImageFolder, config: ConvertConfig) -> list[ImageFile]:
    """Return the images in the order of the records, a function of seed and paths alone."""
    if not config.shuffle:
        return list(folder.files)
    seed = str(config.seed).encode()

    def key(file: ImageFile) -> bytes:
        return hashlib.blake2b(os.fsencode(file.path), key=seed[:64], digest_size=16).digest()

    return sorted(folder.files, key=key)


def _properties(config: ConvertConfig, folder: ImageFolder) -> dict[str, Any]:
    """Return what decides the bytes of the output; a resumed run must agree in all of it."""
    limits = config.limits
    return {
        "format_version": index.FORMAT_VERSION,
        "source_fingerprint": folder.fingerprint(),
        "images_per_record": config.images_per_record,
        "scan_script": config.script.text,
        "scan_script_name": config.script.name,
        "seed": config.seed,
        "shuffle": config.shuffle,
        "keep_metadata": config.keep_metadata,
        "keep_damaged": config.keep_damaged,
        "quality": config.quality,
        "limits": [limits.max_pixels, limits.max_bytes, limits.max_scans, limits.max_scan_pixels],
        "libjpeg": _core.libjpeg_version(),
    }


@contextlib.contextmanager
def _storage_errors(config: ConvertConfig) -> Iterator[None]:
    again = "What is done is kept: the same command resumes."
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {again}") from None
    except OSError as error:
        raise StorageError(f"{config.out}: {error.strerror or error}. {again}") from error
    except sqlite3.OperationalError as error:
        raise StorageError(f"{config.out / index.INDEX}: {error}. {again}") from error


@contextlib.contextmanager
def _locked(config: ConvertConfig) -> Iterator[None]:
    """Create `out` and hold it, so that two conversions never write to one folder."""
    config.out.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(config.out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(f"Another conversion is writing to {config.out}.") from None
    try:
        yield
    finally:
        os.close(descriptor)


@dataclass
class _Job:
    """A record on its way: the files of its slots, and the native job that converts them."""

    record: int
    files: list[ImageFile]
    native: _core.RecordJob
    formats: dict[int, str] = field(default_factory=dict)  # of the re-encoded images, by slot
    futures: list[Future[None]] = field(default_factory=list)


class _Run:
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

    def execute(self) -> None:
        config = self.config
        size = config.images_per_record
        # One record is written while two are converted; small records need more of them ahead.
        ahead = max(2, -(-IN_FLIGHT_IMAGES * config.workers // size))
        native = _core.Converter(
            script=config.script.native,
            keep=config.keep_metadata,
            keep_damaged=config.keep_damaged,
            limits=config.limits,
            threads=config.workers,
        )
        with (
            index.connect(config.out / index.INDEX, write=True) as connection,
            ThreadPoolExecutor(config.workers) as pool,
            warnings.catch_warnings(),
        ):
            # The limit on pixels is ours, and it is an error, not a warning.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
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
        while not job.native.wait(POLL_MS):
            self._report()
        self._reencode(job, native, pool)
        rejected = self._rejects(job)
        if rejected and self.config.on_error == "fail":
            _, path, _, reason = rejected[0]
            raise DataError(
                f"{index.from_sql(path)}: {reason}. Mend or remove it and run the same command "
                "again, or use --on-error skip."
            )
        self._rejected += len(rejected)
        self._write(connection, job, rejected)
        self._jobs.popleft()
        self._done += len(job.files)
        self.converted_images += len(job.files)
        self._source_bytes += job.native.source_bytes
        self._report()

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
                jpeg, kind = foreign.reencode(
                    path, config.quality, config.limits, keep_exif=keep_exif
                )
                job.native.put(slot, jpeg, native)
                job.formats[slot] = kind
            except (DataError, _core.DataError, OSError) as error:
                job.native.reject(slot, str(error))

        slots = [s for s in range(len(job.files)) if job.native.report(s).status == _Status.foreign]
        futures = {pool.submit(work, slot) for slot in slots}
        while futures:
            done, futures = wait(futures, timeout=POLL_MS / 1000)
            for future in done:
                future.result()
            self._report()

    def _rejects(self, job: _Job) -> list[tuple[int, str | bytes, int, str]]:
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
        rejected: list[tuple[int, str | bytes, int, str]],
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
            note = KEPT_DAMAGED + report.reason if report.reason else ""
            kind = foreign.name_of_frame(report.frame)
            if report.reencoded:
                kind = job.formats[slot]
                note = f"{REENCODED}{self.config.quality}"
            path = index.to_sql(file.path)
            rows.append(
                (job.record, len(rows), path, file.label, report.bytes, report.crc32c, kind, note)
            )
        return rows


def _finish(config: ConvertConfig, folder: ImageFolder) -> None:
    """Measure what was asked for, and write the final index."""
    properties: dict[str, Any] = {}
    with index.connect(config.out / index.INDEX, write=True) as connection:
        records = index.read_records(connection)
        if not records:
            raise DataError(
                f"{config.source}: every image was rejected; `rejected` in "
                f"{config.out / index.INDEX} lists the reasons."
            )
        with connection:
            connection.execute("DELETE FROM ignored")
            connection.executemany(
                "INSERT INTO ignored VALUES (?, ?)",
                [(index.to_sql(file.path), file.reason) for file in folder.ignored],
            )
    if config.measure_fidelity is not None:
        dataset = Dataset(config.out, records, folder.classes, {})
        properties["fidelity"] = [vars(each) for each in config.measure_fidelity(dataset)]
    index.finalize(config.out, properties, config.images_per_record)


def _result(config: ConvertConfig, folder: ImageFolder, run: _Run, seconds: float) -> ConvertResult:
    dataset = open_dataset(config.out)
    reencoded = kept_damaged = source_bytes = 0
    for source in dataset.sources():
        source_bytes += source.bytes
        reencoded += source.note.startswith(REENCODED)
        kept_damaged += source.note.startswith(KEPT_DAMAGED)
    return ConvertResult(
        source=config.source,
        out=config.out,
        images=dataset.image_count,
        classes=len(dataset.classes),
        records=len(dataset.records),
        source_bytes=source_bytes,
        output_bytes=dataset.prefix_bytes(dataset.groups),
        bytes_at_scans=tuple(dataset.prefix_bytes(k) for k in range(1, dataset.groups + 1)),
        reencoded=reencoded,
        kept_damaged=kept_damaged,
        rejected=tuple(dataset.rejected()),
        ignored=_count_ignored(folder),
        resumed_records=run.resumed_records,
        seconds=seconds,
        converted_images=run.converted_images,
        fidelity=tuple(ScanFidelity(**each) for each in dataset.properties.get("fidelity", ())),
    )


def _count_ignored(folder: ImageFolder) -> dict[str, int]:
    return dict(sorted(Counter(file.reason for file in folder.ignored).items()))
