"""How to look into a loader: a DataLoader's workers, threads of this process, or its own account.

Loaders come in wrappers (accelerate's, timm's, WebDataset's): the DataLoader within is looked for,
and anything that is not found leaves less to say, never an error.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

from dl2cli.cores import usable_cores
from dl2cli.environment import UNKNOWN
from dl2cli.watching.sampling import StackSampler, WorkerInit, seen_by_workers
from dl2cli.watching.stages import DECODE, STORAGE, Inside, stages_of_code
from dl2cli.watching.usage import WaitingCpu

_WRAPPERS: Final = ("base_dataloader", "dataloader", "loader", "_loader", "_dataloader", "pipeline")
_FEWEST: Final = 5  # samples that say something
_NOTHING: Final = Inside({}, 0)
_NEVER: Final = object()
# Where code lies that is not the program's: installed packages, and Python's own modules.
_LIBRARIES: Final = (*(sysconfig.get_path(n) for n in ("purelib", "platlib", "stdlib")), "<")
_IDLE_CORES: Final = 0.2  # fewer busy cores mean that no thread is loading


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
        self._waiting: int | None = None  # the thread that waits for a batch
        self._restore: Any = None
        self._before = _NOTHING
        self._stats: Any = None
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
        self._stats = _stats_of(self._loader)
        if not self._inside:
            return
        if self._torch is not None and self._torch.num_workers > 0:
            self._before = seen_by_workers(self._folder) if self._folder else _NOTHING
            self._inject()
        else:
            known = stages_of_code(self.dataset, getattr(self._torch, "collate_fn", None))
            self._sampler = StackSampler(self._threads, known, stop_at=self._stop_at)

    def first_batch_came(self) -> None:
        """Give the DataLoader its `worker_init_fn` back: its workers run."""
        if self._restore is not None:
            self._torch.worker_init_fn = self._restore.before
            self._restore = None

    def wait_begins(self) -> None:
        """Tell that this thread asks for a batch."""
        self._waiting = threading.get_ident()
        self.cpu.begin()

    def wait_ends(self) -> None:
        """Tell that it has one."""
        self._waiting = None
        self.cpu.end()

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
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="dl2-watch-"))
        self._restore = WorkerInit(self._folder, self._torch.worker_init_fn, self._torch.collate_fn)
        self._torch.worker_init_fn = self._restore

    def _threads(self) -> Iterator[int]:
        """Yield the threads that may load: the one that waits, and those in the background."""
        main = threading.main_thread().ident
        if self._waiting is not None:
            yield self._waiting
        if self._torch is not None:  # without workers, it loads where it is asked
            return
        own = self._sampler.ident if self._sampler is not None else None
        for thread in threading.enumerate():
            if thread.ident in (None, main, own, self._waiting) or thread.name == "dl2-watch":
                continue
            if self._may_load(sys._current_frames().get(thread.ident)):
                yield int(thread.ident)

    def _may_load(self, frame: FrameType | None) -> bool:
        """Tell a thread of the loader from one of a library that has nothing to do with it.

        A tracker or a profiler has threads that sleep in its own code. A loader's threads run code
        of its package, of the dataset's, or of the program.
        """
        packages = {
            type(each).__module__.partition(".")[0] for each in (self._loader, self.dataset)
        }
        while frame is not None:
            package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            if package in packages or not frame.f_code.co_filename.startswith(_LIBRARIES):
                return True
            frame = frame.f_back
        return False

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
