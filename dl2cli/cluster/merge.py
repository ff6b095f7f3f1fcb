"""Joining the parts of a conversion to one dataset."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dl2cli.cluster.part import Part, parts_in
from dl2cli.cluster.store_parts import fetch_parts, remove_parts
from dl2cli.dataset.splits import SPLIT_NAMES
from dl2cli.errors import DataError, UsageError
from dl2cli.pcr import index
from dl2cli.pcr.config import ConvertResult
from dl2cli.pcr.convert import RunCounts, about_rotated, describe
from dl2cli.pcr.database import open_database
from dl2cli.pcr.dataset import open as open_dataset
from dl2cli.pcr.output_folder import (
    list_ours,
    locked,
    lost_records,
    remove_files,
    remove_temporary,
    storage_errors,
    working_folder,
)
from dl2cli.pcr.transfer.to_store import moved, publish
from dl2cli.stores.path import StorePath, is_remote

_SHOWN: Final = 10  # parts in a message
# Properties that only a part's index has; the others go into the index of the dataset.
_ABOUT_PARTS: Final = ("part", "parts", "source", "complete")
_ROWS: Final = ("records", "sources", "rejected", "progress")


def merge(out: Path) -> tuple[ConvertResult, ...]:
    """Join the parts in OUT, or those in each of its splits. Needs nothing but OUT.

    A merge that was interrupted can be done again. The result is the same as after a conversion on
    one machine.

    Raises:
        UsageError: there are no parts, some are missing or were made with other options, or a
            process is still writing to OUT.
        DataError: a record file is missing, or every image was rejected.
        StorageError: the system refuses to read or write.
    """
    folders = [each for each in (out, *(out / name for name in SPLIT_NAMES)) if _has_parts(each)]
    if not folders:
        raise UsageError(f"{out} holds no parts of a conversion; `--part I/N` makes them.")
    return tuple(_merge_one(folder) for folder in folders)


def _has_parts(out: Path) -> bool:
    with storage_errors(out):
        return bool(parts_in(fetch_parts(out) if isinstance(out, StorePath) else out))


def _merge_one(out: Path) -> ConvertResult:
    start = time.perf_counter()
    place = working_folder(out)
    with storage_errors(out), locked(place):
        parts = _whole_set(out)
        properties = [_read_properties(out, part) for part in parts]
        unfinished = [part for part, each in zip(parts, properties, strict=True) if not each]
        _check_none(out, unfinished, "is not done")
        source = Path(properties[0]["source"])
        common = [_without(each, _ABOUT_PARTS) for each in properties]
        for part, each in zip(parts, common, strict=True):
            differing = [key for key in common[0] if each.get(key) != common[0][key]]
            if differing:
                raise UsageError(
                    f"Parts {parts[0]} and {part} in {out} were not made from the same files with "
                    f"the same options ({', '.join(differing)} differ); convert one of them again "
                    "with --force."
                )
        ignored = _join(out, parts, common[0])
        remove_temporary(place)
        index.finalize(place, {}, common[0]["images_per_record"])
        if not isinstance(out, StorePath):
            # The first part goes last: with it, a merge that is killed here can be done again.
            names = [name for name in list_ours(out) if name.startswith("PCR_part_")]
            remove_files(out, sorted(names, key=lambda name: name.startswith(parts[0].stem)))
        dataset = open_dataset(place)
        run = RunCounts(resumed_records=len(dataset.records))
        notes = [about_rotated(moved(dataset, out))]
        seconds = time.perf_counter() - start
        result = describe(dataset, run, source=source, ignored=ignored, seconds=seconds)
        if isinstance(out, StorePath):
            publish(place, out)
            notes.append(remove_parts(out, parts))
    return replace(result, out=out, notes=tuple(filter(None, notes)))


def _whole_set(out: Path) -> tuple[Part, ...]:
    """Return parts 1 to N. Raises UsageError if one is missing, or if there are two kinds of N."""
    parts = parts_in(working_folder(out))
    counts = sorted({part.count for part in parts})
    if len(counts) > 1:
        raise UsageError(
            f"{out} holds parts of different divisions ({', '.join(f'I/{n}' for n in counts)}): "
            "remove the index files of those that are not meant."
        )
    there = {part.number for part in parts}
    missing = [Part(i, counts[0]) for i in range(1, counts[0] + 1) if i not in there]
    _check_none(out, missing, "is not done" if is_remote(out) else "has not begun")
    return parts


def _check_none(out: Path, parts: list[Part], what: str) -> None:
    """Refuse to merge while there are such parts. Raises UsageError."""
    if not parts:
        return
    shown = ", ".join(map(str, parts[:_SHOWN]))
    more = f" and {len(parts) - _SHOWN:,} more" if len(parts) > _SHOWN else ""
    raise UsageError(f"{out} cannot be merged yet: part {shown}{more} {what}.")


def _read_properties(out: Path, part: Part) -> dict[str, Any]:
    """Return the properties of a part that is done; nothing if it is not."""
    # Opened for writing, so that SQLite undoes what a killed process has begun.
    with open_database(working_folder(out) / f"{part.stem}.db", write=True) as database:
        properties = index.read_properties(database)
        lost = lost_records(out, database)
    if properties.get("complete") is not True:
        return {}
    if lost:
        raise DataError(
            f"{out / lost[0].file} is missing or not as long as it was; run part {part} again, "
            "then merge."
        )
    return properties


def _join(out: Path, parts: tuple[Part, ...], properties: dict[str, Any]) -> dict[str, int]:
    """Make the working index of the dataset from those of the parts; return what was left out."""
    place = working_folder(out)
    working = place / index.INDEX
    with open_database(place / f"{parts[0].stem}.db", write=True) as database:
        classes = index.read_classes(database)
        query = "SELECT reason, COUNT(*) FROM ignored GROUP BY reason ORDER BY reason"
        ignored = dict(database.rows(query, most=index.MAX_REJECTED))
    index.create_working(working, properties, classes)
    with open_database(working, write=True) as database:
        connection = database.connection
        for part in parts:
            path = (place / f"{part.stem}.db").absolute().as_uri()
            connection.execute("ATTACH ? AS part", (f"{path}?mode=ro&immutable=1",))
            with connection:
                for table in (*_ROWS, *(("ignored",) if part is parts[0] else ())):
                    connection.execute(
                        f"INSERT INTO main.{table} SELECT * FROM part.{table} ORDER BY rowid"
                        if table == "rejected"
                        else f"INSERT INTO main.{table} SELECT * FROM part.{table}"
                    )
            connection.execute("DETACH part")
        if not index.read_records(database):
            raise DataError(f"{out}: every image was rejected; `rejected` in {working} says why.")
    return ignored


def _without(properties: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if key not in keys}
