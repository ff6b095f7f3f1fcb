"""One epoch of a watched loader: an iterator that takes the time of every step."""

from __future__ import annotations

import platform
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Self

from dl2cli.watching.account import Account
from dl2cli.watching.loader_view import length_of
from dl2cli.watching.session import no_harm, phase_report
from dl2cli.watching.usage import CpuUse

if TYPE_CHECKING:
    from dl2cli.watching.loader import WatchedLoader

_LIVE_S: Final = 5.0  # between two lines of the live view
_local = threading.local()  # .running: the epochs that run in this thread, outermost first


class WatchedEpoch:
    """One epoch: an iterator over the loader's batches that takes the time of every step."""

    def __init__(self, watched: WatchedLoader, parameters: Callable[[], dict[str, Any]]) -> None:
        """Begin an epoch of `watched`; `parameters` says what the log's P record holds of it."""
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
            self._session.begin(parameters(), self._length, "cuda" if self._clock else "cpu")
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


def _running() -> list[weakref.ref[WatchedEpoch]]:
    if not hasattr(_local, "running"):
        _local.running = []
    found: list[weakref.ref[WatchedEpoch]] = _local.running
    return found


def _device_clock() -> Any:  # noqa: ANN401
    """Return the GPU's clock where the program uses one already, else None."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    from dl2cli.training.step_clock import CudaClock

    return CudaClock(torch.device("cuda", torch.cuda.current_device()))
