"""How batches come from worker processes, and clear errors where they do not.

Workers of torch's DataLoader send tensors through shared memory: each is a file in /dev/shm that
is passed on as an open descriptor. Containers often have 64 MB there, and a process may have few
descriptors: torch then prints a traceback in the worker, and the parent waits for ever.
"""

from __future__ import annotations

import errno
import multiprocessing.queues
import os
import re
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from dl2cli.errors import Dl2Error, StorageError

if TYPE_CHECKING:
    from dl2cli.loaders.base import LoaderConfig

SHARED_MEMORY: Final = "/dev/shm"
_ADVICE: Final = (
    "give the container more (`docker run --shm-size=2g`), choose a smaller batch size, fewer "
    "workers or a smaller prefetch, or use a loader that needs none (jpeg, pcr)."
)


def batch_bytes(config: LoaderConfig) -> int:
    """Return the bytes that the images of a batch take in shared memory."""
    value_bytes = 4 if config.output.normalized else 1
    return config.batch_size * 3 * config.transform.size**2 * value_bytes


def check_shared_memory(config: LoaderConfig, batches: int) -> None:
    """Refuse to start if so many batches do not fit into shared memory. Raises StorageError."""
    try:
        status = os.statvfs(SHARED_MEMORY)
    except OSError:
        return  # there is no such folder: torch finds another way, or says why not
    free, needed = status.f_bavail * status.f_frsize, batches * batch_bytes(config)
    if needed > free:
        raise StorageError(
            f"{SHARED_MEMORY} has {_megabytes(free)} free, and the pytorch loader needs "
            f"{_megabytes(needed)} there for {batches} batches on their way from its workers: "
            f"{_ADVICE}"
        )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def report_failed_sends() -> None:
    """Make this process's queues send an error in place of an item that they cannot send.

    This replaces a hook of multiprocessing's queues that is meant for it. It is called in worker
    processes, which use queues for nothing but results.
    """

    def send_error(queue: Any, error: Exception, item: object) -> None:  # noqa: ANN401
        if isinstance(item, tuple) and len(item) == 2:  # torch: the number of a batch, the batch
            queue.put((item[0], failed_send(error)))

    queues: Any = multiprocessing.queues.Queue
    queues._on_queue_feeder_error = send_error


def failed_send(error: Exception) -> Dl2Error:
    """Return the error for a batch that a worker could not send."""
    if _code(error) in {errno.EMFILE, errno.ENFILE}:
        return StorageError(
            "A worker of the pytorch loader cannot send a batch: too many open files. Raise the "
            "limit (`ulimit -n 4096`), use fewer workers, or the loader jpeg."
        )
    reason = str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else repr(error)
    return StorageError(
        f"A worker of the pytorch loader cannot send a batch: {reason}. Probably {SHARED_MEMORY} "
        f"is full: {_ADVICE}"
    )


def _code(error: Exception) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    # torch names the code in the text of a RuntimeError: "... No file descriptors ... (24)".
    found = re.search(r"\((\d+)\)\s*$", str(error).splitlines()[0]) if str(error) else None
    return int(found[1]) if found else None


def report_lost_workers() -> None:
    """Make torch's handler of SIGCHLD raise our error instead of its own.

    It raises wherever the main thread is at that moment, so that no caller of the loader could
    translate its message. Call this when a DataLoader has started its workers.
    """
    theirs = signal.getsignal(signal.SIGCHLD)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or not callable(theirs) or hasattr(theirs, "dl2_wraps"):
        return

    def handler(number: int, frame: FrameType | None) -> None:
        try:
            theirs(number, frame)
        except RuntimeError as error:
            raise lost_worker(error) or error from error

    handler.dl2_wraps = theirs  # type: ignore[attr-defined]
    signal.signal(signal.SIGCHLD, handler)


def lost_worker(error: Exception) -> Dl2Error | None:
    """Return our error if torch's error says that a worker ended; None for other errors.

    torch says "DataLoader worker (pid 7) is killed by signal: Killed." or "... exited
    unexpectedly".
    """
    text = str(error)
    # Tensors are fetched from the worker itself, which may be gone before torch knows.
    gone = isinstance(error, ConnectionError | EOFError)
    if not gone and "DataLoader worker" not in text:
        code = _code(error)
        return failed_send(error) if code in {errno.EMFILE, errno.ENFILE, errno.ENOSPC} else None
    found = re.search(r"killed by signal: ([^.]*)\.", text)
    name = found[1] if found else ""
    if name == signal.strsignal(signal.SIGBUS):
        return StorageError(
            f"A worker of the pytorch loader was killed by a bus error: {SHARED_MEMORY} is full; "
            f"{_ADVICE}"
        )
    how = f"was killed ({name})" if name else "ended unexpectedly"
    return StorageError(
        f"A worker of the pytorch loader {how}. If the machine ran out of memory, which `dmesg` "
        "tells, use fewer workers or a smaller batch size."
    )
