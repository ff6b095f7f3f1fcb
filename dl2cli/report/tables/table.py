"""A table as a result: columns with units and definitions, rows with full precision."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from dl2cli.errors import UsageError
from dl2cli.report.read.values import natural_key
from dl2cli.text import suggestion

Cell = str | int | float | bool | None
T = TypeVar("T")


class Style(enum.StrEnum):
    """How people see a cell; machines get the plain value."""

    TEXT = "text"
    NUMBER = "number"
    SHARE = "share"  # a fraction, shown in percent
    DURATION = "duration"  # seconds, shown as h, min, s or ms
    BYTES = "bytes"


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `key` names it for machines, `rank` 0 to 2 says how early it is shown.

    Rank 3 columns are only in CSV and JSON.
    """

    key: str
    title: str
    unit: str = ""
    style: Style = Style.TEXT
    digits: int = 1
    rank: int = 1
    about: str = ""

    @property
    def is_number(self) -> bool:
        """Whether cells are to be aligned and sorted as numbers."""
        return self.style is not Style.TEXT

    @property
    def heading(self) -> str:
        """The title with the unit people see."""
        unit = "%" if self.style is Style.SHARE else self.unit
        hidden = self.style in (Style.DURATION, Style.BYTES)
        return f"{self.title} ({unit})" if unit and not hidden else self.title


@dataclass(frozen=True, slots=True)
class Table:
    """A result table."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    about: str = ""
    sparse: bool = False  # columns that hold nothing are left out, whatever their rank

    def records(self) -> list[dict[str, Cell]]:
        """Return the rows as mappings from column key to plain value."""
        keys = [column.key for column in self.columns]
        return [dict(zip(keys, row, strict=True)) for row in self.rows]

    def visible(self, max_rank: int = 2) -> Table:
        """Return the table with the columns that people see and that hold something."""
        kept = [
            index
            for index, column in enumerate(self.columns)
            if column.rank <= max_rank
            and (
                (column.rank == 0 and not self.sparse)
                or any(row[index] not in (None, "") for row in self.rows)
            )
        ]
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )

    def sorted_by(self, order: str) -> Table:
        """Return the table sorted by a column key; `-key` is descending, unknown values last."""
        key = order.removeprefix("-")
        keys = [column.key for column in self.columns]
        if key not in keys:
            return self
        index = keys.index(key)
        known = [row for row in self.rows if _known(row[index])]
        known.sort(key=lambda row: _sort_key(row[index]), reverse=order.startswith("-"))
        return replace(self, rows=(*known, *(r for r in self.rows if not _known(r[index]))))


def _known(cell: Cell) -> bool:
    return cell is not None and not (isinstance(cell, float) and math.isnan(cell))


def _sort_key(cell: Cell) -> tuple[int, float, tuple[tuple[int, int, str], ...]]:
    if isinstance(cell, str):
        return (1, 0.0, natural_key(cell))
    return (0, float(cell or 0), ())


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """A column and where its cells come from."""

    column: Column
    get: Callable[[T], object]


def text(
    key: str, title: str, get: Callable[[T], object], rank: int = 1, about: str = ""
) -> Field[T]:
    """Declare a text column."""
    return Field(Column(key, title, rank=rank, about=about), get)


def num(
    key: str,
    title: str,
    get: Callable[[T], object],
    *,
    unit: str = "",
    digits: int = 1,
    rank: int = 1,
    style: Style = Style.NUMBER,
    about: str = "",
) -> Field[T]:
    """Declare a column of numbers."""
    return Field(Column(key, title, unit, style, digits, rank, about), get)


def build(
    name: str, title: str, fields: Sequence[Field[T]], items: Iterable[T], about: str = ""
) -> Table:
    """Fill a table; NaN and infinite values become unknown."""
    rows = tuple(tuple(_cell(field.get(item)) for field in fields) for item in items)
    return Table(name, title, tuple(field.column for field in fields), rows, about)


def _cell(value: object) -> Cell:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def check_sort(tables: Iterable[Table], order: str) -> None:
    """Refuse to sort by a column that no table has that is shown.

    Raises:
        UsageError: no table has it.
    """
    tables = [table for table in tables if table.rows]
    known = {column.key for table in tables for column in table.columns}
    if tables and order and order.removeprefix("-") not in known:
        where = f"the table {tables[0].name} has no" if len(tables) == 1 else "no table here has a"
        key = order.removeprefix("-")
        raise UsageError(
            f"--sort: {where} column {key!r}.{suggestion(key, known)} "
            "The first line of --format csv names the columns."
        )


def shown(cell: Cell, column: Column) -> str:
    """Return a cell as people read it; unknown is empty."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str) or column.style is Style.TEXT:
        return str(cell)
    if column.style is Style.DURATION:
        return duration(cell)
    if column.style is Style.BYTES:
        return size(cell)
    value = cell * 100 if column.style is Style.SHARE else cell
    return str(value) if isinstance(value, int) else f"{value:.{column.digits}f}"


def duration(seconds: float) -> str:
    """Return seconds in the unit that gives a readable number."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s")):
        if abs(seconds) < limit:
            return f"{seconds * factor:.{1 if unit == 's' else 2}f} {unit}" if seconds else "0 s"
    return f"{seconds / 60:.1f} min" if abs(seconds) < 7200 else f"{seconds / 3600:.2f} h"


def size(count: float) -> str:
    """Return bytes in the binary unit that gives a readable number."""
    for limit, unit in ((2**10, "B"), (2**20, "KiB"), (2**30, "MiB"), (2**40, "GiB")):
        if abs(count) < limit:
            return f"{count / (limit / 1024):.{0 if unit == 'B' else 1}f} {unit}"
    return f"{count / 2**40:.2f} TiB"
