"""How fast a dataset's own files can be read: in sequence and at random, cold and warm, at each k.

A cold run begins with the page cache emptied of the files it may touch; what the device really
delivered is counted, and the run is labelled by that, not by what was intended. What stays warm are
inodes and folders, which only root can drop, and the caches below this kernel: of a drive, a
hypervisor, a file server. A warm run reads again what the cold run before it has read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
import psutil

from dl2cli.bench.statistics import NOISY, Spread, percentiles
from dl2cli.bench.storage import page_cache
from dl2cli.bench.storage.counters import IoCounters
from dl2cli.bench.storage.file_reader import ReadOptions, ReadRun, read_extents, refuses_direct
from dl2cli.bench.storage.read_plan import (
    AccessPattern,
    DatasetFiles,
    Extent,
    ReadPlan,
    SkippedFiles,
    list_dataset,
    plan_reads,
)
from dl2cli.bench.storage.report import (
    LATENCY_PERCENTS,
    Access,
    StorageConfig,
    StorageInterrupted,
    StorageProgress,
    StorageReport,
    StorageResult,
    cache_verdict,
    run_name,
)
from dl2cli.block_device import find_device
from dl2cli.dataset.location import DatasetKind

DEFAULT_KS: Final = (1, 2, 5, 10)
MIN_WARM_S: Final = 0.1
"""A warm run of a small dataset goes over it again and again for so long."""

FIRST_PATIENCE_S: Final = 3.0
PATIENCE_S: Final = 0.1
"""For pages to go: new files may wait to be written first; what stays then is held by somebody."""

Progress = Callable[[StorageProgress], None]


def measure_storage(config: StorageConfig, progress: Progress | None = None) -> StorageReport:
    """Measure how fast the files of a dataset can be read.

    Raises:
        UsageError: there is nothing to read at the path, or an option makes no sense.
        DataError: the index of a PCR dataset is damaged, or no file can be read.
        StorageError: the folder cannot be read.
        StorageInterrupted: the user pressed Ctrl-C; it carries the report of what is known.
    """
    config.check()
    started = time.perf_counter()
    measurement = _Measurement(config, list_dataset(config.path))
    try:
        for done, name in measurement.run():
            if progress:
                elapsed = time.perf_counter() - started
                progress(StorageProgress(done, measurement.total, elapsed, name))
    except KeyboardInterrupt:
        elapsed = time.perf_counter() - started
        raise StorageInterrupted(measurement.report(elapsed, complete=False)) from None
    return measurement.report(time.perf_counter() - started, complete=True)


class _Kind(NamedTuple):
    """One kind of reading."""

    scans: int | None
    order: AccessPattern
    access: Access


@dataclass(slots=True)
class _Runs:
    """The runs of one kind, and what the counters said meanwhile."""

    runs: list[ReadRun] = field(default_factory=list)
    counters: list[IoCounters] = field(default_factory=list)


class _Measurement:
    """Plans, runs, and sums up."""

    def __init__(self, config: StorageConfig, dataset: DatasetFiles) -> None:
        self.config = config
        self.dataset = dataset
        self.device = find_device(dataset.path)
        self.skipped = SkippedFiles()
        self.notes: list[str] = []
        # A warm run must fit into memory, and leave the rest of the machine some.
        limit = min(config.limit_bytes, psutil.virtual_memory().available // 4)
        self.plans = {
            order: plan_reads(dataset, order, config.seed, limit, self.skipped)
            for order in AccessPattern
        }
        self.kinds = self._kinds()
        self.total = len(self.kinds) * config.repeat
        self.results: dict[_Kind, _Runs] = {kind: _Runs() for kind in self.kinds}
        # What may be in the page cache: everything at first, later what was read.
        self.patience_s = FIRST_PATIENCE_S
        self.touched = {e.path for plan in self.plans.values() for e in plan.extents(None)}

    def _kinds(self) -> list[_Kind]:
        """Return the kinds of a round in their order: each warm one follows its cold one."""
        accesses = [Access.WARM]
        if self.config.cold:
            accesses.insert(0, Access.COLD)
        if self.config.direct:
            example = self.plans[AccessPattern.SEQUENTIAL].extents(None)[0].path
            refusal = refuses_direct(example)
            if refusal:
                self.notes.append(f"{refusal} Direct reads were left out.")
            else:
                accesses.append(Access.DIRECT)
        ks: tuple[int | None, ...] = (None,)
        if self.dataset.kind is DatasetKind.PCR:
            ks = self.config.ks or tuple(k for k in DEFAULT_KS if k <= self.dataset.groups)
            self.dataset.check_scans(k for k in ks if k is not None)
        return [
            _Kind(k, order, access)
            for k in dict.fromkeys(ks)
            for order in AccessPattern
            for access in accesses
        ]

    def run(self) -> Iterator[tuple[int, str]]:
        """Do all runs in rounds, so that a slow minute of the machine meets all kinds alike."""
        rounds = [(number, kind) for number in range(self.config.repeat) for kind in self.kinds]
        limit_s = self.config.seconds / len(rounds)
        cached: list[Extent] = []
        for done, (number, kind) in enumerate(rounds):
            yield done, run_name(*kind)
            if kind.access is Access.WARM:
                extents = cached or self._warmed(kind, number, limit_s)
                cached = []
            else:
                extents = self._extents(kind, number)
            run = self._one(kind, extents, limit_s)
            if kind.access is Access.COLD:
                cached = list(run.done)
        yield len(rounds), ""

    def _extents(self, kind: _Kind, number: int) -> list[Extent]:
        """Return what a round reads: a random order is another one each time."""
        extents = self.plans[kind.order].extents(kind.scans)
        if kind.order is AccessPattern.RANDOM:
            order = np.random.default_rng((self.config.seed, number)).permutation(len(extents))
            extents = [extents[i] for i in order]
        return extents

    def _warmed(self, kind: _Kind, number: int, limit_s: float) -> list[Extent]:
        """Return extents that were just read, where no cold run did that."""
        extents = self._extents(kind, number)
        run = read_extents(extents, self._options(kind), limit_s)
        return list(run.done) or extents

    def _options(self, kind: _Kind) -> ReadOptions:
        return ReadOptions(
            threads=self.config.threads,
            block_bytes=self.config.block_bytes,
            direct=kind.access is Access.DIRECT,
            exact=kind.scans is not None,
        )

    def _one(self, kind: _Kind, extents: list[Extent], limit_s: float) -> ReadRun:
        if kind.access is Access.COLD:
            page_cache.drop(self.touched, self.patience_s)
            self.touched.clear()
            self.patience_s = PATIENCE_S
        before = IoCounters.now(self.device)
        warm = kind.access is Access.WARM
        run = read_extents(
            extents, self._options(kind), limit_s, min(MIN_WARM_S, limit_s) if warm else 0.0
        )
        counters = IoCounters.now(self.device).difference(before)
        self.touched.update(extent.path for extent in run.done)
        for each in run.failed:
            self.skipped.add(each.path, each.reason)
        if run.bytes_read:
            self.results[kind].runs.append(run)
            self.results[kind].counters.append(counters)
        return run

    def report(self, wall_s: float, *, complete: bool) -> StorageReport:
        """Sum up what has been measured until now."""
        plan: ReadPlan = max(self.plans.values(), key=lambda each: sum(each.sizes))
        results = tuple(
            self._result(kind, runs) for kind, runs in self.results.items() if runs.runs
        )
        return StorageReport(
            path=self.dataset.path,
            kind=self.dataset.kind,
            files=len(self.dataset.files),
            images=sum(self.dataset.images),
            sampled_files=max(len(each.chosen) for each in self.plans.values()),
            sampled_bytes=sum(plan.sizes),
            file_system=self.device.file_system,
            device=self.device.name,
            device_missing=self.device.missing,
            results=results,
            skipped=self.skipped.listed(),
            skipped_count=len(self.skipped),
            notes=(*self.notes, *_notes(results)),
            wall_s=wall_s,
            complete=complete,
        )

    def _result(self, kind: _Kind, runs: _Runs) -> StorageResult:
        done = runs.runs
        latencies = np.concatenate([run.latencies_s for run in done])
        return StorageResult(
            scans=kind.scans,
            order=kind.order,
            access=kind.access,
            verdict=cache_verdict(
                sum(run.page_bytes for run in done),
                sum(run.bytes_read for run in done),
                _sum(each.process_read_bytes for each in runs.counters),
                _sum(each.device_read_bytes for each in runs.counters),
                in_memory=self.device.in_memory,
            ),
            rate_bytes_s=Spread.of(run.bytes_read / run.wall_s for run in done),
            rate_img_s=Spread.of(run.images / run.wall_s for run in done),
            reads=len(latencies),
            bytes_read=sum(run.bytes_read for run in done),
            images=round(sum(run.images for run in done)),
            wall_s=sum(run.wall_s for run in done),
            latency_s=percentiles(latencies, LATENCY_PERCENTS) if len(latencies) else None,
        )


def _sum(values: Iterator[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _notes(results: tuple[StorageResult, ...]) -> list[str]:
    """Return what the reader of the figures must know."""
    notes = []
    cached = [result for result in results if result.served_from_cache]
    if cached:
        names = "; ".join(
            f"{each.name} ({100 * (each.verdict.cache_share or 0):.0f} %)" for each in cached
        )
        notes.append(f"Served from the page cache in part although it was emptied before: {names}.")
    if any(r.access is Access.COLD and r.verdict.cache == "unknown" for r in results):
        notes.append(
            "The kernel does not count what this file system reads, so nobody can tell here "
            "whether the runs that were meant to be cold were."
        )
    noisy = sum(each.rate_bytes_s.noisy for each in results)
    if noisy:
        notes.append(
            f"Noisy: in {noisy} of {len(results)} rows the runs differ by more than "
            f"{100 * NOISY:.0f} %; the machine does other work, or the runs are too short."
        )
    return notes
