"""A conversion in N parts, without a scheduler: Slurm arrays, several machines, several nights.

    result = convert_part(config, Part(3, 8))   # on each machine, in any order, again if it died
    result = merge(out)                         # once, when all are done (dl2cli.cluster.merge)

Part i converts the records i - 1, i - 1 + N, ... of the same plan, so that the parts are equally
long. Its rows are in an index of its own, `PCR_part_i_of_N.db`, beside the record files; the merge
joins the rows to the one index of the dataset. The bytes are the same as after a conversion on one
machine.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dl2cli.cluster.part import Part, parts_in
from dl2cli.cluster.store_parts import is_sent, send_part
from dl2cli.dataset.discovery import ImageFile, ImageFolder, discover
from dl2cli.durability import try_lock
from dl2cli.errors import DataError, UsageError
from dl2cli.pcr import index
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import RunCounts
from dl2cli.pcr.database import open_database
from dl2cli.pcr.output_folder import (
    check_same_options,
    forget_records,
    is_temporary,
    list_ours,
    locked,
    lost_records,
    remove_files,
    storage_errors,
    working_folder,
)
from dl2cli.pcr.pipeline import OnProgress, Pipeline, split_records
from dl2cli.pcr.plan import check_options, output_properties, record_order
from dl2cli.pcr.transfer.to_store import is_published
from dl2cli.stores.path import StorePath, is_remote


@dataclass(frozen=True)
class PartResult:
    """What a run of one part gave.

    Attributes:
        source: the ImageFolder.
        out: the folder of the dataset.
        part: the number of the part, and how many there are.
        records: records of this part, `resumed_records` of which an earlier run had finished.
        images: images that this run looked at.
        rejected: files of this part that were not converted, in all its runs.
        seconds: wall time of this run.
        waiting_for: the parts that have not finished; empty when they can be merged, and None for a
            store, which is not asked.
        notes: sentences about what the user should know.
    """

    source: Path
    out: Path
    part: tuple[int, int]
    records: int
    resumed_records: int
    images: int
    rejected: int
    seconds: float
    waiting_for: tuple[int, ...] | None
    notes: tuple[str, ...]


def convert_part(
    config: ConvertConfig,
    part: Part,
    on_progress: OnProgress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> PartResult:
    """Convert one part of an ImageFolder's records, or go on with it.

    A part that is done, or whose dataset was merged already, is left as it is.

    Raises as `dl2cli.pcr.convert.convert` does.
    """
    check_options(config)
    start = time.perf_counter()
    folder = discover(config.source, config.classes)
    if on_note is not None:
        for note in folder.warnings:
            on_note(note)
    records = [
        (record, files)
        for record, files in split_records(config, record_order(config, folder))
        if part.has(record)
    ]
    place = working_folder(config.out)
    with (
        storage_errors(config.out, force=config.force),
        locked(place, shared=True),
        _part_lock(place, part),
    ):
        properties = output_properties(config, folder)
        waiting: tuple[int, ...] | None = None if place != config.out else ()
        if _is_merged(config, properties) or _is_sent(config, part, properties):
            run, rejected = RunCounts(resumed_records=len(records)), 0
        else:
            _prepare(config, part, folder, properties)
            run, rejected = _run(config, part, folder, records, on_progress or (lambda _: None))
            if isinstance(config.out, StorePath):
                send_part(config.out, part)
            else:
                waiting = _waiting_for(config.out, part)
    return PartResult(
        source=config.source,
        out=config.out,
        part=(part.number, part.count),
        records=len(records),
        resumed_records=run.resumed_records,
        images=run.converted_images,
        rejected=rejected,
        seconds=time.perf_counter() - start,
        waiting_for=waiting,
        notes=folder.warnings,
    )


def _run(
    config: ConvertConfig,
    part: Part,
    folder: ImageFolder,
    records: list[tuple[int, list[ImageFile]]],
    tell: OnProgress,
) -> tuple[RunCounts, int]:
    """Convert the records that the part's index lacks; returns what was done, and its rejects."""
    place = working_folder(config.out)
    with open_database(place / f"{part.stem}.db", write=True) as database:
        done = index.read_progress(database)
        run = RunCounts(resumed_records=len(done))
        pipeline = Pipeline(
            config,
            tell,
            images=sum(len(files) for _, files in records),
            resumed_images=sum(len(files) for record, files in records if record in done),
            attempt=attempt_name(),
        )
        missing = (each for each in records if each[0] not in done)
        with contextlib.closing(pipeline.run(missing)) as rows:
            for each in rows:
                index.add_record(database.connection, each)
                run.converted_images += each.images
        index.replace_ignored(database.connection, folder.ignored)
        with database.connection as connection:
            index.write_properties(connection, {"complete": True})
        rejected = sum(1 for _ in index.read_rejected(database))
    return run, rejected


