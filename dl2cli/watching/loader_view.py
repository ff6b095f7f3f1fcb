"""How to look into a loader: a DataLoader's workers, threads of this process, or its own account.

Loaders come in wrappers (accelerate's, timm's, WebDataset's): the DataLoader within is looked for,
and anything that is not found leaves less to say, never an error.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType
from typing import Any, Final

from dl2cli.environment import UNKNOWN
from dl2cli.watching.sampling import StackSampler, Thread, WorkerInit, seen_by_workers
from dl2cli.watching.stages import DECODE, STORAGE, Inside, Stack, stages_of_code
from dl2cli.watching.usage import IdleCores, WaitingCpu, usable_cores

_WRAPPERS: Final = ("base_dataloader", "dataloader", "loader", "_loader", "_dataloader", "pipeline")
_FEWEST: Final = 5  # samples that say something
_NOTHING: Final = Inside({}, 0)
_NEVER: Final = object()
# Where code lies that is not the program's: installed packages, and Python's own modules.
_LIBRARIES: Final = (*(sysconfig.get_path(n) for n in ("purelib", "platlib", "stdlib")), "<")
_IDLE_CORES: Final = 0.2  # fewer busy cores mean that no thread is loading
_FREE_CORES: Final = 0.5  # with fewer, other programs hold this one up


@dataclass(frozen=True)
class Work:
    """What a loader did in an epoch; the fields are described in `EpochSummary`."""

    stages: dict[str, float] = field(default_factory=dict)
    busiest: dict[str, str] = field(default_factory=dict)
    blocked: dict[str, bool] = field(default_factory=dict)
    basis: str = UNKNOWN
    idle_share: float | None = None


def torch_loader(loader: object, depth: int = 4) -> Any:  # noqa: ANN401 - torch is optional
    """Return the torch DataLoader in a loader, or None."""
    data = sys.modules.get("torch.utils.data")
    if data is None or depth == 0:
        return None
    for name in _WRAPPERS:
        inner = getattr(loader, "__dict__", {}).get(name)
        if isinstance(inner, list | tuple) and inner:
            inner = inner[0]
        if inner is not None and (found := torch_loader(inner, depth - 1)) is not None:
            return found
    return loader if isinstance(loader, data.DataLoader) else None


class LoaderView:
    """Looks into one loader, from its first epoch to `close`."""

    def __init__(self, loader: object, stop_at: CodeType, *, inside: bool) -> None:
        """`stop_at` is the code below which frames are the user's loop; see `find_place`."""
        self._loader = loader
        self._inside = inside
        self._stop_at = stop_at
        self._torch = torch_loader(loader)
        self._folder: Path | None = None
        self._sampler: StackSampler | None = None
        self._loop: Thread | None = None  # the thread of the loop
        self._waits = False
        self._waited_until = 0.0  # of time.perf_counter
        self._restore: Any = None
        self._before = _NOTHING
        self._stats: Any = None
        self._idle = IdleCores()
        self.cpu = WaitingCpu()

    @property
    def dataset(self) -> Any:  # noqa: ANN401
        """Return the loader's dataset, or None."""
        source = self._loader if self._torch is None else self._torch  # a loader may have no truth
        return getattr(source, "dataset", None)

    @property
    def workers(self) -> int | None:
        """Return how many workers it says it has, or None."""
        names = ("num_workers", "num_threads", "workers")
        sources = (self._torch, self._loader, getattr(self._loader, "config", None))
        for each in (getattr(s, name, None) for s in sources if s is not None for name in names):
            if isinstance(each, int):
                return each
        return None

    def epoch_begins(self) -> None:
        """Make ready to look, before `iter(loader)`; `first_batch_came` ends what is needed."""
        self.cpu = WaitingCpu()
        self._idle = IdleCores()
        self._stats = _stats_of(self._loader)
        if not self._inside:
            return
        if self._torch is not None and self._torch.num_workers > 0:
            self._inject()
        else:
            known = stages_of_code(self.dataset, getattr(self._torch, "collate_fn", None))
            self._loop = threading.get_ident(), threading.get_native_id()
            self._sampler = StackSampler(
                self._threads, known, stop_at=self._stop_at, counts=self._loads
            )

    def first_batch_came(self) -> None:
        """Give the DataLoader its `worker_init_fn` back: its workers run."""
        if self._restore is not None:
            self._torch.worker_init_fn = self._restore.before
            self._restore = None

    def wait_begins(self) -> None:
        """Tell that the loop asks for a batch."""
        self._waits = True
        self.cpu.begin()

    def wait_ends(self) -> None:
        """Tell that it has one."""
        self._waits = False
        self._waited_until = self.cpu.end()

    def epoch_ended(self, workers_cpu_share: float | None) -> Work:
        """Stop to look, and return what the loader did in this epoch.

        The best source counts: the loader's own account, stacks of its workers or threads, or at
        least whether anything computed while the loop waited.

        Args:
            workers_cpu_share: the share of the usable cores that the loader's processes took.
        """
        if self._sampler is not None:
            self._sampler.stop()
        if (own := self._own_account()) is not None:
            return Work(own, basis="by the loader's own account")
        seen = self._seen()
        in_workers = self._torch is not None and self._torch.num_workers > 0
        looks = seen.busy + seen.idle
        idle_share = seen.idle / looks if in_workers and looks else None
        if seen.busy >= _FEWEST:
            found = {stage: seen.busiest(stage) for stage in seen.stages()}
            places = {stage: each for stage, each in found.items() if each is not None}
            return Work(
                seen.stages(),
                {stage: str(place) for stage, (place, _) in places.items()},
                {stage: blocked for stage, (_, blocked) in places.items()},
                f"{seen.busy} samples of the loader's stacks",
                idle_share,
            )
        if self.cpu.wait_s == 0:
            return Work(idle_share=idle_share)
        cores = (workers_cpu_share or 0.0) * usable_cores() or self.cpu.cores
        computing = min(cores / min(max(self.workers or 1, 1), usable_cores()), 1.0)
        if computing < 0.5 and self._idle.cores < _FREE_CORES:
            # It may wait for a processor as well as for storage.
            return Work(idle_share=idle_share)
        basis = f"by CPU use: while the loop waits, {cores:.1f} cores are at work"
        return Work({STORAGE: 1 - computing, DECODE: computing}, {}, {}, basis, idle_share)

    def close(self) -> None:
        """End what looks."""
        self.first_batch_came()
        if self._sampler is not None:
            self._sampler.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _inject(self) -> None:
        self._before = _NOTHING
        if self._folder is not None:
            if getattr(self._torch, "persistent_workers", False):
                self._before = seen_by_workers(self._folder)
            else:  # else the files of all epochs would add up
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="dl2-watch-"))
        self._restore = WorkerInit(self._folder, self._torch.worker_init_fn, self._torch.collate_fn)
        self._torch.worker_init_fn = self._restore

    def _threads(self) -> Iterator[Thread]:
        """Yield the threads that may load: the loop's, and those in the background."""
        if self._loop is not None:
            yield self._loop
        if self._torch is not None:  # without workers, it loads where it is asked
            return
        own = (threading.main_thread().ident, self._loop and self._loop[0])
        for thread in threading.enumerate():
            if thread.ident is None or thread.ident in own or thread.name == "dl2-watch":
                continue
            if thread.native_id is not None:
                yield thread.ident, thread.native_id

    def _loads(self, ident: int, stack: Stack, at_s: float) -> bool:
        """Tell a thread of the loader from one of a library that has nothing to do with it.

        The loop's thread loads while it waits for a batch of this loader. A tracker or a profiler
        has threads that sleep in its own code. A loader's threads run code of its package, of the
        dataset's, or of the program.
        """
        if self._loop is not None and ident == self._loop[0]:
            waited = self._waits or self._waited_until > at_s
            return waited and any(code is self._stop_at for code, _ in stack)
        packages = {
            type(each).__module__.partition(".")[0] for each in (self._loader, self.dataset)
        }
        return any(_package(code.co_filename) in (None, *packages) for code, _ in stack)

    def _seen(self) -> Inside:
        if self._folder is not None:
            return seen_by_workers(self._folder).since(self._before)
        if self._sampler is None:
            return _NOTHING
        seen = self._sampler.seen().since(self._before)
        if self._torch is not None:
            return seen
        # Blocked in a wait for threads that have no stack of Python's: that says nothing.
        if self.cpu.cores > _IDLE_CORES:
            kept = {key: n for key, n in seen.samples.items() if not key[1]}
            return Inside(kept, seen.idle)
        return seen

    def _own_account(self) -> dict[str, float] | None:
        """Return what dl2's own loaders tell: seconds without data, and of decoding."""
        now = _stats_of(self._loader)
        if now is None or self._stats is None:
            return None
        if now.fetch_wait_s is None or now.decode_s is None:
            return None
        waited = now.fetch_wait_s - (self._stats.fetch_wait_s or 0.0)
        decoded = now.decode_s - (self._stats.decode_s or 0.0)
        if waited + decoded <= 0:
            return None
        return {STORAGE: waited / (waited + decoded), DECODE: decoded / (waited + decoded)}


@lru_cache(maxsize=4096)
def _package(file: str) -> str | None:
    """Return the package that a file of code is installed as; None if it is the program's own."""
    for folder in _LIBRARIES:
        if file.startswith(folder):
            return re.split(r"[/\\.]", file[len(folder) :].lstrip("/\\"), maxsplit=1)[0]
    return None


def _stats_of(loader: object) -> Any:  # noqa: ANN401
    base = sys.modules.get("dl2cli.loaders.base")
    if base is None or not isinstance(loader, base.Loader):
        return None
    with contextlib.suppress(Exception):
        return loader.stats()
    return None


def length_of(loader: object) -> int | None:
    """Return how many batches a loader says it has; None where it does not tell."""
    # Once asked for its length, a DataLoader of an IterableDataset warns if it was wrong.
    asked = getattr(loader, "__dict__", {}).get("_IterableDataset_len_called", _NEVER)
    try:
        return len(loader)  # type: ignore[arg-type]
    except (TypeError, NotImplementedError):
        return None
    finally:
        if asked is not _NEVER:
            loader.__dict__["_IterableDataset_len_called"] = asked
