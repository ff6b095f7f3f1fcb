"""The files of a dataset beside its records, on disk or as local copies from a store."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterator
from pathlib import Path

from dl2cli.errors import DataError, system_failure
from dl2cli.pcr import index
from dl2cli.stores.local_copy import local_copy
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath


def local_file(path: Path, store: StoreOptions | None) -> Path | None:
    """Return a local file with what is at `path`, or None if nothing is; raises as `open` does."""
    if isinstance(path, StorePath):
        return local_copy(path, store)
    return path if is_file(path) else None


def is_file(path: Path) -> bool:
    """Tell whether a regular file is there. Raises StorageError."""
    try:
        return stat.S_ISREG(path.stat().st_mode)  # `Path.is_file` is silent about some failures
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise system_failure(path, error) from error


def has_journal(folder: Path) -> bool:
    """Tell whether a transaction is under way, or was when its process ended."""
    path = folder / index.JOURNAL
    if isinstance(path, StorePath):  # where an index appears whole
        return False
    return is_file(path) and path.stat().st_size > 0


@contextlib.contextmanager
def in_file(file: Path) -> Iterator[None]:
    """Say in which index something is wrong."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
