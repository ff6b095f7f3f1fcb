"""`watch(loader)`: the same batches, and an account of what each step waited for."""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

from dl2cli.environment import UNKNOWN
from dl2cli.errors import UsageError
from dl2cli.watching.account import Account, EpochSummary
from dl2cli.watching.counting import count_images
from dl2cli.watching.loader_view import LoaderView, length_of
from dl2cli.watching.session import WatchSession, no_harm, phase_report
from dl2cli.watching.usage import CpuUse
from dl2cli.watching.verdict import sentences

_LIVE_S: Final = 5.0  # between two lines of the live view
_OWN: Final = frozenset({"_loader", "_session", "_view", "_options", "_epoch", "_last", "_end"})
_local = threading.local()  # .running: the epochs that run in this thread, outermost first


def watch(
    loader: Any,  # noqa: ANN401 - any iterable
    *,
    log: str | os.PathLike[str] | bool = True,
    name: str | None = None,
    live: bool | TextIO = False,
    replay: int = 0,
    print_freq: int = 50,
    inside: bool = True,
    count: Callable[[Any], int] | None = None,
) -> WatchedLoader:
    """Give the batches of a loader, and write down what each step waited for.

    ::

        for images, labels in dl2cli.watch(loader):
            ...

    Any iterable of batches will do: a DataLoader, also in the wrappers of accelerate, timm or
    WebDataset, DALI's iterators, an FFCV loader, an SPDL pipeline, dl2's own. The batches are
    untouched, and what is returned has the loader's length and attributes.

    Args:
        loader: what gives the batches.
        log: the folder for the run log, which `dl2 report` reads; True makes a new one in
            $DL2_HOME/logs, else in ./logs; False writes none. Rank 0 writes it.
        name: of this loader, in the folder's name; the script's name by default.
        live: whether to write a line to stderr every five seconds and some after each epoch; or a
            stream to write them to.
        replay: keep so many batches, and feed the second half of the first epoch from them: what
            would a perfect loader give? The model then sees them again and again, so this is for
            a run that only measures.
        print_freq: steps between two records of the log.
        inside: whether to look into the loader's workers or threads, 20 times a second, for what
            they are doing. It needs no change of yours.
        count: how many images a batch has, where `count_images` cannot tell.

    Raises:
        UsageError: `loader` cannot be iterated over, or a number makes no sense.
    """
    if isinstance(loader, WatchedLoader):
        raise UsageError("This loader is watched already.")
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise UsageError(f"A loader must be iterable, and {type(loader).__name__} is not.")
    if replay < 0 or print_freq < 1:
        raise UsageError("replay must be at least 0, and print_freq at least 1.")
    folder = None if isinstance(log, bool) else Path(log)
    stream = sys.stderr if live is True else live or None
    session = WatchSession(name or _script_name(), folder, stream)
    options = {"replay": replay, "print_freq": print_freq, "log": log is not False}
    view = LoaderView(loader, _Epoch.__next__.__code__, inside=inside)
    return WatchedLoader(loader, session, view, options, count or count_images)


class WatchedLoader:
    """A loader whose epochs are accounted for; see `watch`.

    `with watch(...) as loader:` ends the log where the block ends; otherwise it ends with the
    program, or when this object is no longer used.
    """

    def __init__(
        self,
        loader: Any,  # noqa: ANN401
        session: WatchSession,
        view: LoaderView,
        options: dict[str, Any],
        count: Callable[[Any], int],
    ) -> None:
        """Use `watch`."""
        own = self.__dict__
        own["_loader"], own["_session"], own["_view"] = loader, session, view
        own["_options"] = {**options, "count": count}
        own["_epoch"], own["_last"] = 0, None
        own["_end"] = weakref.finalize(self, _end, session, view)

    def __iter__(self) -> Iterator[Any]:
        """Begin an epoch."""
        if (last := self._last and self._last()) is not None:
            last.close()  # an iterator that was left without being dropped
        epoch = _Epoch(self)
        self.__dict__["_last"] = weakref.ref(epoch)
        self.__dict__["_epoch"] = epoch.number + 1
        return epoch

    def __len__(self) -> int:
        """Return the loader's length. Raises TypeError where it has none."""
        return len(self._loader)

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        if name in _OWN or name == "__setstate__":
            raise AttributeError(name)
        value = getattr(self._loader, name)
        return partial(self._set_epoch, value) if name == "set_epoch" else value

    def _set_epoch(self, choose: Callable[[int], Any], epoch: int) -> Any:  # noqa: ANN401
        """Choose the epoch, of the loader and in the log."""
        self.__dict__["_epoch"] = max(self._epoch, int(epoch))
        return choose(epoch)

    def __setattr__(self, name: str, value: Any) -> None:  # noqa: ANN401
        setattr(self._loader, name, value)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop_watching()

    def stop_watching(self) -> None:
        """End the log; the loader can still be used."""
        if (last := self._last and self._last()) is not None:
            last.close()
        self._end()

    @property
    def watched(self) -> Watched:
        """What was found so far, for a program to look at."""
        return Watched(self._session)


