"""The folder that images are extracted to: whole files, names that it allows, and a marker."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Final

from dl2cli.errors import StorageError, UsageError
from dl2cli.pcr.index import check_inside

MARKER: Final = ".dl2-extract"  # which extraction is under way, and how far it is
PART: Final = ".dl2-extract-part"  # the file that is being written
_MAX_MARKER_BYTES: Final = 1000
# What a file system says of a name that it does not take: too long, or with a character that it
# has no place for (a colon on NTFS, bytes that are not UTF-8 on others).
_BAD_NAME: Final = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


class ExtractFolder:
    """Writes files to a folder so that a kill at any moment leaves whole files, and can resume."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._identity = ""
        self._resumes = False

    def start(self, identity: str) -> int:
        """Begin, or go on with, the extraction of this identity; return the records that are done.

        Raises:
            UsageError: the folder holds something else.
            StorageError: the system refuses.
        """
        self._identity = identity
        try:
            names = os.listdir(self.path)  # noqa: PTH208 - names, not paths
            if MARKER not in names and set(names) <= {PART}:
                self.finish_record(0)
                return 0
            if MARKER in names:
                done = self._read_marker()
                if done is not None:
                    self._resumes = True
                    return done
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror}.") from error
        if MARKER in names:
            raise UsageError(
                f"{self.path} holds an unfinished extraction of another dataset or with other "
                "options; choose another folder."
            )
        raise UsageError(f"{self.path} is not empty; choose another folder.")

    def finish_record(self, done: int) -> None:
        """Note in the marker how many records are extracted. Raises StorageError."""
        text = json.dumps({"identity": self._identity, "records": done})
        self._write(self.path / MARKER, text.encode(), replace=True)

    def finish(self) -> None:
        """Remove the marker: everything is there. Raises StorageError."""
        try:
            (self.path / PART).unlink(missing_ok=True)
            (self.path / MARKER).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}.") from error

    def add(self, name: str, number: str, jpeg: bytes | memoryview) -> tuple[int, bool]:
        """Write an image under its name, or with `number` (record and slot) in it.

        Returns:
            The bytes that were written (0 if the image was there), and whether it has its own name.

        Raises StorageError.
        """
        first, _, last = check_inside(name).rpartition("/")
        folder = first.split("/")[0]
        candidates = (
            name,
            f"{name}.{number}.jpg",
            f"{folder}/{_cut(last, len(number) + 5)}.{number}.jpg",
            f"{folder}/{number}.jpg",
        )
        for candidate in candidates:
            try:
                written = self._try(self.path / candidate, jpeg)
            except OSError as error:
                if error.errno in _BAD_NAME and candidate is not candidates[-1]:
                    continue
                raise self._failure(self.path / candidate, error) from error
            if written is not None:
                return written, candidate is name
        raise StorageError(f"{self.path / name} cannot be written: other files have its names.")

    def _try(self, path: Path, jpeg: bytes | memoryview) -> int | None:
        """Write a file; return None if another file has its name, 0 if it was written before."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path):
            if self._resumes and _holds(path, jpeg):
                return 0
            return None
        self._write(path, jpeg, replace=False)
        return len(jpeg)

    def _write(self, path: Path, content: bytes | memoryview, *, replace: bool) -> None:
        part = self.path / PART
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(part, flags, 0o666), "wb") as file:
                file.write(content)
            part.replace(path)
        except OSError as error:
            if error.errno in _BAD_NAME and not replace:
                raise
            raise self._failure(path, error) from error

    def _failure(self, path: Path, error: OSError) -> StorageError:
        return StorageError(
            f"{path} cannot be written: {error.strerror}. What is done is kept: the same command "
            "goes on with it."
        )

    def _read_marker(self) -> int | None:
        """Return how many records are done, or None if it is another extraction."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(self.path / MARKER, flags), "rb") as file:
            content = file.read(_MAX_MARKER_BYTES)
        try:
            marker = json.loads(content)
            if marker["identity"] == self._identity and isinstance(marker["records"], int):
                return marker["records"]
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        return None


def _cut(name: str, spare: int) -> str:
    """Return as much of a name as leaves room for `spare` bytes in any file system's names.

    143 bytes is the shortest limit in use (eCryptfs); others have 255.
    """
    return os.fsencode(name)[: 143 - spare].decode("utf-8", "ignore")


def _holds(path: Path, content: bytes | memoryview) -> bool:
    """Tell whether a file has this content."""
    return path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
