"""The index of a PCR dataset: `PCR.db`, all that a reader needs, and `PCR_sources.db`, provenance.

While a conversion is under way, `PCR.db` holds both, so that a record, its sources and its rejected
files become durable in one transaction. When it is complete, both files are written afresh, in one
transaction each and in a fixed order: their bytes then depend on what was converted, and not on how
often the conversion was interrupted.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dl2cli.dataset.discovery import IgnoredFile
from dl2cli.dataset.location import PCR_INDEX
from dl2cli.durability import replace_durably
from dl2cli.errors import DataError
from dl2cli.pcr import published
from dl2cli.pcr.database import Database, fresh_database, open_database

INDEX: Final = PCR_INDEX
SOURCES: Final = "PCR_sources.db"
JOURNAL: Final = "PCR.db-journal"  # SQLite's, while a transaction is under way
FORMAT_VERSION: Final = 1
OF_GROUPS: Final = "copy_of_groups"  # of a copy at less than full fidelity: its source's groups
MAX_GROUPS: Final = 64
MAX_PART_BYTES: Final = 1 << 48
MAX_RECORD_IMAGES: Final = 1 << 20
MAX_RECORDS: Final = published.MAX_RECORDS
MAX_CLASSES: Final = 1 << 20
MAX_REJECTED: Final = 1 << 24
MAX_PROPERTIES: Final = 1000

# The notes of sources begin with one of these.
REENCODED: Final = "re-encoded at quality "
KEPT_DAMAGED: Final = "kept though damaged: "

_INDEX_SCHEMA = f"""
CREATE TABLE dataset (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE classes (label INTEGER PRIMARY KEY, name NOT NULL);
CREATE TABLE records (id INTEGER PRIMARY KEY, file TEXT NOT NULL, images INTEGER NOT NULL,
    lengths BLOB NOT NULL, crc32c INTEGER NOT NULL);
CREATE TABLE {published.TABLE} (key TEXT PRIMARY KEY, value BLOB);
"""
_SOURCES_SCHEMA = """
CREATE TABLE sources (record INTEGER NOT NULL, slot INTEGER NOT NULL, path NOT NULL,
    label INTEGER NOT NULL, bytes INTEGER NOT NULL, crc32c INTEGER NOT NULL, format TEXT NOT NULL,
    note TEXT NOT NULL, PRIMARY KEY (record, slot)) WITHOUT ROWID;
CREATE TABLE rejected (record INTEGER NOT NULL, path NOT NULL, label INTEGER NOT NULL,
    reason TEXT NOT NULL);
CREATE TABLE ignored (path NOT NULL, reason TEXT NOT NULL);
"""
# Which records are done; one whose images were all rejected has no row in `records`.
_PROGRESS_SCHEMA = "CREATE TABLE progress (record INTEGER PRIMARY KEY);"
_RECORD_TYPES: Final = (int, str, int, bytes, int)
_SOURCE_TYPES: Final = (int, int, (str, bytes), int, int, int, str, str)
_REJECTED_TYPES: Final = (int, (str, bytes), int, str)
_SOURCES_ORDER = {"sources": "record, slot", "rejected": "record, rowid", "ignored": "rowid"}

RecordRow = tuple[int, str, int, bytes, int]
SourceRow = tuple[int, int, str | bytes, int, int, int, str, str]
RejectedRow = tuple[int, str | bytes, int, str]


@dataclass(frozen=True, slots=True)
class RecordRows:
    """What a converted record adds to the index, as rows of its tables.

    `record_row` is None where every image was rejected, so that there is no file. `images` counts
    the images looked at, `source_bytes` the bytes of their files. `unread` names the rejected files
    that the system did not open or read at all: missing ones, or those without permission. `host`
    is the machine that converted it, where that is not this one.
    """

    record: int
    images: int
    source_bytes: int
    record_row: RecordRow | None
    sources: tuple[SourceRow, ...]
    rejected: tuple[RejectedRow, ...]
    unread: tuple[str, ...] = ()
    host: str = ""


@dataclass(frozen=True, slots=True)
class RecordInfo:
    """A row of the index: where a record is, and how long its parts are.

    `lengths` has G + 1 entries in bytes: the metadata, then each scan group. `crc32c` is the
    metadata's checksum; datasets of the PCR_Release converter have none.
    """

    id: int
    file: str
    images: int
    lengths: tuple[int, ...]
    crc32c: int | None


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """A row of the provenance: which file an image came from, and how.

    `format` is what the file held ("baseline JPEG", "PNG"); `note` says what was done to it beyond
    the lossless transcoding ("re-encoded at quality 95", "kept though damaged: ...").
    """

    record: int
    slot: int
    path: str
    label: int
    bytes: int
    crc32c: int
    format: str
    note: str

    @property
    def is_reencoded(self) -> bool:
        """Whether it was not an ordinary JPEG, so that the image differs from its source."""
        return self.note.startswith(REENCODED)

    @property
    def is_damaged(self) -> bool:
        """Whether it was kept though damaged, so that the image may differ from its source."""
        return self.note.startswith(KEPT_DAMAGED)


@dataclass(frozen=True, slots=True)
class RejectedInfo:
    """A source file that was not converted."""

    record: int
    path: str
    label: int
    reason: str


def to_sql(name: str) -> str | bytes:
    """Return a file name as SQLite keeps it: text where it is UTF-8, else its bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def from_sql(value: object) -> str:
    """Undo `to_sql`."""
    if isinstance(value, bytes):
        return os.fsdecode(value)
    return str(value)


def check_inside(name: str) -> str:
    """Return a relative path if it stays in its folder; names may come from a stranger's index.

    Raises DataError for any other path.
    """
    # Not through pathlib: there may be millions of names.
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise DataError(f"the name {name!r} leaves the folder.")
    return name


def pack_lengths(lengths: list[int]) -> bytes:
    """Pack lengths as little-endian 64-bit integers."""
    return struct.pack(f"<{len(lengths)}Q", *lengths)


def unpack_lengths(blob: bytes) -> tuple[int, ...]:
    """Undo `pack_lengths`, and refuse lengths that no record can have. Raises DataError."""
    count, rest = divmod(len(blob), 8)
    if rest or not 2 <= count <= MAX_GROUPS + 1:
        raise DataError(f"a list of lengths has {len(blob)} bytes, which is impossible.")
    lengths = struct.unpack(f"<{count}Q", blob)
    check_lengths(lengths)
    return lengths


def check_metadata_length(bytes_: int, images: int, groups: int) -> None:
    """Refuse metadata that is longer than such a record can need. Raises DataError.

    A label takes up to 11 bytes, the sizes and the orientation 5, each length of a fragment 4. The
    bound is twice that, for fields to come, and is checked before any memory is taken.
    """
    if bytes_ > 2 * (images * (16 + 4 * groups) + groups * 16) + 4096:
        raise DataError(f"{bytes_:,} bytes of metadata for {images:,} images, which need far less.")


def check_lengths(lengths: tuple[int, ...] | list[int]) -> None:
    """Refuse lengths that no record can have. Raises DataError."""
    if not 2 <= len(lengths) <= MAX_GROUPS + 1:
        raise DataError(f"{len(lengths) - 1} scan groups, not 1 to {MAX_GROUPS}.")
    if any(not 0 <= length <= MAX_PART_BYTES for length in lengths):
        raise DataError("a length is out of range.")


def read_properties(database: Database) -> dict[str, Any]:
    """Read the `dataset` table; values are JSON. Raises DataError."""
    rows = database.rows("SELECT key, value FROM dataset", most=MAX_PROPERTIES)
    try:
        return {str(key): json.loads(value) for key, value in rows}
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"a property is not JSON: {error}.") from error


