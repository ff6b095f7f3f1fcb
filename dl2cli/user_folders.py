"""Where dl2 keeps what belongs to the user and not to a dataset."""

from __future__ import annotations

import os
from pathlib import Path

from dl2cli.errors import UsageError


def cache_dir() -> Path:
    """Return the folder for what can be made again: in DL2_HOME, XDG_CACHE_HOME or ~/.cache.

    Raises UsageError where the user has none of them (in a container with any user id).
    """
    if home := os.environ.get("DL2_HOME"):
        return Path(home) / "cache"
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # A relative path is to be ignored (XDG Base Directory Specification).
    if xdg.is_absolute():
        return xdg / "dl2"
    try:
        return Path.home() / ".cache" / "dl2"
    except RuntimeError:
        raise UsageError("There is no home folder here: set DL2_HOME to one.") from None
