"""Converting an ImageFolder to a PCR dataset: plan, transcode, write, index.

The plan (which image goes to which slot of which record) is a function of the listing and the
options. Threads of the native core transcode images, two records at most ahead of the one being
written. A record file is durable under its name before its row is committed, so a run that was
killed goes on behind the last committed record, and ends with the same bytes.

Memory: the compressed bytes of three records (or of 64 images a thread, where that is more), one
image being transcoded a thread, and about 300 bytes a source file for the plan.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from dl2cli.dataset.discovery import ImageFile, ImageFolder, class_names, discover
from dl2cli.dataset.splits import find_splits, union_classes
from dl2cli.durability import try_lock
from dl2cli.errors import (
    DataError,
    Dl2Error,
    Interrupted,
    StorageError,
    UsageError,
    is_file_fault,
    system_failure,
)
from dl2cli.pcr import index
from dl2cli.pcr.config import (
    ConvertConfig,
    ConvertPlan,
    ConvertResult,
    ScanFidelity,
)
from dl2cli.pcr.database import open_database
from dl2cli.pcr.dataset import Dataset
from dl2cli.pcr.dataset import open as open_dataset
from dl2cli.pcr.index import RejectedInfo
from dl2cli.pcr.output_folder import prepare
from dl2cli.pcr.pipeline import OnProgress, Pipeline
from dl2cli_native import _core


def plan(config: ConvertConfig) -> ConvertPlan:
    """Say what `convert` would do, and write nothing. Raises as `convert` does for the source."""
    folder = discover(config.source, config.classes)
    source_bytes = 0
    for file in folder.files:
        path = config.source / file.path
        try:
            source_bytes += path.stat().st_size
        except OSError as error:
            if not is_file_fault(error):
                raise system_failure(path, error) from error
    return ConvertPlan(
        source=config.source,
        out=config.out,
        images=len(folder.files),
        classes=len(folder.classes),
        records=-(-len(folder.files) // config.images_per_record),
        source_bytes=source_bytes,
        ignored=_count_ignored(folder),
        scan_groups=config.script.groups,
        notes=folder.warnings,
    )


def convert(
    config: ConvertConfig,
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> ConvertResult:
    """Convert an ImageFolder, or go on with a conversion that was interrupted.

    Args:
        config: the options.
        on_progress: called from time to time.
        on_note: called with each of the result's notes as soon as it is known.

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
    notes = _Notes(on_note)
    for warning in folder.warnings:
        notes.add(warning)
    with _storage_errors(config), _locked(config) as locked:
        if not locked:
            notes.add(
                f"The file system of {config.out} has no locks, so nothing keeps a second "
                "conversion from writing there: start only one at a time."
            )
        finished = prepare(config, folder, _properties(config, folder))
        run = Pipeline(config, order, on_progress or (lambda _: None))
        if finished:
            run.resumed_records = -(-len(order) // config.images_per_record)
        else:
            run.execute()
        seconds = time.perf_counter() - start  # without measuring fidelity
        if not finished:
            _finish(config, folder, notes)
        return _result(config, folder, run, seconds, notes)


class _Notes:
    """Collects the notes of a conversion, and tells each at once."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.sentences: list[str] = []
        self._tell = tell

    def add(self, sentence: str) -> None:
        self.sentences.append(sentence)
        if self._tell is not None:
            self._tell(sentence)


def split_configs(config: ConvertConfig) -> tuple[ConvertConfig, ...]:
    """Return a config for each split of the source (train, val), with common labels.

    A source without splits gives the config itself.

    Raises:
        UsageError, StorageError: as `convert` does.
        DataError: a split holds no class folders; said before hours go into the others.
    """
    _check(config)
    splits = find_splits(config.source)
    if list(splits) == [""]:
        return (config,)
    for path in splits.values():
        if not class_names(path):
            raise DataError(
                f"{path} holds no class folders, so it has no labels: move it out of "
                f"{config.source}, or convert the other splits one by one."
            )
    classes = union_classes(splits.values())
    return tuple(
        replace(config, source=path, out=config.out / name, classes=classes)
        for name, path in splits.items()
    )


def _check(config: ConvertConfig) -> None:
    if not 1 <= config.images_per_record <= index.MAX_RECORD_IMAGES:
        raise UsageError(f"A record holds 1 to {index.MAX_RECORD_IMAGES} images.")
    if not 1 <= config.quality <= 100:
        raise UsageError("The quality of re-encoded images is 1 to 100.")
    if not 1 <= config.workers <= 1024:
        raise UsageError("The number of workers is 1 to 1024.")
    # Not `resolve`, which raises over a loop of links.
    source, out = (Path(os.path.realpath(path)) for path in (config.source, config.out))
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
    command = "the same command without --force" if config.force else "the same command"
    again = f"What is done is kept: {command} resumes."
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {again}") from None
    except OSError as error:
        raise StorageError(f"{config.out}: {error.strerror or error}. {again}") from error
    except StorageError as error:
        if isinstance(error.__cause__, sqlite3.Error):  # says what, and not what to do next
            raise StorageError(f"{error} {again}") from error
        raise


@contextlib.contextmanager
def _locked(config: ConvertConfig) -> Iterator[bool]:
    """Create `out` and hold it, so that two conversions never write to one folder.

    Yields whether that is so: some file systems have no locks.
    """
    try:
        config.out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{config.out} is not a folder, and cannot become one.") from None
    descriptor = os.open(config.out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            locked = try_lock(descriptor)
        except BlockingIOError:
            raise UsageError(f"Another conversion is writing to {config.out}.") from None
        yield locked
    finally:
        os.close(descriptor)


def _finish(config: ConvertConfig, folder: ImageFolder, notes: _Notes) -> None:
    """Measure what was asked for, and write the final index."""
    properties: dict[str, Any] = {}
    with open_database(config.out / index.INDEX, write=True) as database:
        records = index.read_records(database)
        if not records:
            raise DataError(
                f"{config.source}: every image was rejected; `rejected` in "
                f"{config.out / index.INDEX} lists the reasons. Once they are mended, --force "
                "converts anew."
            )
        with database.connection as connection:
            connection.execute("DELETE FROM ignored")
            connection.executemany(
                "INSERT INTO ignored VALUES (?, ?)",
                [(index.to_sql(file.path), file.reason) for file in folder.ignored],
            )
    if config.measure_fidelity is not None:
        stored = _properties(config, folder)
        dataset = Dataset(config.out, records, folder.classes, stored)
        properties["fidelity"] = [vars(each) for each in _measure(config, dataset, notes)]
    index.finalize(config.out, properties, config.images_per_record)


def _measure(config: ConvertConfig, dataset: Dataset, notes: _Notes) -> tuple[ScanFidelity, ...]:
    """Measure fidelity if that was asked for; a measurement that fails costs no result."""
    if config.measure_fidelity is None:
        return ()
    try:
        return config.measure_fidelity(dataset)
    except (Dl2Error, _core.DataError, MemoryError) as error:
        notes.add(
            f"The fidelity of {dataset.path} was not measured: "
            f"{str(error).rstrip('.') or 'there is not enough memory'}. The dataset is complete."
        )
        return ()


def _result(
    config: ConvertConfig, folder: ImageFolder, run: Pipeline, seconds: float, notes: _Notes
) -> ConvertResult:
    dataset = open_dataset(config.out)
    fidelity = _stored_fidelity(dataset)
    if run.converted_images == 0 and not fidelity:
        fidelity = _measure(config, dataset, notes)  # finished before, without being measured
    reencoded = kept_damaged = source_bytes = known = 0
    for source in dataset.sources():
        known += 1
        source_bytes += source.bytes
        reencoded += source.is_reencoded
        kept_damaged += source.is_damaged
    rejected = tuple(dataset.rejected())
    if rejected and run.converted_images == 0:
        notes.add(_about_rejected(config, rejected))
    return ConvertResult(
        source=config.source,
        out=config.out,
        images=dataset.image_count,
        classes=len(dataset.classes),
        records=len(dataset.records),
        source_bytes=source_bytes if known else None,
        output_bytes=dataset.prefix_bytes(dataset.groups),
        bytes_at_scans=tuple(dataset.prefix_bytes(k) for k in range(1, dataset.groups + 1)),
        reencoded=reencoded,
        kept_damaged=kept_damaged,
        rejected=rejected,
        ignored=_count_ignored(folder),
        resumed_records=run.resumed_records,
        seconds=seconds,
        converted_images=run.converted_images,
        fidelity=fidelity,
        notes=tuple(notes.sentences),
    )


def _about_rejected(config: ConvertConfig, rejected: tuple[RejectedInfo, ...]) -> str:
    """Say what to do about files that an earlier run rejected and this one did not look at."""
    finished = (config.out / index.INDEX).stat().st_mtime
    changed = []
    for each in rejected:
        with contextlib.suppress(OSError):
            status = (config.source / each.path).stat()
            if max(status.st_mtime, status.st_ctime) > finished:
                changed.append(each.path)
    if changed:
        return (
            f"{len(changed):,} of the {len(rejected):,} rejected files have changed since this "
            f"dataset was converted ({changed[0]}): --force converts it anew, with them."
        )
    return (
        f"{config.out} was converted before, and {len(rejected):,} files were rejected then. After "
        "mending them, use --force to convert it anew."
    )


def _stored_fidelity(dataset: Dataset) -> tuple[ScanFidelity, ...]:
    stored = dataset.properties.get("fidelity")
    try:
        return tuple(ScanFidelity(**each) for each in stored or ())
    except TypeError:  # no table of ours
        return ()


def _count_ignored(folder: ImageFolder) -> dict[str, int]:
    return dict(sorted(Counter(file.reason for file in folder.ignored).items()))
