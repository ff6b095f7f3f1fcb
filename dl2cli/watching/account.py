"""The account of an epoch: what each step waited for and took, and what that adds up to."""

from __future__ import annotations

import heapq
import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from dl2cli.environment import UNKNOWN

QUANTILES: Final = (0.5, 0.95, 0.99, 1.0)
_SLOWEST: Final = 5


@dataclass(frozen=True)
class SlowBatch:
    """A batch that was waited for long; `step` counts from 1."""

    step: int
    wait_s: float


@dataclass(frozen=True)
class Replay:
    """What the same loop does when batches cost nothing.

    Attributes:
        steps: that were fed from kept batches.
        rate_img_s: images a second of those steps.
        loaded_img_s: images a second of the steps before, which the loader fed.
        step_speedup: how many times as fast the steps alone were, without their waits: about 1,
            unless the loader's workers take processors from them, or the first ones warm up.
    """

    steps: int
    rate_img_s: float
    loaded_img_s: float
    step_speedup: float = 1.0

    @property
    def gain(self) -> float:
        """How many times as fast the loop would be with a perfect loader."""
        return self.rate_img_s / self.loaded_img_s


@dataclass(frozen=True)
class EpochSummary:
    """What an epoch took on one rank. Replayed steps and the first batch are told apart.

    Attributes:
        epoch: 0-based.
        rank: of this process.
        steps: that ended; the one during which a loop was left is not among them.
        images: in them.
        wall_s: from the start of the epoch to the end of its last step, without what was nested.
        first_batch_s: the wait for the first batch, the start of workers included.
        wait_s: the waits for all further batches together, by the host's clock.
        step_s: everything else of these steps.
        wait_quantiles_s: the quantiles `QUANTILES` of the waits for further batches.
        slowest: the further batches that were waited for longest, the longest first.
        whole: whether the loader came to its end.
        device_wait_s: how long the GPU idled for data, the first batch included; None on CPUs.
        stages: shares of the loader's work by stage (stages.py), the rest of `basis`.
        busiest: stage: the line that it was found at most often.
        blocked: stage: whether it was blocked at that line.
        basis: how `stages` are known, in words.
        idle_share: how often the loader's workers were found waiting for work; None if unknown.
        cpu_share: CPU time of this process and its children over the time of all usable cores.
        workers_cpu_share: the part of `cpu_share` that is the loader's own processes; None where
            it has none.
        host: the machine's name.
        on_gpu: whether the steps ran on a GPU.
        replay: what kept batches gave, if the epoch ended with them.
    """

    epoch: int
    rank: int
    steps: int
    images: int
    wall_s: float
    first_batch_s: float
    wait_s: float
    step_s: float
    wait_quantiles_s: tuple[float, ...]
    slowest: tuple[SlowBatch, ...]
    whole: bool
    device_wait_s: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    busiest: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, bool] = field(default_factory=dict)
    basis: str = UNKNOWN
    idle_share: float | None = None
    cpu_share: float | None = None
    workers_cpu_share: float | None = None
    host: str = UNKNOWN
    on_gpu: bool = False
    replay: Replay | None = None

    @property
    def rate_img_s(self) -> float:
        """Images a second: all images over all the time, the first batch included."""
        return self.images / self.wall_s if self.wall_s else 0.0

    @property
    def stall(self) -> float:
        """The share of the time, from the first batch on, that was spent waiting for batches."""
        running_s = self.wait_s + self.step_s
        if not running_s:
            return 0.0
        waited_s = self.wait_s
        if self.device_wait_s is not None:
            waited_s = min(max(self.device_wait_s - self.first_batch_s, 0.0), running_s)
        return waited_s / running_s


class Account:
    """Takes the times of an epoch's steps; each costs a microsecond.

    A step begins where the one before ended: with the wait for its batch.
    """

    def __init__(self) -> None:
        """Begin the epoch now."""
        self.began = self._asked = time.perf_counter()
        self._ready = self.began
        self._images = 0
        self.waits = array("d")
        self.steps_s = array("d")
        self.images = array("q")
        self.loaded: int | None = None  # steps before the first replayed one
        self._nested_s = 0.0
        self._open = False

    def batch_ready(self, images: int) -> float:
        """Take the moment at which a batch came; returns the seconds waited for it."""
        self._ready = time.perf_counter()
        self._images, self._open = images, True
        return self._ready - self._asked

    def step_ended(self) -> None:
        """Take the end of the step, and the beginning of the next."""
        now = time.perf_counter()
        if self._open:
            self.waits.append(self._ready - self._asked)
            self.steps_s.append(max(now - self._ready - self._nested_s, 0.0))
            self.images.append(self._images)
        self._asked, self._nested_s, self._open = now, 0.0, False

    def exclude(self, nested_s: float) -> None:
        """Leave a time within the present step out of it, such as a nested validation."""
        self._nested_s += nested_s

    @property
    def ended(self) -> int:
        """The number of steps that ended."""
        return len(self.steps_s)

    def times(self, first: int, last: int) -> tuple[float, float, int]:
        """Return seconds of waiting, of the rest, and images of the steps [first, last)."""
        waits, steps = self.waits[first:last], self.steps_s[first:last]
        return sum(waits), sum(steps), sum(self.images[first:last])

    def summary(self, epoch: int, rank: int, *, whole: bool) -> EpochSummary:
        """Return what the steps that the loader fed add up to."""
        end = self.ended if self.loaded is None else self.loaded
        waits, later = self.waits[:end], self.waits[1:end]
        wait_s, step_s, images = self.times(0, end)
        return EpochSummary(
            epoch=epoch,
            rank=rank,
            steps=end,
            images=images,
            wall_s=wait_s + step_s,
            first_batch_s=waits[0] if waits else 0.0,
            wait_s=sum(later),
            step_s=step_s,
            wait_quantiles_s=quantiles(later),
            slowest=_slowest(later),
            whole=whole,
            replay=self._replay(end, wait_s + step_s, images),
        )

    def _replay(self, end: int, wall_s: float, images: int) -> Replay | None:
        # The first step that is replayed still competes with workers that fill their queue.
        first = end + 1
        wait_s, step_s, replayed = self.times(first, self.ended)
        if self.loaded is None or not replayed or not images:
            return None
        loaded_s = wall_s - (self.waits[0] if end > 1 else 0.0)
        loaded_step_s = self.times(0, end)[1]
        return Replay(
            self.ended - first,
            replayed / (wait_s + step_s),
            images / loaded_s,
            (loaded_step_s / images) / (step_s / replayed) if step_s else 1.0,
        )


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """Return the quantiles `QUANTILES`, each a value that occurred; zeros of nothing."""
    if not len(values):
        return (0.0,) * len(QUANTILES)
    ordered = sorted(values)
    return tuple(ordered[min(int(q * len(ordered)), len(ordered) - 1)] for q in QUANTILES)


def _slowest(later: Sequence[float]) -> tuple[SlowBatch, ...]:
    order = heapq.nlargest(_SLOWEST, range(len(later)), key=later.__getitem__)
    return tuple(SlowBatch(index + 2, later[index]) for index in order)