class Watched:
    """What was found of a watched loader."""

    def __init__(self, session: WatchSession) -> None:
        self._session = session

    @property
    def folder(self) -> Path | None:
        """Where the run log is; None before the first epoch, without a log, and on other ranks."""
        return self._session.folder

    @property
    def epochs(self) -> tuple[EpochSummary, ...]:
        """This rank's epochs."""
        return tuple(self._session.summaries)

    def ranks(self, epoch: int) -> tuple[EpochSummary, ...]:
        """Return all ranks' summaries of an epoch (0-based), as far as rank 0 has heard of them."""
        return tuple(self._session.by_rank.get(epoch, ()))

    def text(self) -> str:
        """Return what is to be said of the last epoch."""
        if not self.epochs:
            return "No epoch has ended."
        last = self.epochs[-1]
        return " ".join(sentences(last, self.ranks(last.epoch)))


class _Epoch:
    """One epoch: an iterator over the loader's batches that takes the time of every step."""

    def __init__(self, watched: WatchedLoader) -> None:
        self.number = watched._epoch
        self._session, self._view = watched._session, watched._view
        self._options, self._count = watched._options, watched._options["count"]
        self._keep: WatchedLoader | None = watched  # a temporary one must last as long
        self._length = length_of(watched._loader)
        self._ended = self._whole = False
        self._given = 0
        self._window = 0
        self._kept: list[Any] = []
        self._device_s: list[tuple[float, float]] = []
        self._running = _running()
        self._outer = self._running[-1]() if self._running else None
        self._outer_step = self._outer.given if self._outer else 0
        self._clock = _device_clock()
        self._view.epoch_begins()
        self._use = CpuUse.now()
        self._told = time.perf_counter()
        if self._options["log"]:
            self._session.begin(
                _parameters(watched), self._length, "cuda" if self._clock else "cpu"
            )
        self._running.append(weakref.ref(self))
        self._account = Account()
        if self._clock is not None:
            self._clock.start()
        self._view.wait_begins()
        try:
            self._batches = iter(watched._loader)
        except BaseException:
            self.close()
            raise

    @property
    def given(self) -> int:
        """The number of batches given."""
        return self._given

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:  # noqa: ANN401
        account, clock, view = self._account, self._clock, self._view
        if self._given:
            account.step_ended()
            if clock is not None:
                clock.end()
            self._after_step()
            view.wait_begins()
        if self._ended:
            raise StopIteration
        try:
            batch = self._replayed() if self._kept_enough() else next(self._batches)
        except StopIteration:
            self._whole = True
            self.close()
            raise
        except BaseException:
            self.close()
            raise
        view.wait_ends()
        if not self._given:
            view.first_batch_came()
        self._given += 1
        account.batch_ready(self._count(batch))
        if clock is not None:
            clock.batch_ready()
        if len(self._kept) < self._options["replay"] and self.number == 0:
            self._kept.append(batch)
        return batch

    def __del__(self) -> None:
        if hasattr(self, "_account"):
            self.close()

    def close(self) -> None:
        """End the epoch, wherever the loop left it; a second time does nothing."""
        if self._ended:
            return
        self._ended = True
        ended_s = time.perf_counter()
        self._running[:] = [each for each in self._running if each() not in (self, None)]
        if self._outer is not None and self._outer.given == self._outer_step:
            self._outer._account.exclude(ended_s - self._account.began)
        self._view.first_batch_came()
        self._batches = iter(())  # what the loader's iterator holds ends now
        self._kept.clear()
        if self._given == 0:
            # Nothing was taken: frameworks make iterators only to look at them.
            if self._keep is not None:
                self._keep.__dict__["_epoch"] = self.number
        elif not sys.is_finalizing():
            with no_harm("sum up an epoch"):
                self._finish()
        self._keep = None

    def _finish(self) -> None:
        # Some loops know the length, and do not ask for a batch more.
        whole = self._whole or self._given == self._length
        summary = self._account.summary(self.number, self._session.ranks.rank, whole=whole)
        share, workers = CpuUse.now().shares_since(self._use)
        work = self._view.epoch_ended(workers)
        device_wait_s = None
        if self._clock is not None:
            self._device_s += self._clock.flush()
            device_wait_s = sum(data_s for data_s, _ in self._device_s[: summary.steps])
        self._session.epoch_ended(
            replace(
                summary,
                device_wait_s=device_wait_s,
                **vars(work),
                cpu_share=share,
                workers_cpu_share=workers,
                host=platform.node(),
                on_gpu=self._clock is not None,
            )
        )

    def _after_step(self) -> None:
        done = self._account.ended
        if done - self._window >= self._options["print_freq"]:
            self._end_window(done)
        now = time.perf_counter()
        if now - self._told > _LIVE_S:
            self._told = now
            self._session.say(self._line(done))

    def _end_window(self, done: int) -> None:
        first, self._window = self._window, done
        waits, steps = self._account.waits[first:done], self._account.steps_s[first:done]
        times = list(zip(waits, steps, strict=True))
        if self._clock is not None:
            self._device_s += self._clock.flush(wait=False)
            times = self._device_s[first:done] or times
        images = sum(self._account.images[first:done])
        world_size = self._session.ranks.world_size
        self._session.window(phase_report(self.number, done, times, images, world_size))

    def _line(self, done: int) -> str:
        first = max(done - self._options["print_freq"], 0)
        wait_s, step_s, images = self._account.times(first, done)
        total_s = max(wait_s + step_s, 1e-9)
        of = f"/{self._length}" if self._length else ""
        return (
            f"epoch {self.number + 1}, step {done}{of}: {images / total_s:.0f} images/s, "
            f"{wait_s / total_s:.0%} of the time waiting for batches"
        )

    def _kept_enough(self) -> bool:
        """Tell whether to replay from here on: in the second half of the first epoch."""
        wanted = self._options["replay"]
        if not wanted or self.number or len(self._kept) < wanted:
            return False
        half = self._length // 2 if self._length else max(50, wanted)
        if self._account.loaded is None and self._given >= max(half, wanted):
            self._account.loaded = self._account.ended
        return self._account.loaded is not None

    def _replayed(self) -> Any:  # noqa: ANN401
        loaded = self._account.loaded or 0
        last = self._length if self._length else 2 * loaded
        if self._given >= last:
            raise StopIteration
        return self._kept[(self._given - loaded) % len(self._kept)]


