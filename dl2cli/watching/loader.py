"""`watch(loader)`: the same batches, and an account of what each step waited for."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

from dl2cli.environment import UNKNOWN
from dl2cli.errors import UsageError
from dl2cli.watching.account import EpochSummary
from dl2cli.watching.counting import count_images
from dl2cli.watching.epoch import WatchedEpoch
from dl2cli.watching.loader_view import LoaderView
from dl2cli.watching.session import WatchSession
from dl2cli.watching.verdict import sentences

_OWN: Final = frozenset({"_loader", "_session", "_view", "_options", "_epoch", "_last", "_end"})


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
    view = LoaderView(loader, WatchedEpoch.__next__.__code__, inside=inside)
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
        epoch = WatchedEpoch(self, partial(_parameters, self))
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


def _end(session: WatchSession, view: LoaderView) -> None:
    session.close()
    view.close()


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
