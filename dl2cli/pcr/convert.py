"""Convert an ImageFolder to a PCR dataset: plan, transcode, write, index.

The plan (which image goes to which slot of which record) is a function of the listing and the
options. Threads of the native core transcode images, two records at most ahead of the one being
written. A record file is durable under its name before its row is committed, so a run that was
killed goes on after the last committed record, and ends with the same bytes.

Memory: the compressed bytes of three records (or of 64 images a thread, where that is more), one
image being transcoded a thread, and about 300 bytes a source file for the plan.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dl2cli.dataset.discovery import ImageFile, ImageFolder, discover
from dl2cli.errors import (
    DataError,
    Dl2Error,
)
from dl2cli.pcr import index
from dl2cli.pcr.config import (
    ConvertConfig,
    ConvertResult,
    ScanFidelity,
    stored_fidelity,
)
from dl2cli.pcr.database import open_database
from dl2cli.pcr.dataset import Dataset
from dl2cli.pcr.dataset import open as open_dataset
from dl2cli.pcr.index import RejectedInfo
from dl2cli.pcr.output_folder import (
    locked,
    prepare,
    remove_temporary,
    storage_errors,
    working_folder,
)
from dl2cli.pcr.pipeline import OnProgress, RunRecords, run_here
from dl2cli.pcr.plan import check_options, count_ignored, output_properties, record_order
from dl2cli.pcr.transfer.to_store import is_published, moved, of_each_record, publish
from dl2cli.stores.path import StorePath, is_remote
from dl2cli_native import _core


def convert(
    config: ConvertConfig,
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
    run_records: RunRecords = run_here,
) -> ConvertResult:
    """Convert an ImageFolder, or go on with a conversion that was interrupted.

    Args:
        config: the options.
        on_progress: called from time to time.
        on_note: called with each of the result's notes as soon as it is known.
        run_records: converts the records that are not done: on this machine, or on a cluster.

    Raises:
        UsageError: the options, or what is at `out`, do not allow it.
        DataError: `source` is not an ImageFolder, or a file is bad with `on_error="fail"`.
        StorageError: the disk is full, or the system refused otherwise; what is done is kept.
        Interrupted: Ctrl-C; what is done is kept.
    """
    check_options(config)
    start = time.perf_counter()
    folder = discover(config.source, config.classes)
    order = record_order(config, folder)
    notes = _Notes(on_note)
    for warning in folder.warnings:
        notes.add(warning)
    place = working_folder(config.out)
    with storage_errors(config.out, force=config.force), locked(place, on_note=notes.add):
        properties = output_properties(config, folder)
        published = is_published(config, properties)
        finished = published or prepare(config, folder, properties)
        run = RunCounts()
        if finished:
            run.resumed_records = -(-len(order) // config.images_per_record)
        else:
            run = _run(config, order, on_progress or (lambda _: None), run_records)
        seconds = time.perf_counter() - start  # without measuring fidelity
        if not finished:
            _finish(config, folder, notes)
        dataset = open_dataset(config.out if published else place)
        records = moved(dataset, config.out)
        if not finished and (about := about_rotated(records)):
            notes.add(about)
        fidelity = stored_fidelity(dataset.properties)
        if run.converted_images == 0:
            fidelity = fidelity or _measure(config, records, notes)  # finished before, unmeasured
            if about := _about_rejected(config, tuple(dataset.rejected())):
                notes.add(about)
        result = describe(
            dataset,
            run,
            source=config.source,
            ignored=count_ignored(folder),
            seconds=seconds,
            fidelity=fidelity,
            notes=tuple(notes.sentences),
        )
        if published:
            shutil.rmtree(place, ignore_errors=True)
        elif isinstance(config.out, StorePath):
            publish(place, config.out)
        return replace(result, out=config.out)


@dataclass
class RunCounts:
    """What a run did: how many records it found done, and how many images it looked at."""

    resumed_records: int = 0
    converted_images: int = 0


def _run(
    config: ConvertConfig, order: list[ImageFile], tell: OnProgress, run_records: RunRecords
) -> RunCounts:
    """Convert the records that the working index lacks, and add each to it."""
    with open_database(working_folder(config.out) / index.INDEX, write=True) as database:
        done = index.read_progress(database)
        run = RunCounts(resumed_records=len(done))
        with contextlib.closing(run_records(config, order, done, tell)) as records:
            for rows in records:
                index.add_record(database.connection, rows)
                run.converted_images += rows.images
    return run


class _Notes:
    """Collects the notes of a conversion, and passes each on at once."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self.sentences: list[str] = []
        self._tell = tell

    def add(self, sentence: str) -> None:
        self.sentences.append(sentence)
        if self._tell is not None:
            self._tell(sentence)


def _finish(config: ConvertConfig, folder: ImageFolder, notes: _Notes) -> None:
    """Measure what was asked for, and write the final index."""
    place = working_folder(config.out)
    remove_temporary(place)
    properties: dict[str, Any] = {}
    with open_database(place / index.INDEX, write=True) as database:
        records = index.read_records(database)
        if not records:
            raise DataError(
                f"{config.source}: every image was rejected; `rejected` in "
                f"{place / index.INDEX} lists the reasons. Mend them and use --force to "
                "convert anew."
            )
        index.replace_ignored(database.connection, folder.ignored)
    if config.measure_fidelity is not None:
        stored = output_properties(config, folder)
        dataset = Dataset(config.out, records, folder.classes, stored)
        properties["fidelity"] = [vars(each) for each in _measure(config, dataset, notes)]
    index.finalize(place, properties, config.images_per_record)


def _measure(config: ConvertConfig, dataset: Dataset, notes: _Notes) -> tuple[ScanFidelity, ...]:
    """Measure fidelity if that was asked for; if it fails, the dataset is complete all the same."""
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


def describe(
    dataset: Dataset,
    run: RunCounts,
    *,
    source: Path,
    ignored: dict[str, int],
    seconds: float,
    fidelity: tuple[ScanFidelity, ...] = (),
    notes: tuple[str, ...] = (),
) -> ConvertResult:
    """Return the result of a conversion that has finished; sizes and rejects are the dataset's."""
    reencoded = kept_damaged = source_bytes = known = 0
    for each in dataset.sources():
        known += 1
        source_bytes += each.bytes
        reencoded += each.is_reencoded
        kept_damaged += each.is_damaged
    return ConvertResult(
        source=source,
        out=dataset.path,
        images=dataset.image_count,
        classes=len(dataset.classes),
        records=len(dataset.records),
        source_bytes=source_bytes if known else None,
        output_bytes=dataset.prefix_bytes(dataset.groups),
        bytes_at_scans=tuple(dataset.prefix_bytes(k) for k in range(1, dataset.groups + 1)),
        reencoded=reencoded,
        kept_damaged=kept_damaged,
        rejected=tuple(dataset.rejected()),
        ignored=ignored,
        resumed_records=run.resumed_records,
        seconds=seconds,
        converted_images=run.converted_images,
        fidelity=fidelity,
        notes=notes,
    )


def about_rotated(dataset: Dataset) -> str | None:
    """Say how many images are to be shown turned or mirrored, and how; None if there are none.

    The records are asked, rather than those who converted them, so that images count that an
    earlier run, another part of a job array or another machine converted.
    """
    rotated = sum(
        of_each_record(dataset, lambda number: int((dataset.read_orientations(number) > 1).sum()))
    )
    if rotated == 0:
        return None
    return (
        f"{rotated:,} of {dataset.image_count:,} images in {dataset.path} have an EXIF orientation "
        "other than 1: as stored, they lie on their side, upside down or mirrored. Loaders show "
        "them as they are stored; use --exif-orientation apply to show them upright."
    )


def _about_rejected(config: ConvertConfig, rejected: tuple[RejectedInfo, ...]) -> str | None:
    """Say what to do about files that an earlier run rejected and this one did not look at."""
    if not rejected:
        return None
    if is_remote(config.out):
        return (
            f"{config.out} was converted before, and {len(rejected):,} files were rejected then. "
            "After mending them, convert to another place."
        )
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
