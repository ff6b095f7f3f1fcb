"""Disk I/O and page cache of a run: iostat intervals joined to epochs by the local clock."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from dl2cli.report.metrics import mean
from dl2cli.report.model import Corpus, DiskTrace, MemInfo, TrainingRun


@dataclass(frozen=True, slots=True)
class DiskStats:
    """What a disk did during a run; bytes are read from the device, so not from the page cache."""

    name: str
    run: str | None
    file: str
    devices: str
    samples: int
    span_s: float | None
    read_bytes: float
    written_bytes: float
    read_first_epoch_bytes: float | None
    read_epoch_bytes: float | None  # mean of the epochs after the first `drop_first`
    read_mean_bytes_s: float | None
    read_max_bytes_s: float | None
    iowait_mean_pct: float | None
    iowait_max_pct: float | None
    page_cache_bytes: int | None
    memory_bytes: int | None
    epoch_read_bytes: tuple[float, ...] = ()


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
    read = math.fsum(s.read_kib for s in samples) * 1024
    span = math.fsum(s.interval_s for s in samples) if samples else None
    reads = epoch_reads(trace, run) if run else ()
    later = reads[drop_first:]
    speeds = [s.read_kib * 1024 / s.interval_s for s in samples if s.interval_s > 0]
    waits = [s.iowait_pct for s in samples]
    return DiskStats(
        name=run.source.run if run else trace.directory,
        run=run.source.run if run else None,
        file=trace.file,
        devices=", ".join(trace.devices),
        samples=len(samples),
        span_s=span,
        read_bytes=read,
        written_bytes=math.fsum(s.written_kib for s in samples) * 1024,
        read_first_epoch_bytes=reads[0] if reads else None,
        read_epoch_bytes=mean(later),
        read_mean_bytes_s=read / span if span else None,
        read_max_bytes_s=max(speeds, default=None),
        iowait_mean_pct=mean(waits),
        iowait_max_pct=max(waits, default=None),
        page_cache_bytes=info.values.get("Cached") if info else None,
        memory_bytes=info.values.get("MemTotal") if info else None,
        epoch_read_bytes=reads,
    )


def epoch_reads(trace: DiskTrace, run: TrainingRun) -> tuple[float, ...]:
    """Return the bytes read from disk within each epoch (its end minus e.total_time to its end)."""
    if run.utc_offset_s is None or not trace.samples:
        return ()
    ends = [sample.local_unix_s for sample in trace.samples]
    totals = _running_totals([sample.read_kib * 1024 for sample in trace.samples])
    reads: list[float] = []
    for epoch in run.epochs:
        if epoch.end_unix_s is None or epoch.total_s is None:
            return ()
        end = epoch.end_unix_s + run.utc_offset_s
        upto = totals[bisect_right(ends, end)]
        reads.append(upto - totals[bisect_right(ends, end - epoch.total_s)])
    return tuple(reads)


def _running_totals(values: Sequence[float]) -> list[float]:
    totals = [0.0]
    for value in values:
        totals.append(totals[-1] + value)
    return totals
