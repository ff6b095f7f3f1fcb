"""The kernel's page cache of chosen files: empty it, fill it, and look how much it holds.

None of this needs root or changes a file. It cannot drop pages that another
process has mapped or that are not yet written to disk, drop inodes and folders, or reach the caches
below this kernel (of a drive, a hypervisor, a file server). So callers count what came from the
device instead of trusting that `drop` worked.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np

from dl2cli.block_device import find_device

PAGE: Final = mmap.PAGESIZE
_WINDOW: Final = 1 << 30  # mincore answers with a byte a page: 256 KiB for a window
_BLOCK: Final = 1 << 20
_SAMPLE: Final = 256

_libc = ctypes.CDLL(None, use_errno=True)


def drop(paths: Iterable[str | Path], patience_s: float = 3.0) -> None:
    """Ask the kernel to forget the cached pages of files; unreadable files are passed over.

    Pages that wait to be written, as of a dataset that was just unpacked, are not dropped, they are
    only sent on their way. So this asks again, for `patience_s` at most, while a sample of the
    files has pages left. (Syncing each file would do, too, at the price of a disk flush a file.)
    Files of a file system that is nothing but memory stay where they are.
    """
    files = list(paths)
    if not files or find_device(files[0]).in_memory:
        return
    sample = files[:: len(files) // _SAMPLE + 1]
    end = time.monotonic() + patience_s
    while True:
        for file in files:
            with _opened(file) as fd:
                if fd is not None:
                    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if not resident_bytes(sample) or time.monotonic() > end:
            return
        time.sleep(0.02)


def warm(paths: Iterable[str | Path]) -> None:
    """Read files once, so that the page cache holds them if it has room."""
    buffer = bytearray(_BLOCK)
    for path in paths:
        with _opened(path) as fd:
            offset = 0
            while fd is not None and (got := os.preadv(fd, [buffer], offset)):
                offset += got


def resident_bytes(paths: Iterable[str | Path]) -> int | None:
    """Return how many bytes of files are in the page cache, in whole pages.

    None where the kernel does not tell: it answers only for files that one owns or may write
    (mincore(2) pretends that any other is all there).
    """
    total = 0
    for path in paths:
        with _opened(path) as fd:
            if fd is None:
                continue
            resident = _resident(fd)
            if resident is None:
                return None
            total += resident
    return total


@contextmanager
def _opened(path: str | Path) -> Iterator[int | None]:
    """Open a regular file for reading; None for anything else, which may block or do things."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        is_file = os.path.isfile(fd)  # noqa: PTH113 - of a descriptor
        yield fd if is_file else None
    except OSError:  # an unreadable block, a file server that is gone
        pass
    finally:
        os.close(fd)


def _resident(fd: int) -> int | None:
    status = os.fstat(fd)
    if os.geteuid() not in {0, status.st_uid} and not os.access(f"/proc/self/fd/{fd}", os.W_OK):
        return None
    total = 0
    for offset in range(0, status.st_size, _WINDOW):
        length = min(_WINDOW, status.st_size - offset)
        pages = np.zeros(-(-length // PAGE), np.uint8)
        with mmap.mmap(fd, length, access=mmap.ACCESS_READ, offset=offset) as view:
            array = np.frombuffer(view, np.uint8)
            address = ctypes.c_void_p(array.ctypes.data)
            failed = _libc.mincore(address, ctypes.c_size_t(length), pages.ctypes.data_as(_BYTES))
            del array  # or the map cannot be closed
        if failed:
            return None
        total += int((pages & 1).sum()) * PAGE
    return total


_BYTES = ctypes.POINTER(ctypes.c_ubyte)
