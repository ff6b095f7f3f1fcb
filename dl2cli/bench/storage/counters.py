"""Counters of the operating system: bytes read, CPU time; once, or sampled beside a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psutil

from dl2cli.block_device import BlockDevice, find_device

MAX_SAMPLES: Final = 1024


@dataclass(frozen=True, slots=True)
class IoCounters:
    """Bytes read, at one moment or (by `difference`) between two.

    Attributes:
        process_read_bytes: what this process and its children fetched from block devices, read-
            ahead included (`read_bytes` of /proc/PID/io); None where the kernel does not tell.
        process_rchar_bytes: what their read calls returned, from the cache or not (`rchar`).
        device_read_bytes: what the path's block device read, for all programs; None without one.
        device: its name, or None.
        device_missing: why no device can be counted, or None.
    """

    process_read_bytes: int | None
    process_rchar_bytes: int | None
    device_read_bytes: int | None
    device: str | None
    device_missing: str | None

    @classmethod
    def now(
        cls, path: str | Path | BlockDevice, tree: Iterable[psutil.Process] | None = None
    ) -> IoCounters:
        """Read the counters of a process tree, and of the device that `path` lies on.

        Children that ended and were waited for are counted by the kernel in their parent.
        """
        device = path if isinstance(path, BlockDevice) else find_device(path)
        read, rchar = _process_tree_io(process_tree() if tree is None else tree)
        return cls(read, rchar, device.read_bytes(), device.name, device.missing)

    def difference(self, before: IoCounters) -> IoCounters:
        """Return what was read since `before`; never negative (a child may vanish unwaited)."""
        return IoCounters(
            _since(self.process_read_bytes, before.process_read_bytes),
            _since(self.process_rchar_bytes, before.process_rchar_bytes),
            _since(self.device_read_bytes, before.device_read_bytes),
            self.device,
            self.device_missing,
        )


def _since(now: int | None, before: int | None) -> int | None:
    return None if now is None or before is None else max(now - before, 0)


def process_tree() -> list[psutil.Process]:
    """Return this process and everything below it; finding them costs milliseconds."""
    own = psutil.Process()
    try:
        return [own, *own.children(recursive=True)]
    except psutil.Error:
        return [own]


def _process_tree_io(tree: Iterable[psutil.Process]) -> tuple[int | None, int | None]:
    read, rchar, found = 0, 0, False
    for process in tree:
        try:
            counters = process.io_counters()
        except (psutil.Error, AttributeError, OSError, NotImplementedError):
            continue
        found = True
        read += counters.read_bytes
        rchar += counters.read_chars
    return (read, rchar) if found else (None, None)


def process_tree_cpu_s(tree: Iterable[psutil.Process] | None = None) -> float:
    """Return the CPU seconds of this process and its children, the ended ones included."""
    total = 0.0
    for process in process_tree() if tree is None else tree:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
        # Every process holds the times of the children that it has waited for.
        total += times.children_user + times.children_system
    return total


@dataclass(frozen=True, slots=True)
class Sample:
    """The interval that ends `elapsed_s` after the start.

    Attributes:
        elapsed_s: seconds since the sampler started.
        interval_s: the length of the interval.
        process_cpu_pct: CPU of this process and its children; 100 is one core, as in top.
        machine_cpu_pct: CPU of everything on the machine; 100 is all cores.
        process_read_bytes_s: bytes/s that the process tree fetched from devices, or None.
        device_read_bytes_s: bytes/s that the device read, for everybody, or None.
    """

    elapsed_s: float
    interval_s: float
    process_cpu_pct: float
    machine_cpu_pct: float
    process_read_bytes_s: float | None
    device_read_bytes_s: float | None


@dataclass(frozen=True, slots=True)
class Samples:
    """A series, and its means over the whole time (totals over totals).

    Attributes:
        series: at most `MAX_SAMPLES` intervals; on a long run neighbours are merged.
        wall_s: time from start to stop.
        process_cpu_pct: mean over the samples; the next three are means, too.
        machine_cpu_pct: mean.
        process_read_bytes_s: mean, or None.
        device_read_bytes_s: mean, or None.
        device: the name of the device, or None.
        device_missing: why no device can be counted, or None.
    """

    series: tuple[Sample, ...]
    wall_s: float
    process_cpu_pct: float
    machine_cpu_pct: float
    process_read_bytes_s: float | None
    device_read_bytes_s: float | None
    device: str | None
    device_missing: str | None


@dataclass(frozen=True, slots=True)
class _Reading:
    """The counters at one moment."""

    at_s: float
    process_cpu_s: float
    machine_busy_s: float
    machine_all_s: float
    io: IoCounters

    @classmethod
    def now(cls, device: BlockDevice) -> _Reading:
        tree = process_tree()
        times = psutil.cpu_times()
        # Guest time is within user time already. Time stolen by a hypervisor counts as busy.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        return cls(
            time.perf_counter(),
            process_tree_cpu_s(tree),
            total - idle,
            total,
            IoCounters.now(device, tree),
        )

    def since(self, before: _Reading, start_s: float) -> Sample:
        interval = max(self.at_s - before.at_s, 1e-9)
        io = self.io.difference(before.io)
        machine = self.machine_all_s - before.machine_all_s
        busy = self.machine_busy_s - before.machine_busy_s
        return Sample(
            elapsed_s=self.at_s - start_s,
            interval_s=interval,
            process_cpu_pct=100 * max(self.process_cpu_s - before.process_cpu_s, 0.0) / interval,
            machine_cpu_pct=min(max(100 * busy / machine, 0.0), 100.0) if machine > 0 else 0.0,
            process_read_bytes_s=_rate(io.process_read_bytes, interval),
            device_read_bytes_s=_rate(io.device_read_bytes, interval),
        )


def _rate(amount: int | None, interval_s: float) -> float | None:
    return None if amount is None else amount / interval_s


class Sampler:
    """Samples CPU and disk in a thread while a `with` block runs; `result` is there afterwards.

    When `MAX_SAMPLES` readings are held, every second one is let go and the interval doubled: the
    counters are running totals, so nothing is lost but resolution.
    """

    def __init__(self, path: str | Path, interval_s: float = 0.5) -> None:
        if not interval_s > 0:
            raise ValueError("the interval must be more than 0 s")
        self.interval_s = interval_s
        self._device = find_device(path)
        self._readings: list[_Reading] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        self._result: Samples | None = None

    def __enter__(self) -> Self:
        self._readings.append(_Reading.now(self._device))
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._readings.append(_Reading.now(self._device))
        self._result = self._summary()

    @property
    def result(self) -> Samples:
        """The samples of the block that has ended."""
        if self._result is None:
            raise RuntimeError("the sampled block has not ended")
        return self._result

    def _run(self) -> None:
        interval = self.interval_s
        while not self._stop.wait(interval):
            self._readings.append(_Reading.now(self._device))
            if len(self._readings) >= MAX_SAMPLES:
                del self._readings[1::2]
                interval *= 2

    def _summary(self) -> Samples:
        first, last = self._readings[0], self._readings[-1]
        mean = last.since(first, first.at_s)
        pairs = zip(self._readings, self._readings[1:], strict=False)
        return Samples(
            tuple(after.since(before, first.at_s) for before, after in pairs),
            last.at_s - first.at_s,
            mean.process_cpu_pct,
            mean.machine_cpu_pct,
            mean.process_read_bytes_s,
            mean.device_read_bytes_s,
            self._device.name,
            self._device.missing,
        )
