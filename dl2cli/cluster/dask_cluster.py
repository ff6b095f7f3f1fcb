"""A Dask cluster as dl2 uses it: connecting, handing out tasks, and saying what went wrong."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import dl2cli
from dl2cli.errors import Dl2Error, MissingDependency, StorageError, UsageError
from dl2cli_native import _core

if TYPE_CHECKING:
    from distributed import Client, Future

EXTRA: Final = "dask"
CONNECT_S: Final = 10
POLL_S: Final = 0.2  # how often Ctrl-C and a lost scheduler are noticed
TASKS_A_THREAD: Final = 2  # under way, so that no thread waits for the driver
RETRIES: Final = 2  # of a task that raised, perhaps on another worker
PATIENCE_S: Final = 10  # without any worker, before a note says so
_AGAIN: Final = "What is done is kept: the same command resumes"


class WorkersDied(StorageError):  # noqa: N818 - the name says what is wrong
    """Several workers died over one task, one after the other."""


@dataclass(frozen=True)
class Build:
    """What decides a result besides the options; workers must have the driver's."""

    dl2: str
    libjpeg: str

    @classmethod
    def here(cls) -> Build:
        """Return the versions of this process."""
        return cls(dl2cli.__version__, _core.libjpeg_version())

    def check(self, host: str) -> None:
        """Refuse to work for a driver of other versions. Raises UsageError."""
        if Build.here() != self:
            raise UsageError(f"The worker on {host} has {Build.here()}, and the driver has {self}.")

    def __str__(self) -> str:
        return f"dl2 {self.dl2} with libjpeg {self.libjpeg}"


class DaskCluster:
    """A cluster that this process drives; workers may come and go.

    Args:
        scheduler: the address ("tcp://host:8786"), or the path of the scheduler's file.
        on_note: called with sentences about what the user should know.
    """

    def __init__(self, scheduler: str, on_note: Callable[[str], None] | None = None) -> None:
        self.scheduler = scheduler
        self._note = on_note or (lambda _: None)
        self._client: Client
        self._finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        self._threads = 1
        self._threads_read = self._workers_seen = float("-inf")

    @contextlib.contextmanager
    def connected(self) -> Iterator[DaskCluster]:
        """Connect, and at the end cancel what is still under way.

        Raises:
            MissingDependency: dask.distributed is not installed.
            UsageError: `scheduler` is neither an address nor a file.
            StorageError: no scheduler answers.
        """
        try:
            from distributed import Client
            from distributed.comm.registry import backends
        except ImportError as error:
            raise MissingDependency("dask.distributed", EXTRA) from error
        where = self._where(sorted(backends))
        # What goes wrong is said here, in sentences, and not also by Dask in tracebacks.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            self._client = Client(**where, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise StorageError(
                f"No Dask scheduler answers at {self.scheduler} within {CONNECT_S} s: {error}."
            ) from error
        self._workers_seen = time.monotonic()
        try:
            yield self
        finally:
            self._client.close(timeout=5)  # which cancels the tasks

    def _where(self, schemes: list[str]) -> dict[str, str]:
        scheme, colon, _ = self.scheduler.partition("://")
        if colon and scheme not in schemes:
            raise UsageError(
                f"{self.scheduler} is not the address of a Dask scheduler: it must begin with "
                f"{' or '.join(f'{each}://' for each in schemes)}."
            )
        if not colon and not Path(self.scheduler).is_file():
            raise UsageError(
                f"There is no scheduler file {self.scheduler}; --scheduler takes such a file, or "
                "an address like tcp://host:8786."
            )
        return {"address" if colon else "scheduler_file": self.scheduler}

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future:
        """Hand out a task that may run twice; it comes back from `next_finished`."""
        future = self._client.submit(function, *arguments, pure=False, retries=RETRIES)
        future.add_done_callback(self._finished.put)
        return future

    def next_finished(self) -> Future:
        """Wait for a task that finished or failed. Raises StorageError if the scheduler is lost."""
        while True:
            try:
                future = self._finished.get(timeout=POLL_S)
            except queue.Empty:
                self._check_alive()
                self.room()  # notes that there are no workers
                continue
            if future.status in {"finished", "error"}:
                return future
            if future.status == "cancelled":  # which the client does when it loses its scheduler
                raise self._is_gone()
            # The worker that had the result died with it, and another one has the task now.
            future.add_done_callback(self._finished.put)

    def result(self, future: Future, name: str) -> Any:  # noqa: ANN401 - whatever the task returns
        """Return what a finished task returned, or raise what it raised.

        Args:
            future: one that `next_finished` returned.
            name: what the task is for, for the message ("record 7").

        Raises:
            WorkersDied: each worker that had the task died.
            Dl2Error: the task raised it, or the task could not run.
        """
        from distributed import KilledWorker

        try:
            return future.result()
        except Dl2Error:
            raise
        except CancelledError as error:
            raise self._is_gone() from error
        except KilledWorker as error:
            raise WorkersDied(
                f"Several workers died over {name}, one after the other; they may lack memory. "
                f"{_AGAIN}."
            ) from error
        except Exception as error:  # whatever a task that could not run raises
            raise StorageError(
                f"The task for {name} failed: {_sentence(error)} {_AGAIN}."
            ) from error

    def room(self) -> int:
        """Return how many tasks should be under way, at least 1; looked up once a second."""
        now = time.monotonic()
        if now - self._threads_read > 1:
            self._threads_read = now
            try:
                found = sum(self._client.nthreads().values())
            except (OSError, TimeoutError):  # a lost scheduler, which `_check_alive` tells
                return self._threads * TASKS_A_THREAD
            if found:
                self._workers_seen = now
            elif now - self._workers_seen > PATIENCE_S:
                self._note("The scheduler has no workers; waiting for some to connect.")
                self._workers_seen = float("inf")  # said once
            self._threads = max(found, 1)
        return self._threads * TASKS_A_THREAD

    def _check_alive(self) -> None:
        if self._client.status not in {"running", "connecting"}:
            raise self._is_gone()

    def _is_gone(self) -> StorageError:
        return StorageError(
            f"The scheduler at {self.scheduler} is gone. {_AGAIN}, on it or on another one."
        )


def _sentence(error: BaseException) -> str:
    if isinstance(error, ImportError):
        return f"a worker cannot import what it needs ({error}); is dl2cli installed there?"
    return f"{type(error).__name__}: {error}."
