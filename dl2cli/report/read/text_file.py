"""Bounded reading of untrusted text files in any common form, always as UTF-8 with LF line ends.

A file may be compressed with gzip, may begin with a byte order mark, and may be UTF-16 (as
PowerShell's `>` writes it) or have the line ends of old Macs. A line that is not UTF-8 is left to
`decoded`, which takes it for Windows-1252.
"""

from __future__ import annotations

import codecs
import gzip
import hashlib
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol, cast

from dl2cli.errors import DataError

MAX_LINE_BYTES = 1 << 20
MAX_LOG_BYTES = 4 << 30
MAX_DOCUMENT_BYTES = 64 << 20
HEAD_BYTES = 64 << 10
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def readline(self, size: int, /) -> bytes: ...


class _Recoded:
    """A text file of another encoding, or with other line ends, as bytes of UTF-8."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self.text = text

    def read(self, size: int, /) -> bytes:
        return self.text.read(size).encode("utf-8", "surrogateescape")

    def readline(self, size: int, /) -> bytes:
        return self.text.readline(size).encode("utf-8", "surrogateescape")


def open_bytes(path: Path) -> IO[bytes]:
    """Open a regular file, through gzip when its content is so.

    Raises:
        DataError: it is not a regular file, or cannot be read.
    """
    file = _open_regular(path)
    try:
        if file.peek(2)[:2] != b"\x1f\x8b":
            return file
        file.close()
        return cast("IO[bytes]", gzip.open(path, "rb"))
    except OSError as error:
        file.close()
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _open_regular(path: Path) -> io.BufferedReader:
    try:
        # Not to wait for ever for the other end of a FIFO, or for the kernel's messages.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(handle).st_mode):
            return os.fdopen(handle, "rb")
        os.close(handle)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    raise DataError(f"{path} is not a regular file.")


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as it lies there, compressed or not.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with _open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def encoding_of(head: bytes) -> str | None:
    """Tell from a file's first bytes how it is encoded, or None where the bytes can be taken as is.

    `mac` stands for UTF-8 whose lines end with a CR alone.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if len(head) > 3 and head[0] and head[1] == 0 and head[2] and head[3] == 0:
        return "utf-16-le"
    if len(head) > 3 and head[0] == 0 and head[1] and head[2] == 0 and head[3]:
        return "utf-16-be"
    return "mac" if b"\r" in head and b"\n" not in head else None


@contextmanager
def _opened_as_utf8(path: Path) -> Iterator[tuple[_Readable, str | None]]:
    """Open a file as UTF-8, and tell its own encoding where that is another (`encoding_of`)."""
    with open_bytes(path) as file:
        name = encoding_of(_guarded_read(file, HEAD_BYTES, path))
        file.seek(0)
        if name is None:
            yield file, None
            return
        if name == "mac":
            text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline=None)
        else:
            text = io.TextIOWrapper(file, name, "replace", newline="\n")
        try:
            yield _Recoded(text), name
        finally:
            text.detach()


def read_head(path: Path) -> tuple[bytes, str | None]:
    """Return the first bytes of a file, enough to tell its kind, and its encoding if not UTF-8.

    Raises:
        DataError: it cannot be read.
    """
    with _opened_as_utf8(path) as (file, encoding):
        return _guarded_read(file, HEAD_BYTES, path), encoding


def read_document(path: Path) -> bytes:
    """Return a whole file that must be held in memory at once.

    Raises:
        DataError: it cannot be read, or is larger than MAX_DOCUMENT_BYTES.
    """
    with _opened_as_utf8(path) as (file, _):
        data = _guarded_read(file, MAX_DOCUMENT_BYTES + 1, path)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise DataError(f"{path} is larger than {MAX_DOCUMENT_BYTES >> 20} MiB: not read.")
    return data


def _guarded_read(file: _Readable, size: int, path: Path) -> bytes:
    try:
        return file.read(size) or b""  # None: there is nothing to read for now
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}.") from None


def iter_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their line ends.

    A line longer than MAX_LINE_BYTES comes in pieces, so no line can exhaust memory.

    Raises:
        DataError: it cannot be read (any more), or goes on beyond MAX_LOG_BYTES.
    """
    total = 0
    with _opened_as_utf8(path) as (file, _):
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


def decoded(data: bytes) -> tuple[str, bool]:
    """Decode UTF-8, or else Windows-1252, and tell whether it was the latter."""
    try:
        return data.decode(), False
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), True
