"""Samples the stacks of threads that load, in this process or in a worker of a DataLoader.

A thread looks 20 times a second at first and five times later, which costs about a thousandth of
a core: it notes where each thread is, and whether the kernel has it run or blocked. The moments
are the clock's: a thread that asked for the GIL then would get it at the next open() or torch
operation, behind the Python code that took the time, and would blame those.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Final

from dl2cli.watching.stages import (
    Inside,
    Place,
    Stack,
    find_place,
    is_between,
    merged,
    stages_of_code,
)
from dl2cli.watching.switching import quick_switches
from dl2cli_native import _core

_INTERVALS_S: Final = (0.05, 0.2)
_OFTEN: Final = 60  # looks at the first interval
_PUBLISH: Final = (0.25, 0.1, 5.0)  # at least s, or that share of the time so far, at most s
_MOST_PLACES: Final = 200
# So long before a look, at most, threads begin to switch quickly (switching.py). The beginning
# depends on the 5 ms of slow switching, so the time is long compared with them; it is not the whole
# time, because threads that compute in turn, all in Python, then change so often.
_AROUND_S: Final = 0.05

Thread = tuple[int, int]  # `ident` and `native_id`


class StackSampler:
    """Samples threads of this process until `stop`."""

    def __init__(
        self,
        threads: Callable[[], Iterable[Thread]],
        known: Mapping[CodeType, str],
        *,
        stop_at: CodeType | None = None,
        counts: Callable[[int, Stack, float], bool] | None = None,
        publish: Callable[[Inside], None] | None = None,
    ) -> None:
        """Start to look.

        Of several threads, one whose CPU clock stood still throughout does not count: it loads
        nothing, but waits for something that has nothing to do with the loader.

        Args:
            threads: gives the threads to look at, each time.
            known: the stages of code that is the loader's own; see `find_place`.
            stop_at: the code below which frames are of no interest.
            counts: tells whether a thread (its identifier) with a stack loaded at a moment of
                `time.perf_counter`; all do by default.
            publish: takes what was seen, from time to time.
        """
        self._threads = threads
        self._known = known
        self._stop_at = stop_at
        self._counts = counts
        self._publish = publish
        self._samples: dict[int, dict[tuple[Place, bool], int]] = {}  # by thread
        self._clocks: dict[int, tuple[int, int]] = {}  # of a thread, first and last seen, in ns
        self._idle = 0
        self._looker = _core.StackLooker()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="dl2-watch", daemon=True)
        self._thread.start()

    def seen(self) -> Inside:
        """Return what was seen so far."""
        moved = [ident for ident, (first, last) in list(self._clocks.items()) if last != first]
        counted = moved if len(self._samples) > 1 else list(self._samples)
        return merged(
            [Inside(dict(self._samples.get(ident, {})), 0) for ident in counted]
            + [Inside({}, self._idle)]
        )

    def stop(self) -> None:
        """End to look. The thread ends a moment later, which nobody needs to wait for."""
        self._ended = True
        self._looker.stop()

    def _run(self) -> None:
        began = published = time.monotonic()
        looks = 0
        # Not in step with anything that happens at a fixed rate itself.
        while self._look(_INTERVALS_S[looks >= _OFTEN] * random.uniform(0.5, 1.5)):
            looks += 1
            now = time.monotonic()
            least_s, share, most_s = _PUBLISH
            due_s = min(max(least_s, share * (now - began)), most_s)
            if self._publish is not None and now - published > due_s:
                published = now
                with contextlib.suppress(OSError):  # the folder goes when the watching ends
                    self._publish(self.seen())

    def _look(self, pause_s: float) -> bool:
        """Look after a while; returns whether to go on."""
        around_s = pause_s
        if pause_s > 2 * _AROUND_S:  # else one sleep does, which is half the cost
            around_s = random.uniform(0, _AROUND_S)
            if not self._looker.wait(pause_s - _AROUND_S):
                return False
        with quick_switches:
            return self._look_at(list(self._threads()), around_s)

    def _look_at(self, threads: list[Thread], pause_s: float) -> bool:
        at_s = time.perf_counter() + pause_s
        found = self._looker.look(pause_s, threads)
        if found is None or self._ended:
            return False
        for (ident, _), (stack, blocked, cpu_ns) in zip(threads, found, strict=True):
            if stack and (self._counts is None or self._counts(ident, stack, at_s)):
                self._clocks[ident] = self._clocks.get(ident, (cpu_ns, cpu_ns))[0], cpu_ns
                self._add(ident, stack, blocked)
        return True

    def _add(self, ident: int, stack: Stack, blocked: bool) -> None:
        if not blocked and is_between(stack):
            return
        place = find_place(stack, self._known, self._stop_at)
        if place is None:
            self._idle += 1
            return
        key = (place, blocked)
        samples = self._samples.setdefault(ident, {})
        if key in samples or len(samples) < _MOST_PLACES:
            samples[key] = samples.get(key, 0) + 1


@dataclass
class WorkerInit:
    """The `worker_init_fn` of a watched DataLoader: runs the user's, and samples the worker.

    It is picklable, for workers that are spawned.
    """

    folder: Path
    before: Callable[[int], Any] | None
    collate: Callable[[Any], Any] | None = None

    def __call__(self, worker_id: int) -> None:
        """Begin to sample this worker's main thread."""
        if self.before is not None:
            self.before(worker_id)
        with contextlib.suppress(Exception):  # a worker must never end for having been watched
            self._watch()

    def _watch(self) -> None:
        from torch.utils.data import get_worker_info

        info = get_worker_info()
        dataset = None if info is None else info.dataset
        own = [(threading.get_ident(), threading.get_native_id())]
        StackSampler(lambda: own, stages_of_code(dataset, self.collate), publish=self._publish)

    def _publish(self, seen: Inside) -> None:
        document = {
            "idle": seen.idle,
            "samples": [[vars(place), blocked, n] for (place, blocked), n in seen.samples.items()],
        }
        path = self.folder / f"{os.getpid()}.json"
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(document), encoding="utf-8")
        partial.replace(path)


def seen_by_workers(folder: Path) -> Inside:
    """Return what all workers have seen of themselves so far."""
    parts = []
    for path in sorted(folder.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            document = json.loads(path.read_text(encoding="utf-8"))
            samples = {(Place(**p), bool(b)): int(n) for p, b, n in document["samples"]}
            parts.append(Inside(samples, int(document["idle"])))
    return merged(parts)
