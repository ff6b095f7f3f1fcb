"""Prepare the system for worker processes, and each worker process for its work."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import warnings
from multiprocessing import connection, parent_process, util
from typing import Final

_LONGEST_SOCKET_NAME: Final = 107  # the longest AF_UNIX address in bytes (unix(7))
_ADDED: Final = len("/pymp-12345678/listener-12345678")  # multiprocessing appends it
_SHORT_FOLDERS: Final = ("/tmp", "/var/tmp", "/dev/shm")


def shorten_socket_folder() -> None:
    """Make multiprocessing put its sockets where their names fit, even with a long TMPDIR.

    Batch systems and CI set long ones. Call this before the first process is started; it does
    nothing if TMPDIR is short, or if no other folder will do.
    """
    if _fits(tempfile.gettempdir()):
        return
    before = tempfile.tempdir
    for folder in _SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            tempfile.tempdir = folder
            try:
                util.get_temp_dir()  # this process and its children keep using what it returns
            except OSError:
                continue
            finally:
                tempfile.tempdir = before
            return


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) + _ADDED <= _LONGEST_SOCKET_NAME


def become_worker() -> None:
    """Prepare a worker process: it leaves Ctrl-C to its parent, is quiet, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter(
        "ignore"
    )  # Pillow warns of damaged metadata, which would break the display
    if parent_process() is not None:
        threading.Thread(target=_end_with_parent, daemon=True).start()
        # Image libraries (libtiff) write about damaged files to stderr by themselves.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
