"""The bar of `dl2 sample` on a real terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path


def on_a_terminal(command: list[str], cache: Path) -> str:
    """Return what a command writes to a terminal. Raises CalledProcessError."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:  # the other end is closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return written.decode()


def test_the_bar_is_shown_only_while_the_set_is_made(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dl2cli", "sample"]
    assert "Making the sample set" in on_a_terminal(command, tmp_path)
    again = on_a_terminal(command, tmp_path)
    assert "Making" not in again
    assert str(tmp_path) in again.replace("\r\n", "")
