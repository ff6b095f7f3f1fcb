"""Write the files that a user names, with options such as `-o`, `--html` and `--save-log`.

A regular file appears whole or not at all: it is written under a temporary name beside it and then
renamed. What a killed process leaves under such a name is deleted by the next that writes into the
folder. Anything else that a user may name is written through or refused, and never replaced:

* A symbolic link stays a link; the file it points to is written.
* A character device (`/dev/null`, `/dev/full`, a terminal), a FIFO and an open file of this process
  (`/dev/stdout`, `/dev/fd/3`, bash's `>(gzip)`) are written through.
* A folder, a block device and a socket are refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from dl2cli.errors import StorageError, UsageError

MAX_LINKS = 40  # as in Linux, a longer chain of links is taken for a circle
_TEMPORARY_PREFIX = ".dl2-tmp-"
_TEMPORARY = re.compile(re.escape(_TEMPORARY_PREFIX) + "[a-z0-9_]{8}")
_OWN_FILE = re.compile(r"/(?:dev|proc/(?:self|\d+))/fd/(\d+)")
_REFUSED = ((stat.S_ISDIR, "folder"), (stat.S_ISBLK, "block device"), (stat.S_ISSOCK, "socket"))


def check_output_file(path: Path, *, option: str = "") -> None:
    """Refuse, before any work is done, a target that cannot become an output file.

    Args:
        path: What the user named.
        option: The option that named it, to begin the message with.

    Raises:
        UsageError: It is a folder, a block device, a socket, a link that leads in a circle, or lies
            under something that is not a folder.
    """
    start = f"{option}: " if option else ""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UsageError(f"{start}{path} lies under a file, which is not a folder.") from None
    except OSError as error:
        raise UsageError(f"{start}{path} cannot be written: {_reason(error)}.") from None
    for is_kind, word in _REFUSED:
        if is_kind(mode):
            raise UsageError(f"{start}{path} is a {word}: name a file.")


def write_output(path: Path, data: bytes) -> None:
    """Write a whole file (see `open_output`).

    Raises:
        UsageError: As `check_output_file`.
        StorageError: The system refuses.
    """
    with open_output(path) as file:
        file.write(data)


@contextmanager
def open_output(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that a user named for writing bytes; missing folders are made.

    A regular file gets its name, and replaces what had it, only when the block ends without an
    exception; it keeps the permissions of the file that it replaces.

    Raises:
        UsageError: As `check_output_file`.
        StorageError: The system refuses (also where the block itself writes).
    """
    check_output_file(path)
    try:
        through = _opened_through(path)
        if through is not None:
            with through:
                yield through
        else:
            with _replaced(Path(os.path.realpath(path))) as file:
                yield file
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {_reason(error)}.") from error


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _opened_through(path: Path) -> IO[bytes] | None:
    """Open a device, FIFO or open file for writing; None if it is a regular file or missing."""
    number = _own_file(path)
    if number is not None:
        # Opened anew, `> file` would be cut to nothing under the writer that holds it.
        return os.fdopen(os.dup(number), "wb")
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        regular = True
    return None if regular else path.open("wb", buffering=0)


def _own_file(path: Path) -> int | None:
    """Return the descriptor of this process's open file that a path names through links, if any.

    `os.path.realpath` would go one link too far: to a name such as `pipe:[4711]`.
    """
    link = path.absolute()
    for _ in range(MAX_LINKS):
        match = _OWN_FILE.fullmatch(str(link))
        if match and link.parts[2] in ("fd", "self", str(os.getpid())):
            return int(match.group(1))
        if not link.is_symlink():
            return None
        link = link.parent / link.readlink()
    return None


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path.parent)
    handle, temporary = _temporary_file(path.parent)
    lock = os.dup(handle)  # keeps the lock when the file is closed, until it has its name
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(_mode_for(path))
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(lock)


def _temporary_file(folder: Path) -> tuple[int, Path]:
    """Make a file that is locked while this process lives, so that `_sweep` leaves it alone."""
    while True:
        # A prefix of its own: the name of the target plus anything may be too long for a name.
        handle, name = tempfile.mkstemp(dir=folder, prefix=_TEMPORARY_PREFIX)
        with contextlib.suppress(OSError):  # a network file system may know no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # it was swept before it was locked


def _sweep(folder: Path) -> None:
    """Delete the temporary files in a folder whose writers were killed."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(OSError):
                    _delete_unlocked(Path(entry.path))


def _delete_unlocked(path: Path) -> None:
    """Delete a file that no process holds locked. Raises OSError where one does."""
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    finally:
        os.close(handle)


def _mode_for(path: Path) -> int:
    """Return the permissions of the file at this path, or of a new file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask
