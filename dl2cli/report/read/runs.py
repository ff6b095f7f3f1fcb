"""From what the readers parsed to runs: set-up, status and notes of each."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, TypeVar

from dl2cli.dataset.naming import Variant, parse_data_path
from dl2cli.report.model import (
    Kind,
    LogNote,
    RegimenLog,
    RegimenRun,
    RunSource,
    Setup,
    Severity,
    Status,
    TrainingRun,
)
from dl2cli.report.read import session as log
from dl2cli.report.read.naming import storage_label
from dl2cli.report.read.values import finite, float_of, int_of, natural_key, text_of
from dl2cli.report.read.watched_loop import watched_epochs

_T = TypeVar("_T")


def training_run(session: log.LoggedSession, source: RunSource, kind: Kind) -> TrainingRun:
    """Build a run from one session of a training log."""
    setup = setup_of(session.params, source)
    notes = (*log.notes_of(session, source.file), *_setup_notes(session, setup, source))
    params = session.params
    return TrainingRun(
        source=source,
        kind=kind,
        setup=setup,
        status=log.status_of(session),
        notes=notes,
        duplicate_of=None,
        params=params,
        epochs=log.epochs_of(session),
        steps=log.steps_of(session),
        v_records=len(session.v_steps),
        summary=log.summary_of(session),
        lines=session.lines,
        nonfinite=session.nonfinite + log.absurd_steps(session),
        start=session.start,
        start_unix_s=session.first_unix_s,
        utc_offset_s=session.offset_s,
        total_s=session.elapsed_s,
        wall_s=_difference(session.last_unix_s, session.first_unix_s),
        images_train=log.positive(params, "train_images") or log.mean_images(session),
        images_val=log.positive(params, "val_images"),
        watched=watched_epochs(session.epochs, session.notices),
    )


def _difference(later: float | None, earlier: float | None) -> float | None:
    return None if later is None or earlier is None else later - earlier


def setup_of(params: Mapping[str, Any], source: RunSource) -> Setup:
    """Read the parameters that comparisons need.

    The directory's label and the data path are both kept: runs labelled `mem` name another disk
    in their path, and some were done elsewhere on purpose.
    """
    directory = str(PurePosixPath(source.file).parent)
    data_path = text_of(params, "data")
    path = parse_data_path(data_path) if data_path else parse_data_path("")
    loader = text_of(params, "data_loader")
    variant = _variant(params, loader, path.variant)
    return Setup(
        experiment_name=text_of(params, "experiment_name"),
        dataset=text_of(params, "dataset")
        or ("synthetic" if loader == "synthetic" else path.dataset),
        variant=text_of(params, "variant") or (variant.name if variant else None),
        codec=variant.codec if variant else None,
        quality=variant.quality if variant else None,
        subset_frac=variant.subset_frac if variant else None,
        storage=text_of(params, "storage") or storage_label(directory),
        storage_path=path.storage,
        data_path=data_path,
        loader=loader,
        dataset_class=text_of(params, "dataset_class"),
        cache_size_bytes=int_of(params, "cache_size"),
        arch=text_of(params, "arch") or _watched_loop(params),
        workers=int_of(params, "workers"),
        batch_size=log.positive(params, "batch_size"),
        world_size=log.positive(params, "world_size"),
        device=text_of(params, "device"),
        optimizer_batch_size=int_of(params, "optimizer_batch_size"),
        mixup=finite(float_of(params, "mixup")),
        lr=finite(float_of(params, "lr")),
        epochs_asked=log.positive(params, "epochs"),
        run_epochs=int_of(params, "run_epochs"),
        seed=int_of(params, "seed"),
    )


def _watched_loop(params: Mapping[str, Any]) -> str | None:
    """Return what stands for the model of a loop that was only watched: its script's name."""
    name = text_of(params, "watched")
    if name is None:
        return None
    return "watched loop" if name.startswith("-") else f"watched {name}"  # `python -c`


def _variant(
    params: Mapping[str, Any], loader: str | None, path_variant: Variant | None
) -> Variant | None:
    if path_variant is not None:
        return path_variant
    if loader == "synthetic":
        return Variant("synthetic", "synthetic", None, 1.0)
    if loader is not None and loader.startswith("pcr"):
        scans = log.positive(params, "scans") or text_of(params, "scans")
        quality = str(scans)[:40] if scans else None
        return Variant(f"pcr-{quality}" if quality else "pcr", "pcr", quality, 1.0)
    if text_of(params, "watched") and not text_of(params, "data"):
        return None  # a loader that does not tell what it reads
    # A path of another layout: the images are taken as they are.
    return Variant("raw", "raw", None, 1.0) if params else None


