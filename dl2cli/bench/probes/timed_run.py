"""One run: an epoch, or the beginning of one, with a clock on every part of it.

A rate is all images over the whole wall time, from the moment the first batch was asked for to
the end of the last step; what a pipeline needs to fill is part of what it costs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol

from dl2cli.bench.storage import page_cache
from dl2cli.bench.storage.counters import IoCounters, process_tree_cpu_s
from dl2cli.bench.storage.report import COLD_SHARE
from dl2cli.errors import DataError
from dl2cli.loaders import Batch, Loader

OVERTIME: Final = 5.0  # a run that is this many times slower than expected is cut short
Served = Literal["storage", "page cache", "memory", "unknown"]


class BatchStep(Protocol):
    """What is done with a batch: a model's training step, a sleep, or nothing."""

    def __call__(self, batch: Batch) -> None:
        """Take a batch; may return before the device is done with it."""

    def finish(self) -> None:
        """Wait until everything is done."""


class NoStep:
    """Takes batches and does nothing: a run with it measures the loader alone."""

    def __call__(self, batch: Batch) -> None:
        """Do nothing."""

    def finish(self) -> None:
        """Do nothing."""


@dataclass(frozen=True)
class Limit:
    """When a run ends, if its epoch does not end first: after `batches`, or late after `run_s`."""

    batches: int | None = None
    run_s: float | None = None

    def reached(self, batches: int, elapsed_s: float) -> bool:
        """Tell whether to stop after so many batches and seconds."""
        if self.batches is not None and batches >= self.batches:
            return True
        if self.run_s is None:
            return False
        # One batch says nothing about a pipeline; two are enough where they take long.
        late = batches < 2 or self.batches is not None
        return elapsed_s > self.run_s * (OVERTIME if late else 1)


@dataclass(frozen=True)
class RunTimes:
    """What one run took; seconds of stages are sums over threads.

    Attributes:
        images: images in the run.
        batches: batches in the run.
        wall_s: time from asking for the first batch to the end of the last step.
        first_batch_s: how long the first batch was waited for.
        wait_s: how long each batch was waited for, in order, the first included.
        bytes_read: bytes that the loader read, for these batches and for those prepared ahead.
        batch_bytes: bytes read for these batches alone.
        fetch_s: seconds of reading and checking; None where the loader cannot tell.
        decode_s: seconds of decoding and resizing; None where the loader cannot tell.
        cpu_s: CPU time of this process and its workers.
        device_bytes: bytes that this process tree read from a block device; None where the
            kernel does not tell.
        whole_epoch: whether nothing of the epoch was left.
    """

    images: int
    batches: int
    wall_s: float
    first_batch_s: float
    wait_s: tuple[float, ...]
    bytes_read: int
    batch_bytes: int
    fetch_s: float | None
    decode_s: float | None
    cpu_s: float
    device_bytes: int | None
    whole_epoch: bool

    @property
    def rate_img_s(self) -> float:
        """Images a second: total over total."""
        return self.images / self.wall_s

    def served(self, *, in_memory: bool) -> Served:
        """Return where the bytes came from, by the kernel's own count."""
        if in_memory:
            return "memory"
        if self.device_bytes is None:
            return "unknown"
        enough = self.device_bytes >= (1 - COLD_SHARE) * self.bytes_read
        return "storage" if enough else "page cache"


def run(loader: Loader, step: BatchStep, limit: Limit, epoch: int, data: Path) -> RunTimes:
    """Load batches and give each to the step.

    Raises:
        DataError: the loader gives no images, or damaged ones.
    """
    loader.set_epoch(epoch)
    before, io, cpu_s = loader.stats(), IoCounters.now(data), process_tree_cpu_s()
    images = batch_bytes = 0
    waits: list[float] = []
    batches = iter(loader)
    start = asked = time.perf_counter()
    for batch in batches:
        waits.append(time.perf_counter() - asked)
        images += len(batch)
        batch_bytes += batch.bytes_read
        step(batch)
        asked = time.perf_counter()
        if limit.reached(len(waits), asked - start):
            break
    step.finish()
    wall_s = time.perf_counter() - start
    after = loader.stats()
    whole = len(waits) == len(loader)
    batches.close()  # type: ignore[attr-defined]  # ends threads and workers now
    if not images:
        raise DataError(f"{data}: an epoch has no whole batch; choose a smaller --batch-size.")
    return RunTimes(
        images=images,
        batches=len(waits),
        wall_s=wall_s,
        first_batch_s=waits[0],
        wait_s=tuple(waits),
        bytes_read=after.bytes_read - before.bytes_read,
        batch_bytes=batch_bytes,
        fetch_s=_since(after.fetch_s, before.fetch_s),
        decode_s=_since(after.decode_s, before.decode_s),
        cpu_s=process_tree_cpu_s() - cpu_s,
        device_bytes=IoCounters.now(data).difference(io).process_read_bytes,
        whole_epoch=whole,
    )


def _since(after: float | None, before: float | None) -> float | None:
    return None if after is None else after - (before or 0.0)


def make_cold(files: Iterable[Path]) -> None:
    """Drop a dataset's pages from the page cache; whether it worked is seen by what is read."""
    page_cache.drop(os.fspath(file) for file in files)
