"""The `pytorch` loader: torch DataLoader workers that decode an ImageFolder with Pillow."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.context import BaseContext
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from dl2cli.dataset.pillow_limits import pillow_limits
from dl2cli.errors import Dl2Error, UsageError
from dl2cli.loaders import transform
from dl2cli.loaders.base import Batch, LoaderConfig, require_torch, should_pin
from dl2cli.loaders.files import FileList, FileLoader
from dl2cli.loaders.order.sample_order import EpochOrder
from dl2cli.loaders.pytorch.sending import (
    check_shared_memory,
    lost_worker,
    report_failed_sends,
    report_lost_workers,
)
from dl2cli.loaders.pytorch.shared_cache import SharedCache
from dl2cli.loaders.pytorch.worker import BatchMaker, Result, Wanted
from dl2cli.loaders.throttle import SharedThrottle
from dl2cli_native import _core

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

T = TypeVar("T")
_PROCESS: Final = contextlib.ExitStack()  # the settings of a worker, which hold as long as it lives


class PytorchLoader(FileLoader):
    """Loads an ImageFolder."""

    name = "pytorch"

    def __init__(self, config: LoaderConfig) -> None:
        """List the folder.

        Raises:
            UsageError: there is no ImageFolder, or an option makes no sense.
            DataError: there are no images.
            MissingDependency: torch is not installed.
        """
        require_torch()
        transform.check(config.transform)
        super().__init__(config)
        self.cache: SharedCache | None = None
        self._context = multiprocessing.get_context(config.multiprocessing_context)
        if config.dataset_class == "MinIOFolder":
            self.cache = SharedCache(len(self.files), config.cache_bytes, self._context)
        elif config.dataset_class != "ImageFolder":
            raise UsageError(
                f"dataset_class must be ImageFolder or MinIOFolder, not {config.dataset_class!r}."
            )
        self._idle: list[_Workers] = []  # kept from one epoch to the next

    def set_size(self, size_px: int, *, scaled_decode: bool) -> None:
        """Change the size of the images; workers that were kept for it end."""
        before = self.config
        super().set_size(size_px, scaled_decode=scaled_decode)
        while self.config != before and self._idle:
            self._idle.pop().close()

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        order = self.order.epoch(epoch)
        workers = self._idle.pop() if self._idle else self._start(len(self) - first)
        try:
            workers.begin(order, epoch, first)
            for step in range(first, len(self)):
                start = time.perf_counter()
                result = workers.next()
                waited = time.perf_counter() - start
                yield self._finish(result, order, step * self.config.batch_size, waited)
        finally:
            if self.config.persistent_workers and workers.healthy:
                self._idle.append(workers)
            else:
                workers.close()

    def _start(self, batches: int) -> _Workers:
        if self.config.persistent_workers:
            batches = len(self)
        return _Workers(self.config, self.files, self.cache, self._context, batches)

    def _finish(self, result: Result, order: EpochOrder, begin: int, waited: float) -> Batch:
        if result.failure is not None:
            raise result.failure
        planned = min(self.config.batch_size, len(order) - begin)
        self._count(
            batches=1,
            images=len(result.labels),
            bytes_read=result.bytes_read,
            fetch_s=result.fetch_s,
            decode_s=result.decode_s,
            fetch_wait_s=result.fetch_s,  # who decodes reads, and waits for it
            wait_s=waited,
            skipped=planned - len(result.labels),
            cache_hits=result.cache_hits,
            messages=result.messages,
        )
        padding = min(order.padding_in(begin, begin + planned), len(result.labels))
        return Batch(result.images, result.labels, result.bytes_read, result.ids, padding)


class _Plan:
    """A sampler that gives the batches that are left of the epoch."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size
        self._order: EpochOrder | None = None
        self._epoch = self._first = 0

    def set(self, order: EpochOrder, epoch: int, first: int) -> None:
        self._order, self._epoch, self._first = order, epoch, first

    def __iter__(self) -> Iterator[Wanted]:
        if self._order is None:
            return
        numbers = self._order.record.astype(np.int64)
        for begin in range(self._first * self._batch_size, len(numbers), self._batch_size):
            yield Wanted(self._epoch, numbers[begin : begin + self._batch_size])


