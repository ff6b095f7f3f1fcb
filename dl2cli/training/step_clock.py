"""Measures when each iteration began, had its batch, and ended.

An iteration begins where the one before ended, so that no time is lost between: the sum of the
iterations is the wall time. On a GPU the host runs ahead of the device, and what it sees says
little: there, the device's own clock tells how long it idled for data.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class StepClock(ABC):
    """Takes the times of iterations: `start`, then for each `batch_ready` and `end`."""

    def __init__(self) -> None:
        self._began = self._ready = time.perf_counter()

    @staticmethod
    def create(device: torch.device, sync_every_step: bool = False) -> StepClock:
        """Return the clock of a device.

        Args:
            device: where the steps are computed.
            sync_every_step: wait for the device before each reading, as the published program.
        """
        if device.type != "cuda":
            return HostClock()
        import torch

        if sync_every_step:
            return HostClock(lambda: torch.cuda.synchronize(device))
        return CudaClock(device)

    def start(self) -> None:
        """Begin the first iteration, or the first one after a pause."""
        self._began = self._now()

    def batch_ready(self) -> None:
        """Take the moment at which the batch came."""
        self._ready = self._now()

    def end(self) -> tuple[float, float]:
        """Take the end of the iteration, and the beginning of the next.

        Returns:
            Seconds as the host sees them: waiting for the batch, and of the whole iteration.
        """
        now = self._now()
        data_s, iteration_s = self._ready - self._began, now - self._began
        self._began = now
        return data_s, iteration_s

    @abstractmethod
    def flush(self, *, wait: bool = True) -> list[tuple[float, float]]:
        """Return (data_s, compute_s) of the iterations since the last call; waits for the device.

        The two add up to the iteration. Without `wait`, what the device has not done is left for
        a later call.
        """

    def _now(self) -> float:
        return time.perf_counter()


class HostClock(StepClock):
    """The host's clock, which is right where the host computes or waits for the device."""

    def __init__(self, wait: Callable[[], None] | None = None) -> None:
        """Begin; `wait` is called before each reading."""
        self._wait = wait
        self._times: list[tuple[float, float]] = []
        super().__init__()

    def end(self) -> tuple[float, float]:
        """Take the end of the iteration; see `StepClock.end`."""
        data_s, iteration_s = super().end()
        self._times.append((data_s, iteration_s - data_s))
        return data_s, iteration_s

    def flush(self, *, wait: bool = True) -> list[tuple[float, float]]:
        """Return (data_s, compute_s) of the iterations since the last call."""
        times, self._times = self._times, []
        return times

    def _now(self) -> float:
        if self._wait is not None:
            self._wait()
        return time.perf_counter()


class CudaClock(StepClock):
    """The device's clock: events in its stream, read in `flush` alone.

    The event of a batch enters the stream when the host has the batch. If the device is still busy
    with the step before, both events follow on each other: no stall. If it idles, the time between
    them is what it idled: the stall.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._first: Any = None  # the end of the iteration before those in _pairs
        self._batch: Any = None
        self._pairs: list[tuple[Any, Any]] = []
        super().__init__()

    def start(self) -> None:
        """Begin after a pause; the times before it must have been flushed."""
        super().start()
        self._pairs.clear()
        self._first = self._event()

    def batch_ready(self) -> None:
        """Take the moment at which the batch came."""
        super().batch_ready()
        self._batch = self._event()

    def end(self) -> tuple[float, float]:
        """Take the end of the iteration; see `StepClock.end`."""
        self._pairs.append((self._batch, self._event()))
        return super().end()

    def flush(self, *, wait: bool = True) -> list[tuple[float, float]]:
        """Return (data_s, compute_s) of the iterations since the last call, or of those done."""
        done = len(self._pairs) if wait else sum(end.query() for _, end in self._pairs)
        pairs, self._pairs = self._pairs[:done], self._pairs[done:]
        if not pairs:
            return []
        pairs[-1][1].synchronize()
        times = []
        for batch, end in pairs:
            stall_ms, busy_ms = self._first.elapsed_time(batch), batch.elapsed_time(end)
            times.append((stall_ms / 1e3, busy_ms / 1e3))
            self._first = end
        return times

    def _event(self) -> Any:  # noqa: ANN401 - torch has no types here
        import torch

        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event
