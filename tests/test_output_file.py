"""Output files: whole or not at all, and nothing that is no regular file is ever replaced."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dl2cli.errors import StorageError, UsageError
from dl2cli.output_file import check_output_file, open_output, write_output


def test_a_new_file_has_the_usual_permissions_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_output(path, b"page")
    assert path.read_bytes() == b"page"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert [p.name for p in path.parent.iterdir()] == ["page.html"]


def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_output(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_failure_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), open_output(path) as file:
        file.write(b"half")
        raise KeyError
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


def test_the_longest_name_can_be_written(tmp_path: Path) -> None:
    write_output(tmp_path / ("n" * 255), b"x")
    with pytest.raises(UsageError, match="name too long"):
        check_output_file(tmp_path / ("n" * 256))


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    target, link, chain = (tmp_path / name for name in ("target", "link", "chain"))
    link.symlink_to("target")
    chain.symlink_to(link)
    for data in (b"made", b"replaced"):
        write_output(chain, data)
        assert target.read_bytes() == data
        assert link.is_symlink()
        assert chain.is_symlink()


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(UsageError, match="symbolic links"):
        write_output(loop, b"x")
    assert loop.is_symlink()


def test_a_fifo_is_written_through(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_bytes()))
    reader.start()
    write_output(fifo, b"through")
    reader.join()
    assert read == [b"through"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_is_written_through_and_its_error_is_told(tmp_path: Path) -> None:
    null, full, disk = (tmp_path / name for name in ("null", "full", "disk"))
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        os.mknod(disk, 0o600 | stat.S_IFBLK, os.makedev(7, 255))
    except PermissionError:
        pytest.skip("this container makes no devices")
    write_output(null, b"x")
    with pytest.raises(StorageError, match="No space left"):
        write_output(full, b"x")
    with pytest.raises(UsageError, match="block device"):
        write_output(disk, b"x")
    assert stat.S_ISCHR(null.stat().st_mode)
    assert stat.S_ISCHR(full.stat().st_mode)
    assert stat.S_ISBLK(disk.stat().st_mode)


def test_folders_sockets_and_paths_under_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--html: .* is a folder"):
        check_output_file(tmp_path, option="--html")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(UsageError, match="socket"):
            write_output(tmp_path / "socket", b"x")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UsageError, match="is not a folder"):
        write_output(tmp_path / "file" / "page.html", b"x")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_goes_where_the_shell_sent_it(tmp_path: Path, name: str) -> None:
    code = (
        "import os; from pathlib import Path; from dl2cli.output_file import write_output;"
        f"os.write(1, b'before '); write_output(Path({name!r}), b'written '); os.write(1, b'after')"
    )
    path = tmp_path / "out"
    with path.open("wb") as file:
        subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
    assert path.read_bytes() == b"before written after"
    piped = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert piped.stdout == b"before written after"


def _write_and_stop(path: Path, moment: str) -> subprocess.Popen[bytes]:
    """Start a process that writes a file, and stops in the middle or dies there."""
    code = (
        "import os, signal, sys; from pathlib import Path; from dl2cli.output_file import *\n"
        "with open_output(Path(sys.argv[1])) as file:\n"
        "    file.write(b'torn'); file.flush(); print('writing', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == 'dies' else sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


def test_what_a_killed_writer_leaves_goes_with_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    keep = {".dl2-plots", ".dl2-tmp-", ".dl2-tmp-mine.txt"}
    for name in keep:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".dl2-tmp-abcdefgh").symlink_to(path)
    _write_and_stop(path, "dies").communicate()
    assert path.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 6, "the torn file lies there"
    write_output(path, b"new")
    assert path.read_bytes() == b"new"
    left = {entry.name for entry in tmp_path.iterdir()}
    assert left == keep | {"page.html", ".dl2-tmp-abcdefgh"}


def test_a_file_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    other = _write_and_stop(tmp_path / "other.html", "waits")
    write_output(tmp_path / "page.html", b"page")
    other.communicate()
    assert other.returncode == 0
    assert (tmp_path / "other.html").read_bytes() == b"torn"
    assert {p.name for p in tmp_path.iterdir()} == {"page.html", "other.html"}