def _end(session: WatchSession, view: LoaderView) -> None:
    session.close()
    view.close()


def _running() -> list[weakref.ref[_Epoch]]:
    if not hasattr(_local, "running"):
        _local.running = []
    found: list[weakref.ref[_Epoch]] = _local.running
    return found


def _device_clock() -> Any:  # noqa: ANN401
    """Return the GPU's clock where the program uses one already, else None."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    from dl2cli.training.step_clock import CudaClock

    return CudaClock(torch.device("cuda", torch.cuda.current_device()))


def _parameters(watched: WatchedLoader) -> dict[str, Any]:
    loader, view = watched._loader, watched._view
    dataset = view.dataset
    for _ in range(4):  # through wrappers such as Subset
        dataset = getattr(dataset, "dataset", dataset)
    named = (getattr(dataset, name, None) for name in ("root", "data", "folder", "path"))
    root = next((each for each in named if isinstance(each, str | Path)), UNKNOWN)
    batch_size = getattr(loader, "batch_size", None)
    found = {
        "data": str(root),
        "data_loader": type(loader).__name__,
        "dataset_class": type(dataset).__name__ if dataset is not None else UNKNOWN,
        "workers": view.workers,
        "batch_size": batch_size if isinstance(batch_size, int) else None,
        "print_freq": watched._options["print_freq"],
        "watched": _script_name(),
        "replay": watched._options["replay"],
    }
    return {key: UNKNOWN if value is None else value for key, value in found.items()}


def _script_name() -> str:
    return Path(sys.argv[0] or "python").stem or "python"
