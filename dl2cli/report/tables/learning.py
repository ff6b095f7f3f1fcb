"""The tables of learning: accuracy, accuracy within a time budget, regimens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dl2cli.report.compare import Clock, best_within, time_to
from dl2cli.report.config import ReportConfig
from dl2cli.report.entries import Entry
from dl2cli.report.metrics import Accuracy, total
from dl2cli.report.model import Epoch, RegimenRun, TrainingRun
from dl2cli.report.tables.table import Field, Style, Table, build, num, text


def _percent(key: str, title: str, rank: int, about: str = "") -> Field[Entry]:
    return num(
        key,
        title,
        lambda e: getattr(e.accuracy, key),
        unit="%",
        digits=2,
        rank=rank,
        about=about,
    )


def delta_top1(entry: Entry, base: Mapping[str, Entry]) -> float | None:
    """Return the best top-1 minus the best top-1 of the baseline, in points."""
    other = base.get(entry.name)
    if other is None or "synthetic" in (entry.setup.dataset, other.setup.dataset):
        return None
    own, theirs = entry.accuracy.best_top1_pct, other.accuracy.best_top1_pct
    return None if own is None or theirs is None else own - theirs


def accuracy(
    entries: Sequence[Entry],
    base: Mapping[str, Entry],
    clocks: Mapping[str, Clock],
    config: ReportConfig,
) -> Table:
    """How well each run learned, against its baseline, and how soon."""
    fields: list[Field[Entry]] = [
        text("run", "Run", lambda e: e.name, 0),
        text("variant", "Variant", lambda e: e.setup.variant, 2),
        _percent("best_top1_pct", "Best top-1", 0),
        num("best_top1_epoch", "@ epoch", lambda e: e.accuracy.best_top1_epoch, rank=0),
        num(
            "delta_top1_points",
            "Delta",
            lambda e: delta_top1(e, base),
            unit="points",
            digits=2,
            rank=0,
            about="best top-1 minus the baseline's",
        ),
        text("baseline", "Baseline", lambda e: base[e.name].name if e.name in base else None, 2),
        _percent("top5_at_best_top1_pct", "Top-5 there", 2),
        _percent("best_top5_pct", "Best top-5", 1),
        num("best_top5_epoch", "@ epoch", lambda e: e.accuracy.best_top5_epoch, rank=2),
        _percent("final_top1_pct", "Final top-1", 1),
        _percent("final_top5_pct", "Final top-5", 2),
        _percent("summary_top1_pct", "Summary top-1", 3),
        _percent("summary_top5_pct", "Summary top-5", 3),
        _percent("final_train_top1_pct", "Train top-1", 2, "of the last epoch"),
        num(
            "final_train_loss",
            "Train loss",
            lambda e: e.accuracy.final_train_loss,
            digits=3,
            rank=2,
        ),
        *(_target_field(target, clocks) for target in config.targets_pct),
        text("clock", "Clock", lambda e: _clock_name(e, clocks, config), 1),
        text("file", "File", lambda e: e.run.source.file, 3),
    ]
    rows = [entry for entry in entries if entry.accuracy != Accuracy()]
    about = "Validation accuracy; epochs count from 1, of ties the first."
    return build("accuracy", "Accuracy", fields, rows, about)


def _clock_name(entry: Entry, clocks: Mapping[str, Clock], config: ReportConfig) -> str | None:
    return clocks[entry.name].source if config.targets_pct else None


def _target_field(target: float, clocks: Mapping[str, Clock]) -> Field[Entry]:
    return num(
        f"time_to_{target:g}_pct_s",
        f"to {target:g} %",
        lambda e: time_to(clocks[e.name], target),
        unit="s",
        style=Style.DURATION,
        rank=0,
        about=f"time by the clock until top-1 reaches {target:g} %",
    )


@dataclass(frozen=True, slots=True)
class _Budgeted:
    entry: Entry
    hours: float
    clock: Clock
    epoch: Epoch | None
    epochs: int | None
    end_s: float | None


def budget(entries: Sequence[Entry], clocks: Mapping[str, Clock], config: ReportConfig) -> Table:
    """The best accuracy within each time budget, by the run's own or a borrowed clock."""
    items: list[_Budgeted] = []
    for hours in config.budgets_h:
        for entry in entries:
            if entry.accuracy.best_top1_pct is None:
                continue
            clock = clocks[entry.name]
            found = best_within(clock, hours * 3600) or (None, None, None)
            items.append(_Budgeted(entry, hours, clock, *found))
    fields: list[Field[_Budgeted]] = [
        text("run", "Run", lambda b: b.entry.name, 0),
        num("budget_h", "Budget", lambda b: b.hours, unit="h", digits=2, rank=0),
        text("variant", "Variant", lambda b: b.entry.setup.variant, 1),
        num(
            "best_top1_pct",
            "Best top-1",
            lambda b: b.epoch and b.epoch.v_top1_pct,
            unit="%",
            digits=2,
            rank=0,
        ),
        num("epoch", "@ epoch", lambda b: b.epoch.index + 1 if b.epoch else None, rank=0),
        num("end_s", "after", lambda b: b.end_s, unit="s", style=Style.DURATION, rank=0),
        num("epochs", "Epochs fit", lambda b: b.epochs, rank=1),
        text("clock", "Clock", lambda b: b.clock.source, 0),
    ]
    return build("budget", "Best accuracy within a time budget", fields, items)


