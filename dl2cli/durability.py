"""Lock files and make names durable on all file systems, even those that cannot do one or both."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path
from typing import Final

# A folder that cannot be synced (CIFS, sshfs, some of FUSE) is not an error: nothing can be done.
_SYNC_FAILED: Final = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file or folder for this process alone, until it is closed.

    Args:
        descriptor: the open file or folder.
        shared: let other processes that ask for a shared lock hold it as well.

    Returns:
        False where the file system has no locks (Lustre without `flock`, sshfs, NFS for a folder):
        the work can go on, and the user should be told to start it only once.

    Raises:
        BlockingIOError: another process holds the lock. No other error means that.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        return False
    return True


def replace_durably(temporary: Path, path: Path) -> None:
    """Give a finished file its name, whatever had it before, so that a power cut leaves one whole.

    Raises OSError.
    """
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)


def sync_file_system(folder: Path) -> None:
    """Make all that was written to the file system of a folder durable, with one call.

    For many small files this takes a hundredth of the time of a sync for each. Raises OSError.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)  # Linux
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if call is None:
            os.sync()
        elif call(descriptor) != 0 and ctypes.get_errno() in _SYNC_FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(folder))
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where its file system can. Raises OSError."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder that may be written but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno in _SYNC_FAILED:
            raise
    finally:
        os.close(descriptor)
