"""Bounded reading of untrusted text files, plain or gzip-compressed."""

from __future__ import annotations

import gzip
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from dl2cli.errors import DataError

MAX_LINE_BYTES = 1 << 20
MAX_LOG_BYTES = 4 << 30
MAX_DOCUMENT_BYTES = 64 << 20
HEAD_BYTES = 64 << 10


def open_bytes(path: Path) -> IO[bytes]:
    """Open a regular file, through gzip when its content is so.

    Raises:
        DataError: it is no regular file, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path} is no regular file.")
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        return cast("IO[bytes]", gzip.open(path, "rb")) if packed else path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, enough to tell its kind.

    Raises:
        DataError: it cannot be read.
    """
    with open_bytes(path) as file:
        return _guarded_read(file, HEAD_BYTES, path)


def read_document(path: Path) -> bytes:
    """Return a whole file that must be held in memory at once.

    Raises:
        DataError: it cannot be read, or is larger than MAX_DOCUMENT_BYTES.
    """
    with open_bytes(path) as file:
        data = _guarded_read(file, MAX_DOCUMENT_BYTES + 1, path)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise DataError(f"{path} is larger than {MAX_DOCUMENT_BYTES >> 20} MiB: not read.")
    return data


def _guarded_read(file: IO[bytes], size: int, path: Path) -> bytes:
    try:
        return file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None


def iter_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their line ends.

    A line longer than MAX_LINE_BYTES comes in pieces, so no line can exhaust memory.

    Raises:
        DataError: it cannot be read (any more), or goes on beyond MAX_LOG_BYTES.
    """
    total = 0
    with open_bytes(path) as file:
        while True:
            try:
                line = file.readline(MAX_LINE_BYTES)
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(f"{path} cannot be read to its end: {error}.") from None
            if not line:
                return
            total += len(line)
            if total > MAX_LOG_BYTES:
                raise DataError(f"{path} goes on beyond {MAX_LOG_BYTES >> 30} GiB: not read on.")
            yield line
