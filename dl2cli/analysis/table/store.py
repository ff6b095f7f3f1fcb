"""The table of rows on disk: a part file that can be resumed, then the one result file."""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from dl2cli.analysis.table.rows import ImageRow, row_from_line, values_of_line
from dl2cli.durability import try_lock
from dl2cli.errors import MissingDependency, StorageError, UsageError
from dl2cli.output_file import check_output_file, open_output

PART_SUFFIX = ".part"
_PARQUET_ROWS = 10_000  # held in memory at a time

Values = dict[str, object]
"""A row's values by column; what has no value has no entry."""


class PartFile:
    """The rows so far, each a line of JSON, in order; the first line says what they belong to.

    It lies beside the result file, and is locked while it is written.

    Args:
        result: The result file.
        key: What the rows depend on: the images and the options. Rows of another key are dropped.
    """

    def __init__(self, result: Path, key: Mapping[str, object]) -> None:
        self.path = result.with_name(result.name + PART_SUFFIX)
        self._head = json.dumps({"part_of": result.name, **key}, sort_keys=True)
        try:
            self._file = self.path.open("a+", encoding="ascii", errors="replace", newline="\n")
        except OSError as error:
            raise StorageError(f"{self.path} cannot be written: {error.strerror}.") from error
        try:
            try_lock(self._file.fileno())
        except BlockingIOError as error:
            self._file.close()
            raise UsageError(f"Another run is writing {result}.") from error

    def resume(self, still_valid: Callable[[ImageRow], bool], *, fresh: bool) -> Iterator[ImageRow]:
        """Yield the rows to keep, and cut the file after them.

        They end at the first line that was not finished, and at the first row whose image has
        changed since (`still_valid`).
        """
        self._file.seek(0)
        head = self._file.readline()
        keep = len(head)
        if fresh or head != self._head + "\n":
            self._file.truncate(0)
            self._write(self._head)
            return
        for line in self._lines():
            row = _parse(line)
            if row is None or not still_valid(row):
                break
            keep += len(line)
            yield row
        self._file.truncate(keep)
        self._file.seek(0, os.SEEK_END)

    def append(self, line: str) -> None:
        """Add a row (of `row_to_line`). Rows reach the file a few kilobytes at a time."""
        self._write(line)

    def values(self) -> Iterator[Values]:
        """Yield the values of all rows by column."""
        with self._storage():
            self._file.seek(0)
        self._file.readline()
        yield from map(values_of_line, self._lines())

    def close(self, *, remove: bool) -> None:
        """Let go of the file."""
        with self._storage():
            if remove:
                self.path.unlink(missing_ok=True)
            self._file.close()

    def _lines(self) -> Iterator[str]:
        while line := self._file.readline():  # not by iteration, so that truncate may follow
            yield line

    def _write(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
        except OSError as error:
            raise self._failure(error) from error

    def _failure(self, error: OSError) -> StorageError:
        return StorageError(f"{self.path} cannot be written: {error.strerror}.")

    @contextlib.contextmanager
    def _storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._failure(error) from error


def _parse(line: str) -> ImageRow | None:
    if not line.endswith("\n"):
        return None
    try:
        return row_from_line(line)
    except (ValueError, KeyError, TypeError):
        return None


def check_result_path(path: Path) -> None:
    """Refuse a result file that cannot be written, before the work begins.

    Raises:
        UsageError: The ending is not known, or the folder is not there.
        MissingDependency: Parquet without pyarrow.
    """
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"{path} must end with one of {', '.join(_WRITERS)}.")
    if path.is_dir() or not path.parent.is_dir():
        reason = (
            "is a folder" if path.is_dir() else f"needs the folder {path.parent}, which is missing"
        )
        raise UsageError(f"{path} {reason}.")
    check_output_file(path, option="-o")
    if path.suffix.lower() == ".parquet":
        _pyarrow()


def write_result(path: Path, rows: Iterator[Values], columns: Mapping[str, type]) -> None:
    """Write the result file: as CSV, JSON lines or Parquet, by its ending (see `open_output`).

    Raises:
        UsageError: It is a folder, a block device or a socket.
        StorageError: It cannot be written.
        MissingDependency: Parquet without pyarrow.
    """
    with open_output(path) as file:
        # A pipe or device is not buffered, and might take only a part of a write.
        buffered = io.BufferedWriter(file) if isinstance(file, io.RawIOBase) else file
        _WRITERS[path.suffix.lower()](buffered, rows, columns)
        buffered.flush()
        with contextlib.suppress(OSError):  # a pipe has nothing to sync
            os.fsync(file.fileno())
        if buffered is not file:
            buffered.detach()  # type: ignore[attr-defined]


def _write_csv(file: IO[bytes], rows: Iterator[Values], columns: Mapping[str, type]) -> None:
    # Names are bytes: surrogateescape writes those that are not UTF-8 as they are.
    text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    booleans = [name for name, kind in columns.items() if kind is bool]
    for row in rows:
        for name in booleans:
            if name in row:
                row[name] = int(bool(row[name]))
        writer.writerow([row.get(name, "") for name in columns])
    text.detach()


def _write_json_lines(file: IO[bytes], rows: Iterator[Values], columns: Mapping[str, type]) -> None:
    for row in rows:
        kept = {name: _finite(row[name]) for name in columns if name in row}
        file.write(json.dumps(kept, allow_nan=False).encode("ascii") + b"\n")


def _finite(value: object) -> object:
    return None if value == float("inf") else value


def _write_parquet(file: IO[bytes], rows: Iterator[Values], columns: Mapping[str, type]) -> None:
    arrow, parquet = _pyarrow()
    kinds = {str: arrow.string(), int: arrow.int64(), float: arrow.float64(), bool: arrow.bool_()}
    schema = arrow.schema([(name, kinds[kind]) for name, kind in columns.items()])
    with parquet.ParquetWriter(file, schema) as writer:
        while batch := list(itertools.islice(rows, _PARQUET_ROWS)):
            for row in batch:
                row["file"] = str(row["file"]).encode("utf-8", "backslashreplace").decode()
            writer.write_table(arrow.Table.from_pylist(batch, schema=schema))


def _pyarrow() -> tuple[Any, Any]:
    try:
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependency("pyarrow", "parquet") from error
    return arrow, parquet


_Writer = Callable[[IO[bytes], Iterator[Values], Mapping[str, type]], None]
_WRITERS: dict[str, _Writer] = {
    ".csv": _write_csv,
    ".jsonl": _write_json_lines,
    ".parquet": _write_parquet,
}
