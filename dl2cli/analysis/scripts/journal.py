"""The qualities of states on disk, so that an interrupted search need not measure them again.

A search is a function of its seed and of what it measures. Run again with the same journal, it
takes the same way, finds the measurements there, and goes on where they end.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from dl2cli.analysis.scripts.objective import Floats
from dl2cli.durability import try_lock
from dl2cli.errors import StorageError, UsageError

SUFFIX = ".part"

Key = tuple[bytes, int, bool]
"""A state, the number of images that it was measured on, and whether SSIM was measured."""


class Journal:
    """A file of measurements, a line of JSON each; the first line says what they depend on.

    Args:
        path: of the file; made if it is not there.
        key: what measurements depend on. Those of another key are dropped.
        fresh: drop all.

    Raises:
        StorageError: it cannot be written.
        UsageError: another run is writing it.
    """

    def __init__(self, path: Path, key: Mapping[str, object], *, fresh: bool = False) -> None:
        self.path = path
        self._head = json.dumps(key, sort_keys=True) + "\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+", encoding="ascii", errors="replace", newline="\n")
        except OSError as error:
            raise self._failure(error) from error
        try:
            try_lock(self._file.fileno())
        except BlockingIOError as error:
            self._file.close()
            raise UsageError(f"Another run is writing {path}.") from error
        self._file.seek(0)
        if fresh or self._file.readline() != self._head:
            self._file.truncate(0)
            self._write(self._head)

    def read(self) -> Iterator[tuple[Key, Floats]]:
        """Yield keys and values, up to the first line that was not finished."""
        self._file.seek(0)
        keep = len(self._file.readline())
        while line := self._file.readline():
            try:
                row = json.loads(line)
                state = bytes.fromhex(row["state"])
                key = state, int(row["images"]), bool(row["structure"])
                values = np.array(row["values"], np.float64)
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith("\n") or len(state) != 192 or values.shape != (3,):
                break
            keep += len(line)
            yield key, values
        self._file.truncate(keep)
        self._file.seek(keep)

    def add(self, key: Key, values: Floats) -> None:
        """Add a measurement."""
        state, images, structure = key
        row = {"state": state.hex(), "images": images, "structure": structure}
        row["values"] = values.tolist()
        self._write(json.dumps(row) + "\n")

    def close(self, *, remove: bool) -> None:
        """Let go of the file."""
        try:
            self._file.close()
            if remove:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise self._failure(error) from error

    def _write(self, line: str) -> None:
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(f"{self.path} cannot be written: {error.strerror}.")
