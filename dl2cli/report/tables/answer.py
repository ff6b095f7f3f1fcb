"""The answer: for each model and data set a row a variant, what it gains, what it costs.

Runs of one variant on one storage share a row. It has the rate of the fastest of them, the accuracy
of the best and the time to the target of the soonest; speed-up and difference are against the
baselines of just these runs: the fastest and the best of those that were repeated. The columns
`fastest_run` and `best_run` name them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from dl2cli.report.compare import Clock, bound_of, rate_of, repeats, speedup, time_to
from dl2cli.report.config import ReportConfig
from dl2cli.report.entries import Entry, compared
from dl2cli.report.model import CodecRun, Kind
from dl2cli.report.read.values import natural_key
from dl2cli.report.tables.learning import delta_top1
from dl2cli.report.tables.table import Cell, Field, Style, Table, build, num, text

_ALONE = {Kind.STANDALONE: "loader alone", Kind.BENCH: "bench-io"}


@dataclass(frozen=True, slots=True)
class _Answer:
    family: tuple[str, str, str]  # model, what it ran on, data set
    variant: str
    storage: str | None
    runs: tuple[Entry, ...]
    fastest: Entry | None
    best: Entry | None
    target_pct: float | None = None

    @property
    def waiting(self) -> float | None:
        """The share of an iteration that waits; a loader alone does nothing else."""
        if self.fastest is None or self.fastest.run.kind is Kind.STANDALONE:
            return None
        return self.fastest.timing.stall_frac

    def time_s(self, clocks: Mapping[str, Clock]) -> float | None:
        if self.target_pct is None:
            return None
        known = (clocks[e.name] for e in self.runs if e.name in clocks)
        times = (time_to(clock, self.target_pct) for clock in known)
        return min((t for t in times if t is not None), default=None)


def answer(
    entries: Sequence[Entry],
    base: Mapping[str, Entry],
    clocks: Mapping[str, Clock],
    config: ReportConfig,
) -> Table:
    """What each variant gains in speed, what it costs in accuracy, and what bounds it."""
    repeated = repeats(compared(entries))

    def repeated_baseline(entry: Entry) -> list[Entry]:
        found = base.get(entry.name)
        return [] if found is None else repeated.get(found.name, [found])

    def gain(row: _Answer) -> float | None:
        others = repeated_baseline(row.fastest) if row.fastest else ()
        gains = (speedup(row.fastest, other) for other in others if row.fastest)
        return min((gain for gain in gains if gain is not None), default=None)

    def difference(row: _Answer) -> float | None:
        others = repeated_baseline(row.best) if row.best else ()
        deltas = (delta_top1(row.best, {row.best.name: other}) for other in others if row.best)
        return min((delta for delta in deltas if delta is not None), default=None)

    def baseline(row: _Answer) -> str | None:
        found = base.get(row.fastest.name if row.fastest else row.best.name if row.best else "")
        return found.name if found else None

    rows = _rows(entries, config)
    fields: list[Field[_Answer]] = [
        text("model", "Model", lambda r: r.family[0], 0),
        text("ranks", "On", lambda r: r.family[1], 1, "what computes"),
        text("dataset", "Data set", lambda r: r.family[2], 0),
        text("variant", "Variant", lambda r: r.variant, 0),
        text("storage", "Storage", lambda r: r.storage, 1, "what the run's name and path say"),
        num("rate_img_s", "Rate", lambda r: r.fastest and rate_of(r.fastest), unit="img/s", rank=0,
            about="of the fastest run: images of an epoch / its mean time"),
        num("speedup", "Speed-up", gain, unit="x", digits=2, rank=0,
            about="of that run over its baseline"),
        num("best_top1_pct", "Top-1", lambda r: r.best and r.best.accuracy.best_top1_pct, unit="%",
            digits=2, rank=0, about="best validation accuracy"),
        num("delta_top1_points", "Difference", difference,
            unit="points", digits=2, rank=0, about="of that top-1 and the baseline's"),
        num("time_to_target_s", "To target", lambda r: r.time_s(clocks), unit="s",
            style=Style.DURATION, rank=0, about=_about_target(config)),
        num("bytes_per_image", "Bytes/image",
            lambda r: r.fastest and r.fastest.timing.bytes_per_image, style=Style.BYTES, rank=0,
            about="read from storage"),
        text("bound", "Bound by", lambda r: r.fastest and bound_of(r.fastest), 0,
             "what an iteration waits for: compute below 5 % of waiting, the data from 30 %"),
        num("stall_frac", "Waiting", lambda r: r.waiting,
            style=Style.SHARE, rank=1, about="share of an iteration: a lower bound"),
        num("target_pct", "Target", lambda r: r.target_pct, unit="%", digits=0, rank=2,
            about="the top-1 that the time is to"),
        num("runs", "Runs", lambda r: len(r.runs), rank=2),
        text("baseline", "Baseline", baseline, 2),
        text("fastest_run", "Fastest run", lambda r: r.fastest and r.fastest.name, 2),
        text("best_run", "Best run", lambda r: r.best and r.best.name, 2),
    ]  # fmt: skip
    about = (
        "A row is a variant on a storage, with the fastest and the best of its runs. "
        f"{_about_target(config)}."
    )
    table = build("answer", "What each variant gains and costs", fields, rows, about)
    return replace(table, sparse=True)


def families(table: Table) -> list[Table]:
    """Split the answer into a table for each model and data set, without the columns for these."""
    keys = [column.key for column in table.columns]
    first = keys.index("variant")
    parts: dict[tuple[Cell, ...], list[tuple[Cell, ...]]] = defaultdict(list)
    for row in table.rows:
        parts[row[:first]].append(row[first:])
    return [
        replace(
            table,
            name=f"answer-{number}",
            title=_family_title(*map(str, names)),
            columns=table.columns[first:],
            rows=tuple(rows),
            about="",
        )
        for number, (names, rows) in enumerate(parts.items(), 1)
    ]


def _family_title(model: str, ranks: str, dataset: str) -> str:
    return f"{model} on {dataset}, {ranks}" if ranks else f"{model}: {dataset}"


def _about_target(config: ReportConfig) -> str:
    if config.targets_pct:
        return f"The target is a top-1 of {config.targets_pct[0]:g} %"
    return "The target is the top-1 that all variants of a model and data set reach"


def _rows(entries: Sequence[Entry], config: ReportConfig) -> list[_Answer]:
    groups: dict[tuple[tuple[str, str, str], str, str | None], list[Entry]] = defaultdict(list)
    for entry in compared(entries):
        if isinstance(entry.run, CodecRun):
            continue
        if rate_of(entry) is None and entry.accuracy.best_top1_pct is None:
            continue
        groups[(_family(entry), _variant_words(entry), entry.setup.storage_words)].append(entry)
    rows = [_row(*key, runs) for key, runs in groups.items()]
    rows.sort(key=lambda row: (row.family, row.storage or "", *_variant_key(row.variant)))
    targets = {row.family: _target(row.family, rows, config) for row in rows}
    return [replace(row, target_pct=targets[row.family]) for row in rows]


def _family(entry: Entry) -> tuple[str, str, str]:
    setup = entry.setup
    alone = _ALONE.get(entry.run.kind)
    model = ", ".join(filter(None, (setup.arch, alone))) or "?"
    return model, "" if alone else setup.ranks, setup.dataset or "?"


def _variant_words(entry: Entry) -> str:
    """Return what shares a row: a cache of MinIO's kind makes another variant of the same files."""
    variant = entry.setup.variant or "?"
    return f"{variant}, MinIO" if entry.setup.dataset_class == "MinIOFolder" else variant


def _variant_key(variant: str) -> tuple[object, ...]:
    return variant != "raw", natural_key(variant)


def _row(
    family: tuple[str, str, str], variant: str, storage: str | None, runs: Sequence[Entry]
) -> _Answer:
    rated = [(rate, e) for e in runs if (rate := rate_of(e)) is not None]
    # Accuracy on synthetic data means nothing.
    learned = [
        (top1, e)
        for e in runs
        if (top1 := e.accuracy.best_top1_pct) is not None and e.setup.dataset != "synthetic"
    ]
    return _Answer(
        family,
        variant,
        storage,
        tuple(runs),
        max(rated, key=lambda pair: pair[0])[1] if rated else None,
        max(learned, key=lambda pair: pair[0])[1] if learned else None,
    )


def _target(
    family: tuple[str, str, str], rows: Sequence[_Answer], config: ReportConfig
) -> float | None:
    """Return the first --target, or the whole percent that every row of a family reaches."""
    best = [row.best.accuracy.best_top1_pct for row in rows if row.family == family and row.best]
    reached = [top1 for top1 in best if top1 is not None]
    if config.targets_pct:
        return config.targets_pct[0] if reached else None
    target = math.floor(min(reached, default=0.0))
    return float(target) if target >= 1 else None
