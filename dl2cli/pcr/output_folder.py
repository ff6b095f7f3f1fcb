"""Check what is at OUT before a conversion writes there: other people's files are never touched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from dl2cli.dataset.discovery import ImageFolder
from dl2cli.durability import try_lock
from dl2cli.errors import DataError, Interrupted, StorageError, UsageError
from dl2cli.pcr import index, published
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.database import Database, open_database
from dl2cli.stores.fetch import side_by_side
from dl2cli.stores.path import StorePath
from dl2cli.stores.reader import StoreReader
from dl2cli.user_folders import cache_dir

_OURS: Final = re.compile(r"PCR(_sources|_\d+)?\.db(\.tmp|-journal)?(-journal)?")
# What a conversion in parts or on a cluster keeps there until its parts are merged: a part's index
# and lock, and record files before they have their names, which several processes may write.
_PART: Final = re.compile(r"PCR_part_\d+_of_\d+\.(lock|db(\.tmp|-journal)?(-journal)?)")
_UNFINISHED: Final = re.compile(r"PCR_\d+\.db\.[0-9a-f]{16}(\.tmp)?")
_SHOWN: Final = 3  # names in a message


def working_folder(out: Path, use: str = "conversions") -> Path:
    """Return where the index of an unfinished dataset is kept.

    It is OUT itself, or for a store a folder of the user's cache, one for each URL and use.
    """
    if not isinstance(out, StorePath):
        return out
    return cache_dir() / use / hashlib.sha256(out.url.encode()).hexdigest()[:32]


@contextlib.contextmanager
def locked(
    out: Path, *, shared: bool = False, on_note: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Create OUT and lock it, so that two conversions never write to one folder.

    The parts of one conversion share this lock, and each has another of its own.

    Some file systems have no locks; then `on_note` is told what the user has to take care of.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{out} is not a folder, and cannot become one.") from None
    descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            if not try_lock(descriptor, shared=shared) and on_note is not None:
                on_note(
                    f"The file system of {out} has no locks, so nothing keeps a second conversion "
                    "from writing there: start only one at a time."
                )
        except BlockingIOError:
            raise UsageError(f"Another conversion is writing to {out}.") from None
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(out: Path, *, force: bool = False) -> Iterator[None]:
    """Say what to do next when the system refuses something or the user presses Ctrl-C."""
    command = "the same command without --force" if force else "the same command"
    again = f"What is done is kept: {command} resumes."
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"Interrupted. {again}") from None
    except OSError as error:
        raise StorageError(f"{out}: {error.strerror or error}. {again}") from error
    except StorageError as error:
        if "same command" in str(error):  # it says already what to do next
            raise
        raise StorageError(f"{error} {again}") from error


def prepare(config: ConvertConfig, folder: ImageFolder, properties: dict[str, Any]) -> bool:
    """Make OUT ready for a conversion; return True if it holds the finished result already.

    Raises:
        UsageError: OUT holds other files, another dataset, or a conversion with other options.
        DataError: OUT holds the finished result, but a record file of it was lost.
    """
    out = working_folder(config.out)
    ours = list_ours(out)
    working = out / index.INDEX
    if config.force:
        remove_files(out, ours)
        ours = []
    if not ours:
        index.create_working(working, properties, folder.classes)
        return False
    if index.INDEX not in ours:
        # A conversion that was killed before its first index, or files of a replaced dataset.
        if any(_PART.fullmatch(name) for name in ours):
            raise UsageError(
                f"{config.out} holds parts of a conversion: `dl2 convert {config.out} --merge` "
                "joins them once all are done; --force starts anew."
            )
        if any(not (is_temporary(name) or name.endswith("-journal")) for name in ours):
            raise UsageError(
                f"{config.out} holds PCR files without an index; --force replaces them."
            )
        remove_files(out, ours)
        index.create_working(working, properties, folder.classes)
        return False
    with open_database(working, write=True) as database:
        if not database.has_table("dataset"):
            if not database.has_table(published.TABLE):
                raise UsageError(f"{working} is not a PCR index; --force replaces it.")
            raise UsageError(
                f"{config.out} holds a PCR dataset of the PCR_Release converter; "
                "choose another folder."
            )
        stored = index.read_properties(database)
        complete = stored.get("complete") is True
        check_same_options(config, stored, properties, complete=complete)
        lost = lost_records(config.out, database)
        if complete and lost and out == config.out:
            raise DataError(
                f"{config.out} holds a finished conversion, but {lost[0].file} is missing or not "
                "as long as it was; --force converts anew."
            )
        if complete and not lost:
            # A run that was killed in its last moment leaves the empty journal of its index.
            (out / index.JOURNAL).unlink(missing_ok=True)
            return True
        if not config.resume and not complete:
            raise UsageError(
                f"{config.out} holds an unfinished conversion; --resume goes on with it, "
                "--force starts anew."
            )
        if not complete:
            forget_records(database.connection, lost)
    if complete:  # but a store, to which no reader was sent yet, has lost records
        remove_files(out, ours)
        index.create_working(working, properties, folder.classes)
    remove_files(out, [name for name in ours if is_temporary(name)])
    return False


def is_temporary(name: str) -> bool:
    """Tell whether a file of ours is one that a killed process left before it had its name."""
    return name.endswith(".tmp") or _UNFINISHED.fullmatch(name) is not None


def remove_temporary(out: Path) -> None:
    """Remove what killed workers or parts left, once all records are there."""
    remove_files(out, [name for name in list_ours(out) if is_temporary(name)])


def list_ours(out: Path) -> list[str]:
    """Return the names of the files in OUT, sorted. Raises UsageError if some are not ours."""
    names = sorted(os.listdir(out))  # noqa: PTH208 - names, not paths
    ours = (_OURS, _PART, _UNFINISHED)
    foreign = [name for name in names if not any(each.fullmatch(name) for each in ours)]
    if foreign:
        shown = ", ".join(foreign[:_SHOWN]) + (", ..." if len(foreign) > _SHOWN else "")
        raise UsageError(
            f"{out} holds files that do not belong to a PCR dataset ({shown}); choose another "
            "folder."
        )
    return names


def remove_files(out: Path, names: list[str]) -> None:
    """Remove files of a dataset."""
    # The index goes first: without it, what is left cannot be taken for a dataset.
    for name in sorted(names, key=lambda name: name != index.INDEX):
        (out / name).unlink(missing_ok=True)


def check_same_options(
    config: ConvertConfig, stored: dict[str, Any], wanted: dict[str, Any], *, complete: bool
) -> None:
    """Refuse to go on with a conversion that had other options or files. Raises UsageError."""
    differing = [key for key in wanted if stored.get(key) != wanted[key]]
    if not differing:
        return
    state = "a finished" if complete else "an unfinished"
    if differing == ["source_fingerprint"]:
        what = f"of other files: {config.source} has changed since"
    elif differing == ["libjpeg"]:
        what = f"by libjpeg {stored.get('libjpeg')}, and this one is {wanted['libjpeg']}"
    else:
        changes = (
            f"{key} {stored.get(key)!r}, now {wanted[key]!r}"
            for key in differing
            if key not in {"scan_script", "scan_script_choice", "source_fingerprint"}
        )
        what = f"with other options ({'; '.join(changes) or 'another scan script'})"
    raise UsageError(f"{config.out} holds {state} conversion {what}; --force starts anew.")


def lost_records(out: Path, database: Database) -> list[index.RecordInfo]:
    """Return the records whose file is missing, or not as long as the index says.

    A store is asked for a byte of each.
    """
    records = index.read_records(database)
    if isinstance(out, StorePath):
        reader = StoreReader(out)
        there = side_by_side([partial(_in_store, reader, each) for each in records], reader.cancel)
    else:
        there = [_on_disk(out, each) for each in records]
    return [record for record, found in zip(records, there, strict=True) if not found]


def _on_disk(out: Path, record: index.RecordInfo) -> bool:
    try:
        status = (out / record.file).stat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == sum(record.lengths)


def _in_store(reader: StoreReader, record: index.RecordInfo) -> bool:
    try:
        return reader.size(record.file) == sum(record.lengths)
    except (FileNotFoundError, ValueError):  # a ValueError says that it is empty
        return False


def forget_records(connection: sqlite3.Connection, records: list[index.RecordInfo]) -> None:
    """Remove records from the index, so that they are converted again."""
    ids = [(record.id,) for record in records]
    with connection:
        connection.executemany("DELETE FROM records WHERE id = ?", ids)
        connection.executemany("DELETE FROM progress WHERE record = ?", ids)
        connection.executemany("DELETE FROM sources WHERE record = ?", ids)
        connection.executemany("DELETE FROM rejected WHERE record = ?", ids)