def _setup_notes(session: log.LoggedSession, setup: Setup, source: RunSource) -> Iterator[LogNote]:
    directory = PurePosixPath(source.file).parent.name
    name = setup.experiment_name
    if name and directory and name != directory:
        text = f"The experiment calls itself {name}, its directory {directory}."
        yield LogNote(Severity.INFO, "name mismatch", text, source.file)
    if setup.storage and setup.storage_path and setup.storage != setup.storage_path:
        text = f"The directory says {setup.storage}, the data path {setup.storage_path}."
        yield LogNote(Severity.INFO, "storage differs", text, source.file)
    asked = _epochs_due(session)
    if session.summary and asked and len(session.epochs) < asked:
        text = f"Ended after {len(session.epochs)} of {asked} epochs."
        yield LogNote(Severity.WARNING, "stopped early", text, source.file)


def _epochs_due(session: log.LoggedSession) -> int | None:
    run_epochs = log.positive(session.params, "run_epochs")
    total = log.positive(session.params, "epochs")
    if run_epochs is not None or total is None or not session.epochs:
        return run_epochs
    return total - min(session.epochs)


def regimen_run(
    directory: str, group: str, stages: Sequence[TrainingRun], journal: RegimenLog | None
) -> RegimenRun:
    """Merge the stages of one training, which go on where the one before ended.

    The total comes from regimen_log.json, or else is the sum of the stages' elapsed times.
    """
    stages = sorted(stages, key=lambda run: (_first_epoch(run), natural_key(run.source.file)))
    file = f"{directory}/"
    notes = list(_regimen_notes(file, stages, journal))
    setups = [run.setup for run in stages]
    return RegimenRun(
        source=RunSource(directory, file, group),
        kind=Kind.REGIMEN,
        setup=replace(
            setups[0],
            variant="+".join(s.variant or "?" for s in setups),
            codec="+".join(s.codec or "?" for s in setups),
            quality="+".join(s.quality or "-" for s in setups),
            subset_frac=None,
            cache_size_bytes=_common(s.cache_size_bytes for s in setups),
            mixup=_common(s.mixup for s in setups),
            seed=_common(s.seed for s in setups),
            run_epochs=None,
        ),
        status=_worst(run.status for run in stages),
        notes=tuple(notes),
        duplicate_of=None,
        stages=tuple(stages),
        stage_times_s=journal.times_s if journal else tuple(run.total_s for run in stages),
        stage_epochs=journal.epochs if journal else tuple(len(run.epochs) for run in stages),
        stage_datasets=journal.datasets if journal else tuple(s.data_path for s in setups),
        total_s=_regimen_total(stages, journal),
    )


def _common(values: Iterable[_T]) -> _T | None:
    """Return what all stages agree in."""
    first, *others = dict.fromkeys(values)
    return None if others else first


def _first_epoch(run: TrainingRun) -> int:
    return run.epochs[0].index if run.epochs else sys.maxsize


def _worst(statuses: Iterator[Status]) -> Status:
    order = list(Status)
    return max(statuses, key=order.index)


def _regimen_total(stages: Sequence[TrainingRun], journal: RegimenLog | None) -> float | None:
    if journal is not None and journal.total_s is not None:
        return journal.total_s
    times = [run.total_s for run in stages if run.total_s is not None]
    return sum(times) if len(times) == len(stages) else None


def _regimen_notes(
    file: str, stages: Sequence[TrainingRun], journal: RegimenLog | None
) -> Iterator[LogNote]:
    if journal is None:
        text = "There is no regimen_log.json: the total is the sum of the stages' own times."
        yield LogNote(Severity.WARNING, "no regimen log", text, file)
    elif len(journal.times_s) != len(stages):
        text = f"regimen_log.json names {len(journal.times_s)} stages, {len(stages)} are here."
        yield LogNote(Severity.ERROR, "missing stage", text, file)
    for before, after in pairwise(stages):
        if before.epochs and after.epochs and after.epochs[0].index != before.epochs[-1].index + 1:
            text = (
                f"A stage begins at epoch {after.epochs[0].index + 1}, "
                f"the one before ended at {before.epochs[-1].index + 1}."
            )
            yield LogNote(Severity.WARNING, "stages do not join", text, file)
