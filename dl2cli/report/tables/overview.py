"""The overview table: what there is, and in what state."""

from __future__ import annotations

from collections.abc import Sequence

from dl2cli.report.entries import Entry
from dl2cli.report.model import RegimenRun, Run, Severity, TrainingRun
from dl2cli.report.tables.table import Field, Style, Table, build, num, text


def _setup(key: str, title: str, rank: int = 1, about: str = "") -> Field[Entry]:
    return text(key, title, lambda e: getattr(e.setup, key), rank, about)


def _count(key: str, title: str, rank: int = 1, about: str = "", digits: int = 0) -> Field[Entry]:
    return num(key, title, lambda e: getattr(e.setup, key), rank=rank, about=about, digits=digits)


def training_field(run: Run, name: str) -> object:
    """Return a field of a training, or None for another kind of run."""
    return getattr(run, name) if isinstance(run, TrainingRun) else None


def _start(run: Run) -> object:
    return run.stages[0].start if isinstance(run, RegimenRun) else training_field(run, "start")


def _epoch_number(run: Run, position: int) -> int | None:
    stages = run.stages if isinstance(run, RegimenRun) else (run,)
    epochs = [e for stage in stages if isinstance(stage, TrainingRun) for e in stage.epochs]
    return epochs[position].index + 1 if epochs else None


def warning_codes(run: Run) -> str:
    """Return the short names of a run's warnings and errors."""
    return ", ".join(dict.fromkeys(n.code for n in run.notes if n.severity is not Severity.INFO))


def _duration(key: str, title: str, rank: int) -> Field[Entry]:
    return num(
        key,
        title,
        lambda e: training_field(e.run, key),
        unit="s",
        style=Style.DURATION,
        rank=rank,
    )


def overview(entries: Sequence[Entry]) -> Table:
    """One row a run, with its parameters, its state and its best accuracy."""
    fields: list[Field[Entry]] = [
        text("run", "Run", lambda e: e.name, 0),
        text("kind", "Kind", lambda e: e.run.kind.value),
        text("status", "Status", lambda e: e.run.status.value, 0),
        _setup("variant", "Variant", 0),
        num(
            "best_top1_pct",
            "Top-1",
            lambda e: e.accuracy.best_top1_pct,
            unit="%",
            digits=2,
            rank=0,
        ),
        num("epochs_done", "Epochs", lambda e: e.timing.epochs_done or None, rank=0),
        _count("epochs_asked", "of", 1, "epochs asked for"),
        num("total_s", "Total", lambda e: e.total_s, unit="s", style=Style.DURATION, rank=0),
        _setup("codec", "Codec", 3),
        _setup("quality", "Quality", 3),
        _count("subset_frac", "Subset", 3, digits=2),
        _setup("arch", "Model"),
        _setup("dataset", "Data set"),
        _setup("storage", "Storage", about="what the directory's name says"),
        _setup("storage_path", "Disk in path", 2, "what the data path says"),
        _setup("data_path", "Data path", 2),
        _setup("loader", "Loader"),
        _setup("dataset_class", "Data set class", 3),
        _count("cache_size_bytes", "Cache (bytes)", 3),
        _setup("device", "Device", 3),
        _count("workers", "Workers"),
        _count("batch_size", "Batch", 2, "per GPU"),
        _count("world_size", "GPUs", 2),
        _count("global_batch", "Global batch", 3),
        _count("optimizer_batch_size", "Optimizer batch", 3),
        _count("mixup", "Mixup", 3, digits=2),
        _count("lr", "Learning rate", 3, digits=5),
        _count("run_epochs", "Run epochs", 3),
        num("first_epoch", "First", lambda e: _epoch_number(e.run, 0), rank=3, about="1-based"),
        num("last_epoch", "Last", lambda e: _epoch_number(e.run, -1), rank=3, about="1-based"),
        text("validated", "Validated", lambda e: getattr(e.run, "validated", None), 3),
        text("start", "Start", lambda e: _start(e.run), 2, "local time of that machine"),
        _duration("wall_s", "Wall", 3),
        num(
            "startup_s",
            "Start-up",
            lambda e: e.timing.startup_s,
            unit="s",
            style=Style.DURATION,
            rank=2,
            about="before the first epoch",
        ),
        num("best_top1_epoch", "@ epoch", lambda e: e.accuracy.best_top1_epoch, rank=2),
        num("lines", "Lines", lambda e: training_field(e.run, "lines"), rank=3),
        num("nonfinite", "NaN", lambda e: training_field(e.run, "nonfinite"), rank=3),
        _setup("experiment_name", "Experiment", 3),
        text("duplicate_of", "Duplicate of", lambda e: e.run.duplicate_of, 2),
        text("warnings", "Warnings", lambda e: warning_codes(e.run)),
        text("file", "File", lambda e: e.run.source.file, 3),
    ]
    return build("overview", "Runs", fields, entries)
