"""Measures one loader variant: with everything in the page cache, from storage, or throttled.

All runs of a probe load the same images of the same epoch, so that they differ in one thing: where
the bytes come from. The first run is not counted; it fills the page cache, and it says how many
batches fit into the time that a run may take.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import psutil

from dl2cli.bench.config import BenchConfig
from dl2cli.bench.probes.loader_variant import LoaderVariant, bytes_per_image
from dl2cli.bench.probes.timed_run import BatchStep, Limit, NoStep, RunTimes, Served, make_cold, run
from dl2cli.bench.statistics import Spread, percentiles
from dl2cli.block_device import find_device
from dl2cli.loaders import Loader
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import is_remote

Condition = Literal["warm", "cold", "throttled"]
EPOCH: Final = 0
_MEMORY_SHARE: Final = 4  # of what is free, for the records of a store in warm runs
MAX_DROPPED: Final = 20_000  # files; of more, only those that a run can reach are dropped


@dataclass(frozen=True)
class LoadResult:
    """What a loader variant gave: medians over its runs; costs are per image.

    Attributes:
        variant: the loader variant.
        condition: "warm" reads from the page cache; "cold" after its pages were dropped;
            "throttled" at limited speed, after its pages were dropped.
        served: where the bytes really came from, of the run where least came from storage.
        rate_img_s: images/s of the runs.
        images: images in a run.
        whole_epoch: whether a run is a whole epoch.
        bytes_per_image: bytes read from storage or cache over a whole epoch.
        fetch_bytes_s: how fast one thread reads and checks; None where the loader cannot tell.
        fetch_s: seconds of reading and checking, summed over threads; None where the loader cannot
            tell.
        decode_s: seconds of decoding and resizing, summed over threads; None where the loader
            cannot tell.
        cpu_s: CPU seconds of all processes.
        first_batch_s: how long the first batch was waited for.
        wait_s: percentiles 50, 95, 99 and 100 of the wait for each further batch, over all runs.
    """

    variant: LoaderVariant
    condition: Condition
    served: Served
    rate_img_s: Spread
    images: int
    whole_epoch: bool
    bytes_per_image: float
    fetch_bytes_s: float | None
    fetch_s: float | None
    decode_s: float | None
    cpu_s: float
    first_batch_s: float
    wait_s: tuple[float, ...]


class LoaderProbe:
    """Runs one loader variant, alone or with a training step, again and again."""

    def __init__(
        self,
        config: BenchConfig,
        variant: LoaderVariant,
        files: list[Path],
        step: BatchStep | None = None,
        *,
        normalized: bool = False,
    ) -> None:
        """Make the loader, warm and throttled.

        Args:
            config: the options of the measurement.
            variant: the loader variant.
            files: the dataset's files in its order, as `data_files` gives them.
            step: what is done with each batch; None is nothing.
            normalized: the form of batches that the step takes.

        Raises:
            UsageError: the loader cannot do what is asked.
            DataError: the dataset is damaged.
            MissingDependency: a part of the loader is not installed.
        """
        self.variant = variant
        self._config = config
        self._files = files
        self._step: BatchStep = step or NoStep()
        self._normalized = normalized
        self._loaders: dict[tuple[str | None, bool], Loader] = {}
        self._remote = is_remote(variant.data)
        self._limit = Limit(run_s=config.run_s)
        self._in_memory = find_device(variant.data).in_memory
        self._runs: dict[str, list[RunTimes]] = defaultdict(list)
        self._loader(None, warm=True)

    def warm_up(self) -> RunTimes:
        """Run once, uncounted, and settle how many batches a run has."""
        times = self._run(None, warm=True)
        self._limit = Limit(batches=times.batches, run_s=self._config.run_s)
        return times

    def measure(self, condition: Condition) -> RunTimes:
        """Run once more in a condition."""
        if condition != "warm" and not self._remote:
            make_cold(self._reached())
        throttle = self.variant.throttle if condition == "throttled" else None
        times = self._run(throttle, warm=condition != "cold")
        self._runs[condition].append(times)
        return times

    def measure_throttled(self, throttle: str, name: str) -> RunTimes:
        """Run once with other limits than the variant's; `name` is for `result`."""
        if not self._remote:
            make_cold(self._reached())
        times = self._run(throttle, warm=True)
        self._runs[name].append(times)
        return times

    def has(self, condition: str) -> bool:
        """Tell whether there was a run in a condition."""
        return bool(self._runs[condition])

    def rates(self, condition: str) -> Spread:
        """Return the rates of the runs in a condition, at least one."""
        return Spread.of(times.rate_img_s for times in self._runs[condition])

    def runs(self, condition: str) -> list[RunTimes]:
        """Return the runs in a condition."""
        return self._runs[condition]

    def result(self, condition: Condition) -> LoadResult:
        """Sum up the runs in a condition, at least one."""
        runs = self._runs[condition]
        waits = [wait for times in runs for wait in times.wait_s[1:]] or [runs[0].first_batch_s]
        served = [times.served(in_memory=self._in_memory) for times in runs]
        if self._remote:
            served = ["storage" if condition == "cold" else "memory"]
        return LoadResult(
            variant=self.variant,
            condition=condition,
            served="page cache" if "page cache" in served else served[0],
            rate_img_s=self.rates(condition),
            images=runs[-1].images,
            whole_epoch=all(times.whole_epoch for times in runs),
            bytes_per_image=self._bytes_per_image(runs),
            fetch_bytes_s=_fetch_speed(runs),
            fetch_s=_stage(runs, lambda t: t.fetch_s),
            decode_s=_stage(runs, lambda t: t.decode_s),
            cpu_s=_median(runs, lambda t: t.cpu_s / t.images),
            first_batch_s=_median(runs, lambda t: t.first_batch_s),
            wait_s=percentiles(waits),
        )

    def _bytes_per_image(self, runs: list[RunTimes]) -> float:
        """Return what was counted; of records that a cut run left, what the index says."""
        if all(times.whole_epoch for times in runs) or self.variant.scans is None:
            return _median(runs, lambda t: t.batch_bytes / t.images)
        return bytes_per_image(self.variant)[self.variant.scans]

    def _loader(self, throttle: str | None, *, warm: bool) -> Loader:
        """Return a loader; `warm` says that bytes of a store are kept in memory."""
        warm = warm and self._remote  # of files, the page cache does that
        if (throttle, warm) not in self._loaders:
            variant = self.variant.throttled(throttle)
            room = psutil.virtual_memory().available // _MEMORY_SHARE if warm else 0
            self._loaders[throttle, warm] = variant.create(
                self._config, normalized=self._normalized, store=StoreOptions(memory_bytes=room)
            )
        return self._loaders[throttle, warm]

    def _run(self, throttle: str | None, *, warm: bool) -> RunTimes:
        loader = self._loader(throttle, warm=warm)
        return run(loader, self._step, self._limit, EPOCH, self.variant.data)

    def _reached(self) -> list[Path]:
        """Return the files that a run can read."""
        if len(self._files) <= MAX_DROPPED:
            return self._files
        records = self._loader(None, warm=True).order.epoch(EPOCH).record
        ahead = 4 * ((self._limit.batches or 0) + 16) * self._config.batch_size
        return [self._files[record] for record in np.unique(records[:ahead])]


def _median(runs: Iterable[RunTimes], value: Callable[[RunTimes], float]) -> float:
    return float(np.median([value(times) for times in runs]))


def _fetch_speed(runs: Sequence[RunTimes]) -> float | None:
    seconds = sum(times.fetch_s or 0.0 for times in runs)
    return sum(times.bytes_read for times in runs) / seconds if seconds else None


def _stage(runs: Iterable[RunTimes], seconds: Callable[[RunTimes], float | None]) -> float | None:
    """Return the median of a stage's seconds an image, None if a run does not know them."""
    values = [(seconds(times), times.images) for times in runs]
    known = [s / images for s, images in values if s is not None]
    return float(np.median(known)) if len(known) == len(values) else None
