"""Open the SQLite files of a dataset, which may come from a stranger or lie on any file system.

SQLite's own locks are never asked for: cluster and network file systems (Lustre, sshfs, CIFS, some
of FUSE) refuse them. Nobody changes a complete index, so that readers open it as immutable; the one
writer, a conversion, holds a lock on the folder (`dl2cli.pcr.convert`). The writer's journal is cut
to nothing instead of being removed, because SQLite takes a folder that cannot be synced for a
failing disk.

A database can also hold programs: views that never end, generated columns of gigabytes, triggers.
Only plain tables are read, row by row, under limits of bytes, rows and work.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from dl2cli.errors import DataError, StorageError

MAX_VALUE_BYTES: Final = 1 << 20  # one value; the PCR_Release index has pickles of up to 64 KiB
MAX_TABLE_BYTES: Final = 256 << 20  # all text and blobs of a table that is read as a whole
_STEP: Final = 1_000_000  # instructions of SQLite's machine between two looks at the work done
_FREE_STEPS: Final = 100  # before the first row: 10 to 20 s, enough to sort 10 million rows
_ROWS_A_STEP: Final = 10_000  # a row takes 10 to 50 instructions

# The last bytes of a journal that names a super-journal, the file of a transaction over several
# databases (https://sqlite.org/fileformat.html#the_rollback_journal).
_SUPER_JOURNAL: Final = bytes.fromhex("d9d505f920a163d7")

# Codes of SQLite (the low byte) for what the system refused, not for what the file holds.
_REFUSED: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)


class Database:
    """An open SQLite file, read under limits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._steps = 0
        self._rows = 0
        self._reading = 0  # what a conversion writes has no limit
        connection.set_progress_handler(self._too_much_work, _STEP)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        self._check_schema()

    def has_table(self, name: str) -> bool:
        """Tell whether there is a table of this name."""
        query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return self.connection.execute(query, (name,)).fetchone() is not None

    def rows(
        self, query: str, values: tuple[Any, ...] = (), *, most: int, keep: bool = True
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query.

        Args:
            query: a SELECT.
            values: the values of its question marks.
            most: the number of rows at which reading stops with an error.
            keep: whether the caller keeps them all, so that their bytes are limited too.

        Raises:
            DataError: there are too many rows or bytes.
        """
        self._steps = self._rows = 0
        held = 0
        self._reading += 1
        try:
            for row in self.connection.execute(query, values):
                self._rows += 1
                if keep:
                    held += sum(len(value) for value in row if isinstance(value, str | bytes))
                if self._rows > most or held > MAX_TABLE_BYTES:
                    raise DataError(
                        f"a table has more than {most:,} rows or {MAX_TABLE_BYTES:,} bytes, "
                        "which no dataset needs."
                    )
                yield row
        finally:
            self._reading -= 1

    def _too_much_work(self) -> bool:
        self._steps += 1
        return self._reading > 0 and self._steps > _FREE_STEPS + self._rows // _ROWS_A_STEP

    def _check_schema(self) -> None:
        """Refuse everything but plain tables. Raises DataError."""
        query = "SELECT type, name, rootpage FROM sqlite_master"
        for kind, name, root in list(self.rows(query, most=1000)):
            # Views and virtual tables have no page of their own.
            if kind not in {"table", "index"} or not isinstance(root, int) or root < 1:
                raise DataError(f"it holds a {kind} (`{name}`), where a dataset has plain tables.")
            if kind == "table":
                columns = self.rows("SELECT hidden FROM pragma_table_xinfo(?)", (name,), most=1000)
                if any(hidden for (hidden,) in columns):
                    raise DataError(f"its table `{name}` has generated columns.")


@contextlib.contextmanager
def open_database(path: Path, *, write: bool = False) -> Iterator[Database]:
    """Open an index, to read it as it stands or to be the only one that writes it.

    Raises:
        DataError: the file is not an index, or one that was made to do harm.
        StorageError: the system refuses to open it.
    """
    if write:
        _check_journal(path)
    how = "mode=rw&nolock=1" if write else "mode=ro&immutable=1"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)
    except sqlite3.Error as error:
        raise StorageError(f"{path} cannot be opened: {error}.") from error
    with contextlib.closing(connection), _translated(path):
        if write:
            connection.execute("PRAGMA journal_mode = TRUNCATE")
        try:
            database = Database(connection)
        except DataError as error:
            raise DataError(f"{path} is not a PCR index: {error}") from error
        yield database


def _check_journal(path: Path) -> None:
    """Refuse a journal that could make SQLite write to, or remove, a file elsewhere.

    SQLite follows a link to its journal, and removes the super-journal that a journal names. No
    conversion leaves either.

    Raises:
        DataError: the journal is such a one.
        StorageError: the system refuses to read it.
    """
    journal = Path(f"{os.path.realpath(path)}-journal")
    try:
        if not stat.S_ISREG(journal.lstat().st_mode):
            problem = "is not a regular file"
        elif _tail(journal, len(_SUPER_JOURNAL)) == _SUPER_JOURNAL:
            problem = "names another file"
        else:
            return
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{journal} cannot be read: {error.strerror}.") from error
    raise DataError(
        f"{journal} {problem}: no conversion has left it, and SQLite could change other files "
        "through it. --force converts anew."
    )


def _tail(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - count))
        return file.read()


@contextlib.contextmanager
def fresh_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Make a new database, which needs no journal: nobody sees it before it is renamed."""
    path.unlink(missing_ok=True)
    uri = f"{path.absolute().as_uri()}?mode=rwc&nolock=1"
    connection = sqlite3.connect(uri, uri=True, isolation_level=None)
    with contextlib.closing(connection), _translated(path):
        connection.execute("PRAGMA page_size = 4096")
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)  # none from Python's part
        if code & 0xFF in _REFUSED:
            raise StorageError(f"{path}: {error}.") from error
        reason = "it takes more work than any index" if _is_interrupt(code) else str(error)
        raise DataError(f"{path} is not a PCR index: {reason}.") from error
    except UnicodeDecodeError as error:  # SQLite's own message quotes a damaged schema
        raise DataError(f"{path} is not a PCR index: its schema is damaged.") from error


def _is_interrupt(code: int) -> bool:
    return code & 0xFF == sqlite3.SQLITE_INTERRUPT
