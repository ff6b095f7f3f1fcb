"""Local copies of a dataset's small files, its indexes: fetched once, checked, kept by etag.

    <cache>/indexes/<hash of the URL>/current.json    which version the copy is, and its checksum
    <cache>/indexes/<hash of the URL>/<version>.db    the copy

A copy is used when the server says that the object has the same etag (one request with a short
answer) and the copy still has its checksum. A new one gets its name when it is whole, so that any
number of processes may share the folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import tempfile
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.stores.client import NotModified
from dl2cli.stores.fetch import Fetched, Fetcher, fetcher_of
from dl2cli.stores.options import MIB, StoreOptions
from dl2cli.stores.path import StorePath
from dl2cli.user_folders import cache_dir
from dl2cli_native import _core

_FIRST_BYTES: Final = 8 * MIB  # of the first request; most indexes are shorter
_WINDOW_BYTES: Final = 64 * MIB  # of a longer one, at a time
_TWICE_BYTES: Final = 256 * MIB  # up to here, what nothing vouches for is fetched twice
MD5_ETAG: Final = re.compile(r'"([0-9a-f]{32})"')
_CURRENT: Final = "current.json"
_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class _Copy:
    """What is known of a copy."""

    url: str
    etag: str
    file: str
    size: int
    crc32c: int


def local_copy(path: StorePath, options: StoreOptions | None = None) -> Path | None:
    """Return a file with what the object holds now; None if there is no such object.

    Raises:
        DataError: the object is empty, or changes all the time.
        StorageError: the store or the local disk failed; its cause is a PermissionError if the
            store refused.
        UsageError, MissingDependency: the store cannot be opened.
    """
    fetcher = fetcher_of(path, options or StoreOptions())
    try:
        folder = _folder_of(path)
        known = _known(folder, path)
        try:
            first = fetcher.fetch_beginning(path, _FIRST_BYTES, known.etag if known else None)
        except NotModified:
            if known is not None:
                return folder / known.file
            raise StorageError(f"{path}: the server answered 304 without reason.") from None
        return _fetch(fetcher, path, first, folder)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DataError(f"{error}.") from error
    except OSError as error:
        raise store_failure(error) from error


def store_failure(error: OSError) -> StorageError:
    """Return the error for a store that failed, or for a local disk."""
    if error.filename is not None:
        return StorageError(f"{error.filename} cannot be written: {error.strerror}.")
    hint = ""
    if error.errno == errno.EACCES:
        hint = (
            " S3 says so of an object that is not there, too, to those who may not list the bucket."
        )
    return StorageError(f"{error.strerror}.{hint}")


def _folder_of(path: StorePath) -> Path:
    """Return the folder of a URL's copies: one for this process if the cache cannot be written."""
    name = hashlib.sha256(path.url.encode()).hexdigest()[:32]
    try:
        folder = cache_dir() / "indexes" / name
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, UsageError):
        return _temporary_folder(name)
    return folder if os.access(folder, os.W_OK) else _temporary_folder(name)


_temporary: tempfile.TemporaryDirectory[str] | None = None


def _temporary_folder(name: str) -> Path:
    global _temporary  # noqa: PLW0603 - one for the process
    if _temporary is None:
        _temporary = tempfile.TemporaryDirectory(prefix="dl2-", ignore_cleanup_errors=True)
    folder = Path(_temporary.name) / name
    folder.mkdir(exist_ok=True)
    return folder


def _known(folder: Path, path: StorePath) -> _Copy | None:
    """Return what is known of the copy in a folder, if it is whole."""
    try:
        copy = _Copy(**json.loads((folder / _CURRENT).read_text("utf-8")))
        if copy.url != path.url or Path(copy.file).name != copy.file:
            return None
        file = folder / copy.file
        if file.stat().st_size != copy.size or _checksum(file) != copy.crc32c:
            return None
    except (OSError, TypeError, ValueError):
        return None
    return copy


def _checksum(file: Path) -> int:
    crc = 0
    with file.open("rb") as opened:
        while chunk := opened.read(_FIRST_BYTES):
            crc = _core.crc32c(chunk, crc)
    return crc


def _fetch(fetcher: Fetcher, path: StorePath, first: Fetched, folder: Path) -> Path:
    """Fetch an object until its bytes are vouched for: by its etag, or by coming twice the same.

    The etag of an object that came to S3 in one piece is its MD5, unless it is encrypted there.
    """
    seen: set[int] = set()
    for _ in range(_ATTEMPTS):
        temporary = folder / f"{uuid.uuid4().hex}.tmp"
        try:
            crc, md5 = _write(fetcher, path, first, temporary)
            vouched = MD5_ETAG.fullmatch(first.etag or "")
            if (vouched and vouched[1] == md5) or crc in seen or first.size > _TWICE_BYTES:
                return _keep(temporary, folder, path, first, crc)
            seen.add(crc)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        first = fetcher.fetch_beginning(path, _FIRST_BYTES)
    raise DataError(f"{path} came in {_ATTEMPTS} versions in as many requests.")


def _write(fetcher: Fetcher, path: StorePath, first: Fetched, file: Path) -> tuple[int, str]:
    """Fetch the rest of an object into a file; returns its CRC32C and its MD5."""
    crc, md5 = 0, hashlib.md5(usedforsecurity=False)
    done = 0
    with file.open("wb") as out:
        part = first
        while True:
            if part.etag != first.etag or part.size != first.size:
                raise ValueError(f"{path} was replaced while it was read")
            for piece in part.pieces:
                crc = _core.crc32c(piece, crc)
                md5.update(piece)
                done += out.write(piece)
            if done >= first.size:
                return crc, md5.hexdigest()
            part = fetcher.fetch(path, done, min(done + _WINDOW_BYTES, first.size))


def _keep(temporary: Path, folder: Path, path: StorePath, first: Fetched, crc: int) -> Path:
    version = hashlib.sha256(f"{first.etag} {crc}".encode()).hexdigest()[:16]
    file = folder / f"{version}.db"
    temporary.replace(file)
    if first.etag is not None:
        copy = _Copy(path.url, first.etag, file.name, first.size, crc)
        note = folder / f"{uuid.uuid4().hex}.tmp"
        note.write_text(json.dumps(asdict(copy), indent=1), "utf-8")
        note.replace(folder / _CURRENT)
    return file
