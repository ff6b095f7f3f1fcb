"""CPU time of this process, of its children, and of what works beside the loop while it waits."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from functools import cache
from multiprocessing import active_children

import psutil

from dl2cli import cores
from dl2cli.bench.storage.counters import process_tree_cpu_s


@cache
def usable_cores() -> int:
    """Return `dl2cli.cores.usable_cores()`, of which the container's files take a millisecond."""
    return cores.usable_cores()


@dataclass(frozen=True)
class CpuUse:
    """CPU times at one moment, in seconds."""

    at_s: float
    own_s: float
    tree_s: float

    @classmethod
    def now(cls) -> CpuUse:
        """Read them, of the children that multiprocessing knows: to search for all costs more."""
        tree = [psutil.Process()]
        for child in active_children():
            with contextlib.suppress(psutil.Error):
                tree.append(psutil.Process(child.pid))
        return cls(time.perf_counter(), time.process_time(), process_tree_cpu_s(tree))

    def shares_since(self, before: CpuUse) -> tuple[float, float | None]:
        """Return the shares of the usable cores: of all, and of the children alone, if any."""
        capacity_s = max(self.at_s - before.at_s, 1e-9) * usable_cores()
        tree_s = max(self.tree_s - before.tree_s, 0.0)
        children_s = max(tree_s - (self.own_s - before.own_s), 0.0)
        share = min(tree_s / capacity_s, 1.0)
        # Less than a hundredth of a core is rounding, rather than a loader at work.
        children = min(children_s / capacity_s, 1.0)
        return share, children if children_s > 0.01 * (self.at_s - before.at_s) else None


class IdleCores:
    """How many processors had nothing to do, whoever uses the machine."""

    def __init__(self) -> None:
        self._at_s, self._idle_s = time.perf_counter(), _idle_s()

    @property
    def cores(self) -> float:
        """How many, on average, since this object was made."""
        return (_idle_s() - self._idle_s) / max(time.perf_counter() - self._at_s, 1e-9)


def _idle_s() -> float:
    times = psutil.cpu_times()
    return float(times.idle + getattr(times, "iowait", 0.0))


class WaitingCpu:
    """Adds up the CPU time that other threads of this process take while the loop waits.

    It is how the loaders whose threads have no Python stack (DALI, FFCV, dl2's own) are seen at
    work: where such threads are idle while the loop waits, storage is slow.
    """

    def __init__(self) -> None:
        self.cpu_s = self.wait_s = 0.0
        self._process = self._thread = self._wall = 0.0

    def begin(self) -> None:
        """Take the beginning of a wait."""
        self._process, self._thread = time.process_time(), time.thread_time()
        self._wall = time.perf_counter()

    def end(self) -> float:
        """Take its end, and return it, of `time.perf_counter`."""
        others = (time.process_time() - self._process) - (time.thread_time() - self._thread)
        self.cpu_s += max(others, 0.0)
        now = time.perf_counter()
        self.wait_s += now - self._wall
        return now

    @property
    def cores(self) -> float:
        """How many cores other threads kept busy, on average, while the loop waited."""
        return self.cpu_s / self.wait_s if self.wait_s else 0.0
