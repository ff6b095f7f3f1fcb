"""Reads extents of files as fast as the system allows, and times each one.

Every read goes by `preadv` into memory that is there already; Python lets other threads run while
the kernel works. An extent costs open, read and close, as a loader pays them. Python itself adds
some 10 us an extent, which a warm run of small files shows, and nothing to the bytes.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dl2cli.bench.storage.page_cache import PAGE
from dl2cli.bench.storage.read_plan import Extent, Skipped

ALIGNMENT: Final = 4096
"""What O_DIRECT needs of addresses, offsets and lengths; no common device asks for more."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read.

    Attributes:
        threads: readers at a time.
        block_bytes: the most that one read call takes; rounded up to whole `ALIGNMENT`s.
        direct: past the page cache, with O_DIRECT.
        exact: tell the kernel which range is coming, and that nothing beyond it is, as dl2's reader
            of records does; without it the kernel reads ahead as it sees fit. Not with `direct`,
            where the kernel would fetch the range a second time, into the page cache.
    """

    threads: int = 1
    block_bytes: int = 1 << 20
    direct: bool = False
    exact: bool = False


@dataclass(frozen=True, slots=True)
class ReadRun:
    """What a run read.

    Attributes:
        bytes_read: bytes read from all extents, repeated and cut ones included.
        page_bytes: the same in whole pages: what the device must deliver if no cache helps.
        images: images in these bytes; an extent that was cut short counts with its share.
        wall_s: time from the first read to the end of the last.
        latencies_s: (reads,) seconds of open, read and close of each extent that was read whole.
        done: what was read, without repetitions; where an extent was cut short, its beginning.
        failed: what could not be read.
    """

    bytes_read: int
    page_bytes: int
    images: float
    wall_s: float
    latencies_s: NDArray[np.float64]
    done: tuple[Extent, ...]
    failed: tuple[Skipped, ...]


def read_extents(
    extents: Sequence[Extent],
    options: ReadOptions,
    limit_s: float = float("inf"),
    min_s: float = 0.0,
) -> ReadRun:
    """Read all extents in their order, from the front again until `min_s`, at most for `limit_s`.

    At the limit each thread ends the read call that it is in.
    """
    longest = max(extent.length for extent in extents)
    count = max(1, min(options.threads, len(extents)))
    job = _ReadJob(extents, limit_s, min_s, [_ExtentReader(options, longest) for _ in range(count)])
    wall_s = _run(job)
    times = Counter(number for reader in job.readers for number in reader.numbers)
    whole = [(extents[number], times[number]) for number in sorted(times)]
    cut = [(reader.cut, 1) for reader in job.readers if reader.cut]
    latencies = [latency for reader in job.readers for latency in reader.latencies_s]
    failed = {file.path: file for reader in job.readers for file in reader.failed.values()}
    return ReadRun(
        bytes_read=sum(extent.length * n for extent, n in whole + cut),
        page_bytes=sum(-(-extent.length // PAGE) * PAGE * n for extent, n in whole + cut),
        images=sum(extent.images * n for extent, n in whole + cut),
        wall_s=wall_s,
        latencies_s=np.array(latencies, np.float64),
        done=tuple(extent for extent, _ in whole + cut),
        failed=tuple(failed.values()),
    )


def refuses_direct(path: str) -> str | None:
    """Return why the file system does not read `path` with O_DIRECT, None if it does."""
    try:
        _ExtentReader(ReadOptions(block_bytes=ALIGNMENT, direct=True), ALIGNMENT).read(path, 1, 0.0)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return "The file system does not read past the page cache (O_DIRECT)."
        return f"{path}: {error.strerror}."
    return None


class _ExtentReader:
    """One thread's buffer, and what it read."""

    def __init__(self, options: ReadOptions, longest: int) -> None:
        self.options = options
        # A block is no longer than what it is for.
        size = -(-min(options.block_bytes, longest) // ALIGNMENT) * ALIGNMENT
        self.buffer = _aligned_buffer(size)
        self.numbers: list[int] = []
        self.latencies_s: list[float] = []
        self.cut: Extent | None = None
        self.failed: dict[str, Skipped] = {}
        self.flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        if options.direct:
            self.flags |= os.O_DIRECT

    def read(self, path: str, length: int, until_s: float) -> int:
        """Read the first `length` bytes of a file; return fewer if the clock passes `until_s`.

        Raises:
            OSError: it cannot be read, or is shorter.
        """
        buffer = self.buffer
        block = len(buffer)
        fd = os.open(path, self.flags)
        try:
            if self.options.exact and not self.options.direct:
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
                os.posix_fadvise(fd, 0, length, os.POSIX_FADV_WILLNEED)
            offset = 0
            while offset < length:
                left = length - offset
                if left < block:
                    wanted = -(-left // ALIGNMENT) * ALIGNMENT if self.options.direct else left
                    got = os.preadv(fd, [buffer[:wanted]], offset)
                else:
                    got = os.preadv(fd, [buffer], offset)
                if not got:
                    raise OSError(errno.EIO, f"ends after {offset} of {length} bytes")
                offset += got
                if offset < length and time.perf_counter() >= until_s:
                    break
            return min(offset, length)
        finally:
            os.close(fd)


def _aligned_buffer(size: int) -> memoryview:
    """Return memory that begins at a page, and is there before the clock runs.

    It lies in ordinary pages as the buffers of loaders (and of fio) do. Huge ones can double the
    rate of direct reads, because a disk takes a limited number of pieces a request, but who trains
    would not see that rate.
    """
    buffer = memoryview(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    buffer[:] = bytes(size)
    return buffer


@dataclass(slots=True)
class _ReadJob:
    """What all readers share; `next` of a count is atomic."""

    extents: Sequence[Extent]
    limit_s: float
    min_s: float
    readers: list[_ExtentReader]
    stopped: bool = False
    _count: itertools.count[int] = field(default_factory=itertools.count)

    def work(self, reader: _ExtentReader, start: float) -> None:
        extents, clock = self.extents, time.perf_counter
        size = len(extents)
        before, until = start, start + self.limit_s
        for turn in self._count:
            elapsed = before - start
            if self.stopped or elapsed >= self.limit_s or (turn >= size and elapsed >= self.min_s):
                return
            number = turn % size
            extent = extents[number]
            begin = clock()
            try:
                got = reader.read(extent.path, extent.length, until)
            except OSError as error:
                reason = error.strerror or str(error)
                reader.failed[extent.path] = Skipped(extent.path, reason)
                before = clock()
                continue
            before = clock()
            if got < extent.length:
                reader.cut = Extent(extent.path, got, extent.images * got / extent.length)
                return
            reader.latencies_s.append(before - begin)
            reader.numbers.append(number)


def _run(job: _ReadJob) -> float:
    """Let all readers work, the first in the calling thread, and return the wall time.

    Ctrl-C stops all of them.
    """
    gate = threading.Event()
    start = 0.0

    def work(reader: _ExtentReader) -> None:
        gate.wait()
        job.work(reader, start)

    threads = [threading.Thread(target=work, args=(r,), daemon=True) for r in job.readers[1:]]
    try:
        for thread in threads:
            thread.start()
        start = time.perf_counter()
        gate.set()
        job.work(job.readers[0], start)
        for thread in threads:
            thread.join()
        return time.perf_counter() - start
    finally:
        job.stopped = True
        gate.set()
        for thread in threads:
            thread.join()