class _Workers:
    """Processes that make the batches of one epoch after another."""

    def __init__(
        self,
        config: LoaderConfig,
        files: FileList,
        cache: SharedCache | None,
        context: BaseContext,
        batches: int,
    ) -> None:
        from torch.utils.data import DataLoader

        self.healthy = True  # none has failed
        self._plan = _Plan(config.batch_size)
        self._throttle = SharedThrottle(config.throttle, context) if config.throttle else None
        count = min(config.workers, batches)
        self._ending = context.Semaphore(0)  # raised when SIGTERM is from here, to end a worker
        self._mark_end = partial(_release, self._ending, count)
        atexit.register(self._mark_end)  # before multiprocessing ends what is left, and waits
        ahead = max(-(-config.prefetch // count), 1)
        # One more is in the hands of the caller.
        check_shared_memory(config, min(ahead * count, batches) + 1)
        dataset: Any = BatchMaker(config, files, cache, self._throttle)
        plan: Any = self._plan
        self._loader: DataLoader[Result] = DataLoader(
            dataset,
            batch_size=None,
            sampler=plan,
            num_workers=count,
            prefetch_factor=ahead,
            worker_init_fn=partial(_start_worker, config.max_pixels, self._ending),
            multiprocessing_context=context,
            pin_memory=should_pin(config),  # by a thread of its own, which calls Result.pin_memory
            persistent_workers=config.persistent_workers,
        )
        self._results: Iterator[Result | Dl2Error] = iter(())

    def begin(self, order: EpochOrder, epoch: int, first: int) -> None:
        """Start with a batch of an epoch."""
        self._plan.set(order, epoch, first)
        self.healthy = False
        self._results = self._watched(lambda: iter(self._loader))
        report_lost_workers()
        self.healthy = True

    def next(self) -> Result:
        """Return the next batch."""
        self.healthy = False
        result = self._watched(lambda: next(self._results))
        if isinstance(result, Dl2Error):  # in the place of a batch that could not be sent
            raise result
        self.healthy = True
        return result

    @staticmethod
    def _watched(work: Callable[[], T]) -> T:
        """Turn the errors of a lost worker, or of the system's limits, into ours."""
        try:
            return work()
        except (RuntimeError, OSError, EOFError) as error:
            known = lost_worker(error)
            if known is None:
                raise
            raise known from error

    def close(self) -> None:
        """End the processes, without waiting for a throttle."""
        self._mark_end()
        atexit.unregister(self._mark_end)
        if self._throttle is not None:
            self._throttle.release()
        # What torch does when its iterator is not referred to any more. An error's traceback may
        # refer to it for long: it has the frames in which a worker's error was unpickled.
        end: Callable[[], None] | None = getattr(self._results, "_shutdown_workers", None)
        del self._results, self._loader
        if end is not None:
            with contextlib.suppress(RuntimeError, Dl2Error):  # of a worker that was lost: told
                end()

    def __del__(self) -> None:
        mark_end = getattr(self, "_mark_end", None)
        if mark_end is not None:
            mark_end()
            atexit.unregister(mark_end)
        throttle = getattr(self, "_throttle", None)
        if throttle is not None:
            throttle.release()


def _release(semaphore: Any, count: int) -> None:  # noqa: ANN401
    for _ in range(count):
        semaphore.release()


def _start_worker(max_pixels: int, ending: Any, worker: int) -> None:  # noqa: ANN401
    """Leave signals to the parent, which ends its workers, and set up this process.

    A cluster sends them to all processes of a job at once, and the parent needs its workers until
    its step has ended. `ending`, a semaphore, is raised when the parent itself sends SIGTERM.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if os.getppid() != parent or ending.acquire(block=False):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    parent = os.getppid()
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, end)
    sys.excepthook = _report_unless_alone
    report_failed_sends()
    _PROCESS.enter_context(pillow_limits(_core.Limits(max_pixels=max_pixels)))


def _report_unless_alone(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Keep quiet about a batch that was still on its way when the parent ended."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
