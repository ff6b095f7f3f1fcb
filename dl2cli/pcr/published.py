"""The index of the PCR_Release converter: a SqliteDict table whose values are pickled integers.

A pickle is a program, so none is ever run here. What a list of integers needs is a dozen opcodes;
they are read one by one, and anything else is refused.
"""

from __future__ import annotations

import pickle
import pickletools
from collections.abc import Iterable
from typing import Final

from dl2cli.errors import DataError
from dl2cli.pcr.database import Database

TABLE: Final = "unnamed"  # SqliteDict's default
MAX_RECORDS: Final = 1 << 20
MAX_PICKLE_BYTES: Final = 64 << 10
_NUMBERS: Final = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1"})
_STRUCTURE: Final = frozenset(
    {"PROTO", "FRAME", "MARK", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "STOP"}
    | {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
)


def read_integers(pickled: bytes) -> list[int]:
    """Read a pickled integer or list of integers without unpickling it.

    Raises:
        DataError: it holds anything else.
    """
    if len(pickled) > MAX_PICKLE_BYTES:
        raise DataError(f"a pickle of {len(pickled)} bytes, more than a list of lengths needs.")
    values: list[int] = []
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in _NUMBERS and isinstance(argument, int):
                values.append(argument)
            elif opcode.name not in _STRUCTURE:
                raise DataError(f"a pickle uses {opcode.name}, which no list of integers needs.")
    except (ValueError, IndexError, OverflowError) as error:
        raise DataError(f"a damaged pickle ({error}).") from error
    return values


def read_index(database: Database) -> dict[str, list[int]]:
    """Return file name -> lengths (metadata, then each group) for the records of an index.

    The PCR_Release converter also stores numpy arrays under keys that begin with `m_`; they are
    never looked at.
    """
    rows = database.rows(
        f"SELECT key, value FROM {TABLE} WHERE substr(key, 1, 2) != 'm_' ORDER BY rowid",
        most=MAX_RECORDS,
    )
    records = {}
    for key, value in rows:
        if not isinstance(key, str) or not isinstance(value, bytes):
            raise DataError("the index holds a row that is not a record.")
        try:
            records[key.removeprefix("/")] = read_integers(value)
        except DataError as error:
            raise DataError(f"index entry {key!r}: {error}") from error
    return records


def rows(
    records: Iterable[tuple[str, list[int]]], images: int, classes: int, images_per_record: int
) -> list[tuple[str, bytes]]:
    """Return the rows by which readers of the PCR_Release tool find our records."""

    def dump(value: int | list[int]) -> bytes:
        return pickle.dumps(value, protocol=2)

    result = [
        ("m_dataset_size", dump(images)),
        ("m_classes", dump(list(range(classes)))),
        ("m_batch_size", dump(images_per_record)),
    ]
    result.extend((file, dump(lengths)) for file, lengths in records)
    return result