@dataclass(frozen=True, slots=True)
class _Stage:
    entry: Entry
    number: int
    stage: TrainingRun
    regimen: RegimenRun

    @property
    def time_s(self) -> float | None:
        """The stage's wall time in the journal."""
        times = self.regimen.stage_times_s
        return times[self.number] if self.number < len(times) else None


def regimens(entries: Sequence[Entry]) -> Table:
    """The stages of each regimen: from which epoch on, on what data, how long, how good."""
    items = [
        _Stage(entry, number, stage, entry.run)
        for entry in entries
        if isinstance(entry.run, RegimenRun)
        for number, stage in enumerate(entry.run.stages)
    ]
    fields: list[Field[_Stage]] = [
        text("run", "Regimen", lambda s: s.entry.name, 0),
        num("stage", "Stage", lambda s: s.number, rank=0),
        text("variant", "Variant", lambda s: s.stage.setup.variant, 0),
        num("first_epoch", "From epoch", lambda s: _edge(s.stage, 0), rank=0, about="1-based"),
        num("last_epoch", "To epoch", lambda s: _edge(s.stage, -1), rank=0),
        num(
            "time_s",
            "Wall",
            lambda s: s.time_s,
            unit="s",
            style=Style.DURATION,
            rank=0,
            about="by regimen_log.json",
        ),
        num(
            "elapsed_s",
            "Elapsed",
            lambda s: s.stage.total_s,
            unit="s",
            style=Style.DURATION,
            about="by the stage's own clock",
        ),
        num(
            "final_top1_pct",
            "Top-1 at its end",
            lambda s: s.stage.epochs[-1].v_top1_pct if s.stage.epochs else None,
            unit="%",
            digits=2,
            rank=0,
        ),
        num(
            "total_s",
            "Regimen total",
            lambda s: s.regimen.total_s,
            unit="s",
            style=Style.DURATION,
        ),
        num(
            "elapsed_sum_s",
            "Sum of elapsed",
            lambda s: total([stage.total_s for stage in s.regimen.stages]),
            unit="s",
            style=Style.DURATION,
            rank=2,
        ),
        text("status", "Status", lambda s: s.stage.status.value, 2),
        text("file", "File", lambda s: s.stage.source.file, 3),
    ]
    return build("regimens", "Regimens", fields, items)


def _edge(run: TrainingRun, position: int) -> int | None:
    return run.epochs[position].index + 1 if run.epochs else None
