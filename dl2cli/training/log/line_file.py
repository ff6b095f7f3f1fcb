"""A text file that grows line by line, and that a resumed run can continue."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from dl2cli.errors import StorageError

_HEAD_BYTES = 1 << 16


class LineFile:
    """Appends whole lines; each is with the operating system when `write` returns.

    A process that is killed leaves whole lines. `state` says how far the file had come, and
    `go_on` cuts it there.
    """

    def __init__(self, path: Path) -> None:
        """Name the file; nothing is opened yet."""
        self.path = path
        self._fd: int | None = None
        self._size = 0

    def begin(self) -> None:
        """Begin an empty file; one that is there already gets another name.

        Raises:
            StorageError: the file cannot be made.
        """
        try:
            if self.path.is_file():
                self.path.rename(_free_name(self.path))
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error
        self._size = 0

    def go_on(self, state: dict[str, Any]) -> bool:
        """Cut the file where it was when `state` was taken, and append from there.

        Returns:
            False where that cannot be: the file is not there, is shorter, or begins otherwise.

        Raises:
            StorageError: the file cannot be opened for writing.
        """
        size, head = state.get("bytes"), state.get("head")
        if not isinstance(size, int) or size < 0 or not self.path.is_file():
            return False
        try:
            fd = os.open(self.path, os.O_RDWR)
            try:
                same = os.fstat(fd).st_size >= size and _digest(fd, size) == head
                if same:
                    os.ftruncate(fd, size)
                    os.lseek(fd, size, os.SEEK_SET)
                    self._fd, self._size = fd, size
            finally:
                if self._fd != fd:
                    os.close(fd)
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error
        return same

    def write(self, text: str) -> None:
        """Append text that ends with a line. Raises StorageError (a full disk, for example)."""
        if self._fd is None:
            return
        content = memoryview(text.encode())
        try:
            while content:
                done = os.write(self._fd, content)
                self._size += done
                content = content[done:]
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error

    def state(self) -> dict[str, Any]:
        """Return what `go_on` needs, after everything is on the disk."""
        if self._fd is None:
            return {}
        os.fsync(self._fd)
        return {"bytes": self._size, "head": _digest(self._fd, self._size)}

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _digest(fd: int, size: int) -> str:
    """Return a hash of a file's first bytes: it tells one run's log from another's."""
    return hashlib.sha256(os.pread(fd, min(size, _HEAD_BYTES), 0)).hexdigest()


def _free_name(path: Path) -> Path:
    number = 1
    while (name := path.with_name(f"{path.stem}_old_{number}{path.suffix}")).exists():
        number += 1
    return name
