"""Indexes that hold programs instead of rows: refused at once, whatever reads them.

Each runs in a process of its own with little memory and a time limit, which no test should need.
"""

import os
import pickle
import resource
import shutil
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from dl2cli import pcr
from dl2cli.errors import DataError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert

MEMORY_BYTES = 2 << 30


def endless(table: str, columns: str, where: str = "") -> str:
    """Return statements that put a view without end in a table's place."""
    rows = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)"
    return f"DROP TABLE {table}; CREATE VIEW {table} AS {rows} SELECT {columns} FROM n {where}"


RECORD = "i AS id, 'PCR_' || i AS file, 1 AS images, zeroblob(16) AS lengths, 0 AS crc32c"
INDEX_BOMBS = {
    "endless records": endless("records", RECORD),
    "endless classes": endless("classes", "i AS label, 'x' AS name"),
    "endless properties": endless("dataset", "i AS key, '1' AS value"),
    "no row ever": endless("records", RECORD, "WHERE i < 0"),
    "generated column": "DROP TABLE classes; CREATE TABLE classes (label INTEGER PRIMARY KEY, "
    "name AS (CAST(zeroblob(900000000) AS TEXT))); INSERT INTO classes VALUES (0)",
    "added generated column": "ALTER TABLE records ADD COLUMN big AS (hex(zeroblob(400000000)))",
    "trigger": "CREATE TRIGGER t AFTER DELETE ON records BEGIN DELETE FROM classes; END",
    "virtual table": "CREATE VIRTUAL TABLE v USING fts5(x)",
    "long value": "UPDATE dataset SET value = CAST(zeroblob(100000000) AS TEXT) WHERE key = 'seed'",
    "long class name": "UPDATE classes SET name = zeroblob(100000000) WHERE label = 0",
}
SOURCES_BOMBS = {
    "endless sources": endless(
        "sources",
        "0 AS record, i AS slot, 'x' AS path, 0 AS label, 1 AS bytes, 0 AS crc32c, "
        "'JPEG' AS format, '' AS note",
    ),
    "endless rejected": endless("rejected", "0 AS record, 'x' AS path, 0 AS label, 'y' AS reason"),
    "generated path": "DROP TABLE sources; CREATE TABLE sources (record, slot, label, bytes, "
    "crc32c, format, note, path AS (CAST(zeroblob(900000000) AS TEXT)))",
}


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))

    return subprocess.run(
        [sys.executable, "-m", "dl2cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=little_memory,
    )


def plant(file: Path, script: str) -> None:
    connection = sqlite3.connect(file)
    connection.executescript(script)
    connection.close()


@pytest.mark.parametrize("name", INDEX_BOMBS)
def test_an_index_that_is_a_program_is_refused(config: ConvertConfig, name: str) -> None:
    convert(config)
    plant(config.out / "PCR.db", INDEX_BOMBS[name])
    for command in (
        ("inspect", config.out),
        ("convert", config.source, config.out, "--images-per-record", 4),
    ):
        result = run(*command)
        assert result.returncode == 3, result.stderr
        assert "PCR.db" in result.stderr
        assert "unexpected" not in result.stderr


@pytest.mark.parametrize("name", SOURCES_BOMBS)
def test_a_provenance_that_is_a_program_is_refused(config: ConvertConfig, name: str) -> None:
    convert(config)
    plant(config.out / "PCR_sources.db", SOURCES_BOMBS[name])
    assert run("inspect", config.out).returncode == 0  # which has no need of it
    for command in (
        ("inspect", config.out, "--verify", "--against", config.source),
        ("extract", config.out, config.out.parent / "back"),
        ("convert", config.source, config.out, "--images-per-record", 4),
    ):
        result = run(*command)
        assert result.returncode == 3, result.stdout
        assert "PCR_sources.db" in result.stderr + result.stdout.replace("\n", "")
        assert "unexpected" not in result.stderr


def test_a_published_index_may_hold_large_arrays_that_nobody_reads(
    config: ConvertConfig, tmp_path: Path
) -> None:
    convert(config)
    folder = tmp_path / "published"
    folder.mkdir()
    original = sqlite3.connect(config.out / "PCR.db")
    rows = original.execute("SELECT key, value FROM unnamed").fetchall()
    original.close()
    index = sqlite3.connect(folder / "PCR.db")
    with index:
        index.execute("CREATE TABLE unnamed (key TEXT PRIMARY KEY, value BLOB)")
        index.execute("INSERT INTO unnamed VALUES ('m_labels', ?)", (pickle.dumps(bytes(5 << 20)),))
        index.executemany("INSERT INTO unnamed VALUES (?, ?)", rows)
    index.close()
    for file in config.out.glob("PCR_[0-9]*.db"):
        shutil.copy(file, folder)
    assert pcr.open(folder).image_count == 21
    plant(
        folder / "PCR.db", "DROP TABLE unnamed; CREATE VIEW unnamed AS SELECT 'a' key, x'00' value"
    )
    assert run("inspect", folder).returncode == 3


@pytest.mark.parametrize("name", ["PCR.db", "PCR_sources.db", "PCR_0.db", "PCR.db-journal"])
def test_a_fifo_in_a_files_place_blocks_nobody(config: ConvertConfig, name: str) -> None:
    convert(config)
    (config.out / name).unlink(missing_ok=True)
    os.mkfifo(config.out / name)
    for command in (("inspect", config.out, "--verify"), ("extract", config.out, config.out / "b")):
        result = run(*command)
        assert "unexpected" not in result.stderr
        assert result.returncode in {0, 2, 3}


def super_journal(name: Path) -> bytes:
    """Return a journal of no pages that names a super-journal: SQLite would remove that file."""
    sector, magic = 512, bytes.fromhex("d9d505f920a163d7")
    header = magic + struct.pack(">IIIII", 0, 0, 1, sector, 4096)
    text = os.fsencode(name)
    end = (
        struct.pack(">I", 0x40000000 // 4096 + 1) + text + struct.pack(">II", len(text), sum(text))
    )
    return header.ljust(sector, b"\0") + end + magic


@pytest.mark.parametrize("kind", ["names another file", "is not a regular file"])
def test_a_journal_that_would_change_a_file_elsewhere_is_refused(
    photo_folder: Path, tmp_path: Path, kind: str
):
    out, victim = tmp_path / "out", tmp_path / "victim"
    convert(ConvertConfig(photo_folder, out, workers=1))
    victim.write_bytes(b"mine")
    journal = out / "PCR.db-journal"
    if kind == "names another file":
        journal.write_bytes(super_journal(victim))
    else:
        journal.symlink_to(victim)
    with pytest.raises(DataError, match=f"{kind}.*--force"):
        convert(ConvertConfig(photo_folder, out, workers=1))
    assert victim.read_bytes() == b"mine"
    assert convert(ConvertConfig(photo_folder, out, workers=1, force=True)).images
    assert victim.read_bytes() == b"mine"
    assert not journal.exists()
