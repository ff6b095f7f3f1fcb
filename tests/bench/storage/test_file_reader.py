import math
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl2cli.bench.storage import file_reader
from dl2cli.bench.storage.file_reader import ALIGNMENT, ReadOptions, read_extents, refuses_direct
from dl2cli.bench.storage.page_cache import PAGE
from dl2cli.bench.storage.read_plan import Extent

SIZES = (1, 4095, 4096, 4097, 70_000, 200_001)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Extent]:
    folder = tmp_path_factory.mktemp("reader")
    extents = []
    for size in SIZES:
        path = folder / str(size)
        path.write_bytes(os.urandom(size))
        extents.append(Extent(str(path), size, 2))
    return extents


def whole_files(threads: int, block: int, *, direct: bool, exact: bool) -> ReadOptions:
    return ReadOptions(threads=threads, block_bytes=block, direct=direct, exact=exact)


@pytest.mark.parametrize("threads", [1, 3, 50])
@pytest.mark.parametrize("block", [4096, 1 << 20])
@pytest.mark.parametrize("exact", [False, True])
def test_every_extent_is_read_once(files, threads, block, exact):
    run = read_extents(files, whole_files(threads, block, direct=False, exact=exact))
    assert run.done == tuple(files)
    assert len(run.latencies_s) == len(files)
    assert run.bytes_read == sum(SIZES)
    assert run.page_bytes == sum(-(-size // PAGE) * PAGE for size in SIZES)
    assert run.images == 2 * len(files)
    assert not run.failed
    assert 0 < run.latencies_s.max() <= run.wall_s


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("block", [4096, 12_288, 1 << 20])
def test_what_is_read_is_what_is_there(files, block, direct):
    if direct and refuses_direct(files[0].path):
        pytest.skip("this file system has no O_DIRECT")
    for extent in files:
        content = Path(extent.path).read_bytes()
        for length in {extent.length, max(1, extent.length - 5000)}:
            reader = file_reader._ExtentReader(
                ReadOptions(block_bytes=block, direct=direct), extent.length
            )
            assert reader.read(extent.path, length, math.inf) == length
            last = (length - 1) // len(reader.buffer) * len(reader.buffer)
            assert bytes(reader.buffer[: length - last]) == content[last:length]


@settings(max_examples=30)
@given(st.integers(1, 1 << 22), st.integers(4096, 1 << 22))
def test_buffers_are_aligned_and_no_longer_than_needed(longest, block):
    buffer = file_reader._ExtentReader(ReadOptions(block_bytes=block), longest).buffer
    size = len(buffer)
    assert size % ALIGNMENT == 0
    assert np.frombuffer(buffer, np.uint8).ctypes.data % ALIGNMENT == 0
    assert 0 < size < min(block, longest) + ALIGNMENT


def test_bad_files_are_passed_over(files, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    short = Extent(files[2].path, 5000, 1)
    bad = [
        Extent(str(tmp_path / "gone"), 10, 1),
        Extent(str(tmp_path), 10, 1),
        Extent(str(tmp_path / "fifo"), 10, 1),
        short,
    ]
    run = read_extents([*bad, *files], ReadOptions(threads=2), min_s=0.01)
    assert {each.path for each in run.failed} == {extent.path for extent in bad}
    assert all(each.reason for each in run.failed)
    assert run.done == tuple(files)


def test_a_minimum_of_time_repeats_everything(files):
    run = read_extents(files, ReadOptions(), min_s=0.02)
    assert run.wall_s >= 0.02
    assert len(run.latencies_s) >= len(files)
    assert run.done == tuple(files)


def test_a_limit_of_time_ends_a_run(files):
    none = read_extents(files, ReadOptions(threads=2), limit_s=0.0)
    assert (none.bytes_read, none.images, none.done, len(none.latencies_s)) == (0, 0, (), 0)
    some = read_extents(files, ReadOptions(threads=2), limit_s=0.01, min_s=1e9)
    assert some.bytes_read > 0


@pytest.mark.parametrize("threads", [1, 2])
def test_an_extent_that_takes_too_long_is_cut_short(files, threads):
    """A record can have hundreds of megabytes, and a network share can be slow."""
    largest = files[-1]
    options = ReadOptions(threads=threads, block_bytes=8192)
    run = read_extents([largest] * threads, options, limit_s=1e-9)
    share = largest.images * 8192 / largest.length
    assert 1 <= len(run.done) <= threads  # a thread may come when the time is over
    assert set(run.done) == {Extent(largest.path, 8192, share)}
    assert run.bytes_read == run.page_bytes == 8192 * len(run.done)
    assert run.images == pytest.approx(share * len(run.done))
    assert len(run.latencies_s) == 0


def test_an_interruption_stops_the_threads(files, monkeypatch):
    """Ctrl-C reaches the main thread only, which reads, too."""
    read = file_reader._ExtentReader.read

    def interrupted(self, path, length, until_s):
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt
        return read(self, path, length, until_s)

    monkeypatch.setattr(file_reader._ExtentReader, "read", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        read_extents(files, ReadOptions(threads=4), min_s=600)
    assert threading.active_count() == before


def test_descriptors_are_closed(files):
    before = len(list(Path("/proc/self/fd").iterdir()))
    read_extents([Extent(files[0].path, 999, 1), *files], ReadOptions(threads=2))
    assert len(list(Path("/proc/self/fd").iterdir())) == before
