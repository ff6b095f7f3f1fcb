import os
from pathlib import Path

import pytest

from dl2cli.bench.storage import page_cache
from dl2cli.block_device import find_device

SIZE = 3 * page_cache.PAGE + 5


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(SIZE))
    return path


def test_pages_come_and_go(file):
    content = file.read_bytes()
    page_cache.warm([file])
    assert 0 <= page_cache.resident_bytes([file]) <= 4 * page_cache.PAGE
    # Just made: its pages must be written before they can be dropped.
    page_cache.drop([file], patience_s=60)
    if find_device(file).name:
        assert page_cache.resident_bytes([file]) == 0
    assert file.read_bytes() == content


def test_neither_content_nor_times_change(file):
    before = file.stat()
    page_cache.drop([file])
    page_cache.warm([file])
    after = file.stat()
    assert (after.st_mtime_ns, after.st_size, after.st_mode) == (
        before.st_mtime_ns,
        before.st_size,
        before.st_mode,
    )


def test_what_is_no_file_is_passed_over(tmp_path, file):
    """A FIFO without a writer would block whoever opens it."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "empty").touch()
    (tmp_path / "loop").symlink_to("loop")
    odd = [tmp_path, tmp_path / "fifo", tmp_path / "empty", tmp_path / "loop", tmp_path / "gone"]
    page_cache.warm([*odd, file])
    assert page_cache.resident_bytes(odd) == 0
    page_cache.drop([*odd, file])


def test_windows_are_added_up(file, monkeypatch):
    whole = page_cache.resident_bytes([file])
    monkeypatch.setattr(page_cache, "_WINDOW", page_cache.PAGE)
    assert page_cache.resident_bytes([file, file]) == 2 * whole


def test_the_kernel_tells_only_owners(file, monkeypatch):
    """mincore(2) pretends that a file of somebody else is all there."""
    monkeypatch.setattr(os, "geteuid", lambda: file.stat().st_uid + 1)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert page_cache.resident_bytes([file]) is None
    page_cache.drop([file])


def test_descriptors_are_closed(file):
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        page_cache.drop([file])
        page_cache.warm([file])
        page_cache.resident_bytes([file])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