def write_properties(connection: sqlite3.Connection, properties: dict[str, Any]) -> None:
    """Insert or replace rows of the `dataset` table."""
    connection.executemany(
        "INSERT OR REPLACE INTO dataset VALUES (?, ?)",
        [(key, json.dumps(value, sort_keys=True)) for key, value in properties.items()],
    )


def read_records(database: Database) -> tuple[RecordInfo, ...]:
    """Read the `records` table, in order of id. Raises DataError for impossible rows."""
    records = []
    query = "SELECT id, file, images, lengths, crc32c FROM records ORDER BY id"
    for row in database.rows(query, most=MAX_RECORDS):
        identity, file, images, lengths, crc32c = row
        _check_types("records", row, _RECORD_TYPES)
        if Path(file).name != file or "\0" in file:
            raise DataError(f"record {identity} does not have a plain file name.")
        parts = unpack_lengths(lengths)
        # Each image has a label of a byte or more in the metadata.
        if not 0 <= images <= min(MAX_RECORD_IMAGES, parts[0]) or not 0 <= crc32c < 1 << 32:
            raise DataError(f"record {identity} has an impossible count or checksum.")
        check_metadata_length(parts[0], images, len(parts) - 1)
        records.append(RecordInfo(identity, file, images, parts, crc32c))
    return tuple(records)


def read_classes(database: Database) -> tuple[str, ...]:
    """Read the `classes` table, in order of label."""
    query = "SELECT name FROM classes ORDER BY label"
    return tuple(from_sql(name) for (name,) in database.rows(query, most=MAX_CLASSES))


def read_sources(database: Database, record: int | None) -> Iterator[SourceInfo]:
    """Read the `sources` table, of one record or all. Raises DataError for impossible rows."""
    where, values = ("WHERE record = ?", (record,)) if record is not None else ("", ())
    query = (
        "SELECT record, slot, path, label, bytes, crc32c, format, note "
        f"FROM sources {where} ORDER BY record, slot"
    )
    most = MAX_RECORDS * MAX_RECORD_IMAGES if record is None else MAX_RECORD_IMAGES
    for row in database.rows(query, values, most=most, keep=False):
        _check_types("sources", row, _SOURCE_TYPES)
        yield SourceInfo(row[0], row[1], check_inside(from_sql(row[2])), *row[3:])


