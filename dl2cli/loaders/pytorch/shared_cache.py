"""MinIO: a cache of raw file bytes that worker processes share and that never evicts.

Source of the idea: Mohan et al., "Analyzing and mitigating data stalls in DNN training" (CoorDL),
VLDB 2021, section 4: when each epoch visits the whole dataset in random order, replacing cached
files only makes misses. Files that fit stay for ever, and each epoch reads the rest from storage.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from multiprocessing import reduction
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

from dl2cli.errors import UsageError

_EMPTY, _FULL, _FILLING = range(3)


class _SharedMemory:
    """Zeroed memory that forked and spawned children share; the last one to end frees it."""

    def __init__(self, size: int) -> None:
        self._open(os.memfd_create("dl2-cache"), size)
        os.ftruncate(self._fd, size)
        self.bytes = mmap.mmap(self._fd, size)

    def _open(self, fd: int, size: int) -> None:
        self._fd, self.size = fd, size

    def __getstate__(self) -> Any:  # noqa: ANN401 - what multiprocessing makes of a descriptor
        return reduction.DupFd(self._fd), self.size

    def __setstate__(self, state: Any) -> None:  # noqa: ANN401
        duplicate, size = state
        self._open(duplicate.detach(), size)
        self.bytes = mmap.mmap(self._fd, size)

    def __del__(self) -> None:
        if hasattr(self, "bytes"):
            self.bytes.close()
        if hasattr(self, "_fd"):
            os.close(self._fd)


class SharedCache:
    """The bytes of files by number, in up to `capacity` bytes of memory, taken as it fills."""

    def __init__(self, files: int, capacity: int, context: BaseContext) -> None:
        """Make an empty cache for `files` files.

        Args:
            files: how many files there are.
            capacity: bytes of file content at most; 17 bytes a file come on top.
            context: the context of the processes that will share it.

        Raises:
            UsageError: the capacity is not positive, or more than the machine's memory.
        """
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if not 0 < capacity <= available:
            raise UsageError(
                f"The cache must have 1 to {available} bytes (this machine's memory), not "
                f"{capacity}."
            )
        self.capacity = capacity
        self._files = files
        self._content = _SharedMemory(capacity)
        self._table = _SharedMemory(17 * files + 8)
        self._lock = context.Lock()

    @property
    def used_bytes(self) -> int:
        """The number of bytes of files in the cache."""
        with self._lock:
            return int(self._views()[3][0])

    def get(self, number: int, read: Callable[[], bytes]) -> tuple[bytes, bool]:
        """Return the bytes of a file, and whether they were cached; otherwise `read` gets them."""
        offset, length, state, _ = self._views()
        with self._lock:
            cached = state[number] == _FULL
            begin, end = int(offset[number]), int(offset[number] + length[number])
        if cached:
            return self._content.bytes[begin:end], True
        content = read()
        self._put(number, content)
        return content, False

    def _put(self, number: int, content: bytes) -> None:
        offset, length, state, used = self._views()
        with self._lock:
            if state[number] != _EMPTY:
                return
            begin = int(used[0])
            if begin + len(content) > self.capacity:
                return
            state[number] = _FILLING
            used[0] = begin + len(content)
        self._content.bytes[begin : begin + len(content)] = content
        with self._lock:
            offset[number], length[number], state[number] = begin, len(content), _FULL

    def _views(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        table, n = self._table.bytes, self._files
        used = np.frombuffer(table, np.int64, 1)
        offset = np.frombuffer(table, np.int64, n, 8)
        length = np.frombuffer(table, np.int64, n, 8 + 8 * n)
        state = np.frombuffer(table, np.uint8, n, 8 + 16 * n)
        return offset, length, state, used
