"""What is known of a variant while it grows and afterwards: a small hidden SQLite file in it.

It says with which options the variant is made, which of its files are done, and which sources were
rejected, so that an interrupted conversion goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from dl2cli.errors import DataError, StorageError
from dl2cli.pcr.index import from_sql, to_sql
from dl2cli.variants.config import RejectedFile
from dl2cli.variants.worker import Done, Outcome

STATE: Final = ".dl2-variant.db"
_SCHEMA: Final = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE images (
    source PRIMARY KEY, file NOT NULL, bytes INTEGER NOT NULL, pixels INTEGER NOT NULL,
    encode_s REAL NOT NULL, copied INTEGER NOT NULL, ms_ssim REAL, psnr_db REAL,
    turned INTEGER NOT NULL
);
CREATE TABLE rejected (source PRIMARY KEY, reason TEXT NOT NULL);
"""


class State:
    """The open state of one variant."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def settings(self) -> dict[str, Any]:
        """Return the options that the variant is made with, and `complete` and `seconds`."""
        rows = self._connection.execute("SELECT key, value FROM settings")
        return {key: json.loads(value) for key, value in rows}

    def store(self, **values: object) -> None:
        """Store settings, durably."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        with self._connection as connection:
            connection.executemany("INSERT OR REPLACE INTO settings VALUES (?, ?)", rows)

    def finished(self) -> set[str]:
        """Return the names of the sources that are done, the rejected ones included."""
        query = "SELECT source FROM images UNION ALL SELECT source FROM rejected"
        return {from_sql(name) for (name,) in self._connection.execute(query)}

    def add(self, results: Iterable[tuple[Done, Outcome]]) -> None:
        """Store what became of sources, all or none."""
        images, rejected = [], []
        for done, each in results:
            name = to_sql(done.name)
            if each.error is not None:
                rejected.append((name, each.error))
            else:
                images.append(
                    (
                        name,
                        to_sql(each.name),
                        each.bytes,
                        each.pixels,
                        each.encode_s,
                        each.copied,
                        each.ms_ssim,
                        each.psnr_db,
                        done.turned,
                    )
                )
        with self._connection as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO images VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", images
            )
            connection.executemany("INSERT OR REPLACE INTO rejected VALUES (?, ?)", rejected)

    def files(self) -> Iterator[tuple[str, str, int]]:
        """Yield source, file and bytes of each image."""
        for source, file, count in self._connection.execute(
            "SELECT source, file, bytes FROM images"
        ):
            yield from_sql(source), from_sql(file), count

    def forget(self, sources: Iterable[str]) -> None:
        """Have images made again."""
        with self._connection as connection:
            connection.executemany(
                "DELETE FROM images WHERE source = ?", [(to_sql(name),) for name in sources]
            )

    def totals(self) -> tuple[int, int, int, int, float, int]:
        """Return images, copies, bytes, pixels, seconds of encoding, and turned images."""
        row = self._connection.execute(
            "SELECT COUNT(*), TOTAL(copied), TOTAL(bytes), TOTAL(pixels), TOTAL(encode_s), "
            "TOTAL(turned) FROM images"
        ).fetchone()
        images, copied, count, pixels, seconds, turned = row
        return int(images), int(copied), int(count), int(pixels), float(seconds), int(turned)

    def encoded(self) -> Iterator[tuple[float, float]]:
        """Yield seconds and bits a pixel of each image that was encoded, in the order of names."""
        yield from self._connection.execute(
            "SELECT encode_s, bytes * 8.0 / pixels FROM images WHERE NOT copied ORDER BY source"
        )

    def measured(self) -> list[tuple[float, float | None]]:
        """Return MS-SSIM and PSNR (None for equal pixels) of each image of the sample."""
        query = "SELECT ms_ssim, psnr_db FROM images WHERE ms_ssim IS NOT NULL ORDER BY source"
        return list(self._connection.execute(query))

    def rejected(self) -> tuple[RejectedFile, ...]:
        """Return the sources that the variant lacks."""
        rows = self._connection.execute("SELECT source, reason FROM rejected ORDER BY source")
        return tuple(RejectedFile(from_sql(name), reason) for name, reason in rows)


@contextlib.contextmanager
def open_state(folder: Path, *, create: bool = False) -> Iterator[State]:
    """Open the state of the variant in a folder.

    The one who writes holds a lock on the folder above, so SQLite's own locks, which some cluster
    file systems refuse, are not asked for.

    Raises:
        DataError: the file is damaged, or it is not the state of a variant.
        StorageError: the system refuses.
    """
    path = folder / STATE
    mode = "rwc" if create else "rw"
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}&nolock=1", uri=True)
        with contextlib.closing(connection):
            connection.execute("PRAGMA journal_mode = TRUNCATE")
            if create:
                connection.executescript(_SCHEMA)
            yield State(connection)
    except sqlite3.OperationalError as error:
        raise StorageError(f"{path}: {error}.") from error
    except (sqlite3.Error, json.JSONDecodeError) as error:
        raise DataError(f"{path} is damaged: {error}. --force makes the variant anew.") from error
