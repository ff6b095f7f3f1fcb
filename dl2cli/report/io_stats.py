"""Disk I/O and page cache of a run: iostat intervals joined to epochs by the clock.

A verdict about the page cache needs a trace that is understood and that covers every epoch. Where
it does not, `DiskStats.missing` says in words what is missing, and the epochs concerned are None.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from statistics import median

from dl2cli.report.metrics import mean
from dl2cli.report.model import Corpus, DiskTrace, MemInfo, Severity, TrainingRun

CLOCK_SLACK_S = 2.0  # of a run's own clocks against each other
JUMP = 3.0  # a gap of so many usual intervals is a gap, or a clock that was set


@dataclass(frozen=True, slots=True)
class DiskStats:
    """What a disk did during a run; bytes are read from the device, so not from the page cache."""

    name: str
    run: str | None
    file: str
    devices: str
    samples: int
    span_s: float | None
    read_bytes: float | None
    written_bytes: float | None
    read_first_epoch_bytes: float | None
    read_epoch_bytes: float | None  # mean of the covered epochs after the first `drop_first`
    epochs_covered: str | None  # such as "4 of 4"
    read_mean_bytes_s: float | None
    read_max_bytes_s: float | None
    iowait_mean_pct: float | None
    iowait_max_pct: float | None
    page_cache_bytes: int | None
    memory_bytes: int | None
    epoch_read_bytes: tuple[float | None, ...] = ()
    missing: str = ""  # why there is no verdict


def disk_stats(corpus: Corpus, drop_first: int) -> list[DiskStats]:
    """Join traces, memory snapshots and trainings that stand in one directory."""
    runs: dict[str, TrainingRun] = {}
    for run in corpus.runs:
        if isinstance(run, TrainingRun):
            runs.setdefault(str(PurePosixPath(run.source.file).parent), run)
    memory = {info.directory: info for info in corpus.meminfos}
    stats = [
        _stats(trace, runs.get(trace.directory), memory.pop(trace.directory, None), drop_first)
        for trace in corpus.traces
    ]
    lonely = [
        _stats(DiskTrace(i.file, i.directory, (), (), ()), runs.get(i.directory), i, drop_first)
        for i in memory.values()
    ]
    return stats + lonely


def _stats(
    trace: DiskTrace, run: TrainingRun | None, info: MemInfo | None, drop_first: int
) -> DiskStats:
    samples = trace.samples
    read = _total(s.read_bytes for s in samples)
    span = _total(s.interval_s for s in samples)
    reads, missing = epoch_reads(trace, run) if run else ((), "")
    known = [r for r in reads if r is not None]
    speeds = [
        s.read_bytes / s.interval_s for s in samples if s.read_bytes is not None and s.interval_s
    ]
    waits = [s.iowait_pct for s in samples if s.iowait_pct is not None]
    return DiskStats(
        name=run.source.run if run else trace.directory,
        run=run.source.run if run else None,
        file=trace.file,
        devices=", ".join(trace.devices),
        samples=len(samples),
        span_s=span,
        read_bytes=read,
        written_bytes=_total(s.written_bytes for s in samples),
        read_first_epoch_bytes=reads[0] if reads else None,
        read_epoch_bytes=mean(reads[drop_first:]),
        epochs_covered=f"{len(known)} of {len(reads)}" if reads else None,
        read_mean_bytes_s=read / span if read is not None and span else None,
        read_max_bytes_s=max(speeds, default=None),
        iowait_mean_pct=mean(waits),
        iowait_max_pct=max(waits, default=None),
        page_cache_bytes=info.values.get("Cached") if info else None,
        memory_bytes=info.values.get("MemTotal") if info else None,
        epoch_read_bytes=reads,
        missing=missing,
    )


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) if known else None


def epoch_reads(trace: DiskTrace, run: TrainingRun) -> tuple[tuple[float | None, ...], str]:
    """Return the bytes read from disk within each epoch, and what is missing for a verdict.

    An epoch is from its end minus e.total_time to its end. It is None where the trace does not
    cover it.
    """
    if not trace.samples or not run.epochs:
        return (), ""
    if missing := _not_understood(trace, run):
        return (None,) * len(run.epochs), missing
    ends = [s.clock_s for s in trace.samples if s.clock_s is not None]
    shift = _shift(trace, run, ends)
    ends = [end + shift for end in ends]
    begin = ends[0] - (trace.samples[0].interval_s or 0.0)
    slack = 2 * _usual_interval_s(trace)
    totals = _running_totals([s.read_bytes or 0.0 for s in trace.samples])
    reads: list[float | None] = []
    for epoch in run.epochs:
        if epoch.end_unix_s is None or epoch.total_s is None:
            reads.append(None)
            continue
        end = epoch.end_unix_s + (run.utc_offset_s or 0.0)
        start = end - epoch.total_s
        if start < begin - slack or end > ends[-1] + slack:
            reads.append(None)
            continue
        reads.append(totals[bisect_right(ends, end)] - totals[bisect_right(ends, start)])
    return tuple(reads), _missing_epochs(reads, trace)


def _not_understood(trace: DiskTrace, run: TrainingRun) -> str:
    """Say why a trace cannot be joined to a run at all, or return nothing."""
    unread = sum(s.read_bytes is None for s in trace.samples)
    if unread == len(trace.samples):
        return "its disk trace has no counter of reads that is known"
    if unread > 1:  # the first interval of an iostat -x has no known length
        return f"{unread} intervals of its disk trace do not say what was read"
    if trace.clock is None:
        return "its disk trace has no times that can be read"
    if run.utc_offset_s is None:
        return "its log has no local time"
    clock = [s.clock_s for s in trace.samples if s.clock_s is not None]
    usual = _usual_interval_s(trace)
    for number, (before, after) in enumerate(pairwise(clock), 1):
        if after < before:
            return f"the clock of its disk trace goes back after interval {number}"
        if after - before > JUMP * usual + 1:
            gap = after - before
            return f"its disk trace has a gap of {gap:.0f} s after interval {number}"
    if run.wall_s is not None and run.total_s is not None:
        jump = abs(run.wall_s - run.total_s)
        if jump > CLOCK_SLACK_S + 0.001 * run.total_s:
            return f"the clock of its machine was set by {jump:.0f} s while it ran"
    if any(note.code == "clock" for note in run.notes):
        return "the clock of its log changes while it runs"
    return ""


def _shift(trace: DiskTrace, run: TrainingRun, ends: Sequence[float]) -> float:
    """Return what brings the trace's clock to the local clock of the run."""
    shift = run.utc_offset_s or 0.0 if trace.clock == "utc" else 0.0
    if trace.swapped_s is None or run.start_unix_s is None:
        return shift
    start = run.start_unix_s + (run.utc_offset_s or 0.0)
    away = [abs(ends[0] + shift + other - start) for other in (0.0, trace.swapped_s)]
    return shift + (trace.swapped_s if away[1] < away[0] else 0.0)


def _usual_interval_s(trace: DiskTrace) -> float:
    return median([s.interval_s for s in trace.samples if s.interval_s is not None] or [0.0])


def _missing_epochs(reads: Sequence[float | None], trace: DiskTrace) -> str:
    absent = [number for number, read in enumerate(reads, 1) if read is None]
    if not absent:
        # A trace that is cut after the last epoch has all of them.
        damaged = any(n.severity is Severity.ERROR and n.code == "damaged" for n in trace.notes)
        return "its disk trace is damaged" if damaged else ""
    if len(absent) == len(reads):
        return "its disk trace is of another time than the run"
    numbers = ", ".join(str(number) for number in absent[:5])
    more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
    return f"its disk trace does not cover epoch {numbers}{more} of {len(reads)}"


def _running_totals(values: Sequence[float]) -> list[float]:
    totals = [0.0]
    for value in values:
        totals.append(totals[-1] + value)
    return totals