def attempt_name() -> str:
    """Return 16 hexadecimal digits that no other process has (`Pipeline.attempt`)."""
    return secrets.token_hex(8)


@contextlib.contextmanager
def _part_lock(out: Path, part: Part) -> Iterator[None]:
    descriptor = os.open(
        out / f"{part.stem}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666
    )
    try:
        # Where the file system has no locks, two runs of one part still write the same bytes.
        try_lock(descriptor)
        yield
    except BlockingIOError:
        raise UsageError(f"Another process is converting part {part} of {out}.") from None
    finally:
        os.close(descriptor)


def _is_merged(config: ConvertConfig, properties: dict[str, Any]) -> bool:
    """Tell whether OUT holds the finished dataset. Raises UsageError for any other index."""
    if is_remote(config.out):
        return is_published(config, properties)
    if not (config.out / index.INDEX).exists():
        return False
    with open_database(config.out / index.INDEX) as database:
        stored = index.read_properties(database) if database.has_table("dataset") else {}
    if stored.get("complete") is True and not config.force:
        check_same_options(config, stored, properties, complete=True)
        return True
    raise UsageError(
        f"{config.out} holds a conversion that was not made in parts; choose another folder, or "
        "go on with it without --part."
    )


def _is_sent(config: ConvertConfig, part: Part, properties: dict[str, Any]) -> bool:
    return is_remote(config.out) and is_sent(config, part, properties)


def _prepare(
    config: ConvertConfig, part: Part, folder: ImageFolder, properties: dict[str, Any]
) -> None:
    """Make the part's index ready; the files of other parts are never touched."""
    place = working_folder(config.out)
    ours = [name for name in list_ours(place) if _belongs_to(name, part)]
    working = place / f"{part.stem}.db"
    if config.force:
        remove_files(place, [name for name in ours if not name.endswith(".lock")])
    else:
        remove_files(place, [name for name in ours if is_temporary(name)])
    if not working.exists():
        about = {"part": part.number, "parts": part.count, "source": os.fspath(config.source)}
        index.create_working(working, {**properties, **about}, folder.classes)
        return
    with open_database(working, write=True) as database:
        stored = index.read_properties(database)
        complete = stored.get("complete") is True
        check_same_options(config, stored, properties, complete=complete)
        if not config.resume and not complete:
            raise UsageError(
                f"{config.out} holds an unfinished part {part}; --resume goes on with it, "
                "--force starts anew."
            )
        lost = lost_records(config.out, database)
        forget_records(database.connection, lost)
        with database.connection as connection:
            index.write_properties(connection, {"complete": False})


def _belongs_to(name: str, part: Part) -> bool:
    """Tell whether a file in OUT is this part's: its index, or one of its records."""
    if name.startswith(f"{part.stem}."):
        return True
    match = re.match(r"PCR_(\d+)\.db", name)
    return match is not None and part.has(int(match[1]))


def _waiting_for(out: Path, part: Part) -> tuple[int, ...]:
    """Return the numbers of the parts that are not done, as far as their indexes say."""
    finished = {each.number for each in parts_in(out) if each.count == part.count}
    for each in parts_in(out):
        # Another process may be writing to it.
        with contextlib.suppress(DataError), open_database(out / f"{each.stem}.db") as database:
            if index.read_properties(database).get("complete") is not True:
                finished.discard(each.number)
    return tuple(number for number in range(1, part.count + 1) if number not in finished)
