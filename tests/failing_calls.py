"""Running dl2 while system calls fail, as disks, shares and cluster file systems let them.

The calls are made to fail by a small library that is loaded in front of libc; all else is real.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest


@functools.cache
def _library() -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler (cc) is needed")
    folder = Path(tempfile.mkdtemp(prefix="dl2-failing-"))
    library = folder / "failing_calls.so"
    source = Path(__file__).with_suffix(".c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def fail(call: str, path: str, code: int, after: int = 0) -> str:
    """Return a rule for `run_dl2`: `call` fails with `code` where the path contains `path`.

    `call` is one of those that failing_calls.c names; `after` of them succeed before.
    """
    return f"{call}:{path}:{code}:{after}"


def kill(call: str, path: str, after: int) -> str:
    """Return a rule for `run_dl2`: SIGKILL at `call` number `after` on a path that contains `path`.

    Nothing of that call is done.
    """
    return fail(call, path, -signal.SIGKILL, after)


def run_dl2(*arguments: object, rules: list[str]) -> subprocess.CompletedProcess[str]:
    """Run the program while the calls of `rules` fail."""
    return run_python("-m", "dl2cli", *map(str, arguments), rules=rules)


def run_python(*arguments: str, rules: list[str]) -> subprocess.CompletedProcess[str]:
    """Run Python while the calls of `rules` fail."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "LD_PRELOAD": str(_library()), "FAIL": ";".join(rules)},
    )
