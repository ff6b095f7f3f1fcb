"""A pool of processes that keeps the order of its work, and survives workers that crash."""

from __future__ import annotations

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any, Generic, TypeVar

from dl2cli.errors import Dl2Error
from dl2cli.processes import shorten_socket_folder

T = TypeVar("T")
R = TypeVar("R")

_MOST_CRASHES = 10  # in a row
_CHUNKS_AHEAD = 4  # a worker, so that none waits while the first result is awaited


class OrderedPool(Generic[T, R]):
    """Applies a function to chunks of items in worker processes.

    Args:
        function: Applied to each item; a function of a module, since workers import it.
        crashed: Makes the result of an item that ended its worker process (a fault in a decoder,
            the system's out-of-memory killer), in this process.
        workers: How many processes.
        start: Called first in each worker, with `config`.
        config: Sent to each worker.
    """

    def __init__(
        self,
        function: Callable[[T], R],
        crashed: Callable[[T], R],
        *,
        workers: int,
        start: Callable[[Any], None],
        config: object,
    ) -> None:
        self._function = function
        self._crashed = crashed
        self._workers = workers
        self._start = start
        self._config = config
        self._pool: ProcessPoolExecutor | None = None
        self._crashes = 0  # in a row

    def map(self, chunks: Iterable[Sequence[T]]) -> Iterator[R]:
        """Yield the result of each item, in order. A bounded number of chunks is under way.

        Raises:
            Dl2Error: Workers crash at everything.
        """
        pending: deque[tuple[Sequence[T], Future[list[R]]]] = deque()
        try:
            for chunk in chunks:
                pending.append((chunk, self._submit(chunk)))
                if len(pending) >= self._workers * _CHUNKS_AHEAD:
                    yield from self._finish(pending)
            while pending:
                yield from self._finish(pending)
        finally:
            self._close()

    def _finish(self, pending: deque[tuple[Sequence[T], Future[list[R]]]]) -> list[R]:
        """Return the first chunk's results; after a crash, submit again what was lost with it."""
        chunk, future = pending.popleft()
        try:
            return future.result()
        except BrokenProcessPool:
            self._close()
        results = [self._alone(item) for item in chunk]
        for place, (waiting, future) in enumerate(pending):
            if future.cancelled() or future.exception() is not None:
                pending[place] = waiting, self._submit(waiting)
        return results

    def _alone(self, item: T) -> R:
        """Run one item with nothing else under way, so that a crash can only be its own."""
        try:
            result = self._submit([item]).result()[0]
        except BrokenProcessPool:
            self._close()
            self._crashes += 1
            if self._crashes > _MOST_CRASHES:
                raise Dl2Error(
                    f"{self._crashes} images in a row crashed their worker, which is hardly "
                    "their fault. The machine may lack memory: try --workers 1."
                ) from None
            return self._crashed(item)
        self._crashes = 0
        return result

    def _submit(self, chunk: Sequence[T]) -> Future[list[R]]:
        with _interrupts_held_back():
            try:
                if self._pool is None:
                    self._pool = self._open()
                return self._pool.submit(_run, self._function, chunk)
            except BrokenProcessPool as error:
                broken: Future[list[R]] = Future()
                broken.set_exception(error)
                return broken

    def _open(self) -> ProcessPoolExecutor:
        shorten_socket_folder()
        # Not fork: this process has threads. The fork server has loaded what workers need, once.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([self._function.__module__])
        self._stop = context.Event()
        # The event has started multiprocessing's resource tracker, which unblocks signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        return ProcessPoolExecutor(
            self._workers,
            mp_context=context,
            initializer=_begin,
            initargs=(self._stop, self._start, self._config),
        )

    def _close(self) -> None:
        """End the workers, after the item that each is at."""
        pool, self._pool = self._pool, None
        if pool is not None:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let a Ctrl-C wait until the end, so that it finds the pool whole.

    Processes that are started meanwhile inherit the blocked signal, and so never see a Ctrl-C. This
    process needs a handler too, because its other threads take the signal.
    """
    held: list[int] = []
    handler = None
    if threading.current_thread() is threading.main_thread():
        handler = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if handler is not None:
            signal.signal(signal.SIGINT, handler)
    if held:
        signal.raise_signal(signal.SIGINT)


_stop: Event


def _begin(stop: Event, start: Callable[[Any], None], config: object) -> None:
    global _stop  # noqa: PLW0603 - the way to give a pool's worker something
    _stop = stop
    start(config)


def _run(function: Callable[[T], R], chunk: Sequence[T]) -> list[R]:
    results = []
    for item in chunk:
        if _stop.is_set():
            break  # nobody waits for the results
        results.append(function(item))
    return results
