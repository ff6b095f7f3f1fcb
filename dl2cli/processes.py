"""What worker processes need of the system, set up before they start."""

from __future__ import annotations

import os
import tempfile
from multiprocessing import util
from typing import Final

_LONGEST_SOCKET_NAME: Final = 107  # bytes, of an AF_UNIX address (unix(7))
_ADDED: Final = len("/pymp-12345678/listener-12345678")  # by multiprocessing, to the folder
_SHORT_FOLDERS: Final = ("/tmp", "/var/tmp", "/dev/shm")


def shorten_socket_folder() -> None:
    """Have multiprocessing put its sockets where their names fit, also under a long TMPDIR.

    Batch systems and CI set such ones. Call this before the first process is started; it does
    nothing where TMPDIR is short, or where no other folder will do.
    """
    if _fits(tempfile.gettempdir()):
        return
    before = tempfile.tempdir
    for folder in _SHORT_FOLDERS:
        if os.access(folder, os.W_OK | os.X_OK):
            tempfile.tempdir = folder
            try:
                util.get_temp_dir()  # which this process and its children use from now on
            except OSError:
                continue
            finally:
                tempfile.tempdir = before
            return


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) + _ADDED <= _LONGEST_SOCKET_NAME