def read_rejected(database: Database) -> Iterator[RejectedInfo]:
    """Read the `rejected` table. Raises DataError for impossible rows."""
    query = "SELECT record, path, label, reason FROM rejected ORDER BY rowid"
    for row in database.rows(query, most=MAX_REJECTED):
        _check_types("rejected", row, _REJECTED_TYPES)
        yield RejectedInfo(row[0], from_sql(row[1]), *row[2:])


def _check_types(table: str, row: tuple[Any, ...], types: tuple[Any, ...]) -> None:
    """Check types, since SQLite lets a column hold any, whatever its declaration says."""
    if not all(map(isinstance, row, types)):
        raise DataError(f"table `{table}` holds a row with values of the wrong types.")


def create_working(path: Path, properties: dict[str, Any], classes: tuple[str, ...]) -> None:
    """Create the index of a new conversion: both schemas, properties, classes."""
    temporary = path.with_name(path.name + ".tmp")
    with fresh_database(temporary) as connection:
        connection.executescript(_INDEX_SCHEMA + _SOURCES_SCHEMA + _PROGRESS_SCHEMA)
        connection.execute("BEGIN")
        _insert_classes(connection, classes)
        write_properties(connection, {**properties, "complete": False})
        connection.commit()
    replace_durably(temporary, path)


def add_record(connection: sqlite3.Connection, rows: RecordRows) -> None:
    """Add a record whose file is durable to a working index, in one transaction."""
    with connection:
        if rows.record_row is not None:
            connection.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?)", rows.record_row)
        connection.executemany("INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows.sources)
        connection.executemany("INSERT INTO rejected VALUES (?, ?, ?, ?)", rows.rejected)
        connection.execute("INSERT INTO progress VALUES (?)", (rows.record,))


def replace_ignored(connection: sqlite3.Connection, ignored: Iterable[IgnoredFile]) -> None:
    """Write which files were left out into a working index."""
    with connection:
        connection.execute("DELETE FROM ignored")
        connection.executemany(
            "INSERT INTO ignored VALUES (?, ?)",
            ((to_sql(file.path), file.reason) for file in ignored),
        )


def read_progress(database: Database) -> set[int]:
    """Return the records that a working index holds, including those without a file."""
    rows = database.rows("SELECT record FROM progress", most=MAX_RECORDS)
    return {record for (record,) in rows if isinstance(record, int)}


def finalize(
    folder: Path, properties: dict[str, Any], images_per_record: int, sources: Path | None = None
) -> None:
    """Write both final files from the working index; the complete index comes last.

    Args:
        folder: the dataset's folder.
        properties: added to the working index's own.
        images_per_record: the PCR_Release tool's readers call it the batch size.
        sources: a file with the provenance, where that is not in the working index.
    """
    with open_database(folder / INDEX) as working:
        if sources is None:
            _write_final_sources(folder, working)
        else:
            temporary = folder / (SOURCES + ".tmp")
            shutil.copyfile(sources, temporary)
            replace_durably(temporary, folder / SOURCES)
        all_properties = {**read_properties(working), **properties, "complete": True}
        records = read_records(working)
        classes = read_classes(working)
    temporary = folder / (INDEX + ".tmp")
    with fresh_database(temporary) as connection:
        connection.executescript(_INDEX_SCHEMA)
        connection.execute("BEGIN")
        write_properties(connection, dict(sorted(all_properties.items())))
        _insert_classes(connection, classes)
        connection.executemany(
            "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
            [(r.id, r.file, r.images, pack_lengths(list(r.lengths)), r.crc32c) for r in records],
        )
        rows = published.rows(
            ((r.file, list(r.lengths)) for r in records),
            images=sum(r.images for r in records),
            classes=len(classes),
            images_per_record=images_per_record,
        )
        connection.executemany(f"INSERT INTO {published.TABLE} VALUES (?, ?)", rows)
        connection.commit()
    replace_durably(temporary, folder / INDEX)
    (folder / JOURNAL).unlink(missing_ok=True)  # it belonged to the working index, and is empty


def _write_final_sources(folder: Path, working: Database) -> None:
    temporary = folder / (SOURCES + ".tmp")
    with fresh_database(temporary) as connection:
        connection.executescript(_SOURCES_SCHEMA)
        connection.execute("BEGIN")
        for table, order in _SOURCES_ORDER.items():
            rows = working.connection.execute(f"SELECT * FROM {table} ORDER BY {order}")
            marks = ", ".join("?" * len(rows.description))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        connection.commit()
    replace_durably(temporary, folder / SOURCES)


def _insert_classes(connection: sqlite3.Connection, classes: tuple[str, ...]) -> None:
    connection.executemany(
        "INSERT INTO classes VALUES (?, ?)", [(i, to_sql(name)) for i, name in enumerate(classes)]
    )
