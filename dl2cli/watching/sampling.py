"""Samples the stacks of threads that load, in this process or in a worker of a DataLoader.

A thread looks 20 times a second at first and five times later, which costs about a thousandth of
a core: it notes where each thread is, and whether its CPU clock advances in the millisecond after.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType
from typing import Any, Final

from dl2cli.watching.stages import Inside, Place, Threads, find_place, merged, stages_of_code

_INTERVALS_S: Final = (0.05, 0.2)
_OFTEN: Final = 60  # looks at the first interval
_LOOK_S: Final = 0.001
_PUBLISH: Final = (0.25, 0.1, 5.0)  # at least s, or that share of the time so far, at most s
_COMPUTES: Final = 0.2  # the share of a look in which a thread must have run
_MOST_PLACES: Final = 200


class StackSampler:
    """Samples threads of this process until `stop`."""

    def __init__(
        self,
        threads: Threads,
        known: Mapping[CodeType, str],
        *,
        stop_at: CodeType | None = None,
        publish: Callable[[Inside], None] | None = None,
    ) -> None:
        """Start; `threads` gives the identifiers of the threads to look at, each time.

        Of several threads, one whose CPU clock stood still throughout does not count: it loads
        nothing, but waits for something that has nothing to do with the loader.
        """
        self._threads = threads
        self._known = known
        self._stop_at = stop_at
        self._publish = publish
        self._samples: dict[int, dict[tuple[Place, bool], int]] = {}  # by thread
        self._clocks: dict[int, tuple[int, int]] = {}  # of a thread, first and last seen, in ns
        self._idle = 0
        self._native: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="dl2-watch", daemon=True)
        self._thread.start()

    @property
    def ident(self) -> int | None:
        """The identifier of the thread that samples."""
        return self._thread.ident

    def seen(self) -> Inside:
        """Return what was seen so far."""
        moved = [ident for ident, (first, last) in list(self._clocks.items()) if last != first]
        counted = moved if len(self._samples) > 1 else list(self._samples)
        return merged(
            [Inside(dict(self._samples.get(ident, {})), 0) for ident in counted]
            + [Inside({}, self._idle)]
        )

    def stop(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        began = published = time.monotonic()
        looks = 0
        # Not in step with anything that happens at a fixed rate itself.
        while not self._ended.wait(_INTERVALS_S[looks >= _OFTEN] * random.uniform(0.5, 1.5)):
            looks += 1
            for ident in self._threads():
                self._look(ident)
            now = time.monotonic()
            least_s, share, most_s = _PUBLISH
            due_s = min(max(least_s, share * (now - began)), most_s)
            if self._publish is not None and now - published > due_s:
                published = now
                with contextlib.suppress(OSError):  # the folder goes when the watching ends
                    self._publish(self.seen())

    def _look(self, ident: int) -> None:
        place = find_place(
            sys._current_frames().get(ident),
            self._known,
            self._stop_at,
        )
        if place is None:
            self._idle += 1
            return
        blocked = self._is_blocked(ident)
        key = (place, blocked)
        samples = self._samples.setdefault(ident, {})
        if key in samples or len(samples) < _MOST_PLACES:
            samples[key] = samples.get(key, 0) + 1

    def _is_blocked(self, ident: int) -> bool:
        """Tell whether a thread does not run in the next millisecond, although it could.

        A thread that waits for a processor, because others have them all, is not blocked: the
        kernel calls its state R.
        """
        try:
            clock = time.pthread_getcpuclockid(ident)
            start, ran = time.perf_counter_ns(), time.clock_gettime_ns(clock)
            time.sleep(_LOOK_S)
            now = time.clock_gettime_ns(clock)
            self._clocks[ident] = self._clocks.get(ident, (ran, ran))[0], now
            ran = now - ran
            if ran > _COMPUTES * (time.perf_counter_ns() - start):
                return False
            return self._state(ident) != "R"
        except (OSError, OverflowError):  # it has just ended
            return False

    def _state(self, ident: int) -> str:
        native = self._native.get(ident)
        if native is None:
            threads = {t.ident: t.native_id for t in threading.enumerate()}
            native = self._native[ident] = threads.get(ident) or 0
        try:
            text = Path(f"/proc/self/task/{native}/stat").read_bytes()
        except OSError:
            return ""
        return text.rpartition(b")")[2].split(maxsplit=1)[0].decode()


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
        main = threading.get_ident()
        StackSampler(lambda: (main,), stages_of_code(dataset, self.collate), publish=self._publish)

    def _publish(self, seen: Inside) -> None:
        document = {
            "idle": seen.idle,
            "samples": [
                [asdict(place), blocked, n] for (place, blocked), n in seen.samples.items()
            ],
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
