"""A conversion whose result goes to a store: each record is put there as soon as it is made.

Records are written on this machine first, a few at a time, and removed when the store has them. The
working index stays in the user's cache folder (`working_folder`) until the dataset is complete; it
is put last, so that a reader finds a complete dataset or none. The same command goes on behind the
records that the store has.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from dl2cli.errors import StorageError, UsageError
from dl2cli.pcr import index
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.database import open_database
from dl2cli.pcr.dataset import Dataset
from dl2cli.pcr.dataset_files import local_file
from dl2cli.pcr.index import RecordRows
from dl2cli.stores.fetch import cancel_until_done, side_by_side
from dl2cli.stores.path import StorePath
from dl2cli.stores.reader import StoreReader
from dl2cli.stores.writer import StoreWriter

_PUTS: Final = 4  # records on their way at a time: a connection gives some 100 MB/s
_T = TypeVar("_T")


def sent(
    made: Generator[RecordRows, None, None], folder: Path, target: StorePath
) -> Generator[RecordRows, None, None]:
    """Put each record into a store, and yield its rows when it is there, in the same order.

    Args:
        made: the rows of records whose files are in `folder`; they are removed there.
        folder: a folder on this machine.
        target: where the dataset goes.

    Raises StorageError: the store or the disk failed.
    """
    writer = StoreWriter(target)

    def send(rows: RecordRows) -> RecordRows:
        if rows.record_row is not None:
            put_file(writer, folder / rows.record_row[1])
            (folder / rows.record_row[1]).unlink(missing_ok=True)
        return rows

    waiting: deque[Future[RecordRows]] = deque()
    with contextlib.closing(made), ThreadPoolExecutor(_PUTS) as pool:
        try:
            for rows in made:
                waiting.append(pool.submit(send, rows))
                while waiting and (len(waiting) > _PUTS or waiting[0].done()):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            cancel_until_done(waiting, writer.cancel)
            raise


def put_file(writer: StoreWriter, file: Path) -> None:
    """Put a file into a store under its name. Raises StorageError."""
    try:
        writer.write(file.name, [file.read_bytes()])
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"{writer.prefix / file.name} cannot be written: {reason}.") from error


def publish(folder: Path, target: StorePath) -> None:
    """Put a complete index into the store, provenance first, and remove the folder it was in."""
    writer = StoreWriter(target)
    for name in (index.SOURCES, index.INDEX):
        put_file(writer, folder / name)
    shutil.rmtree(folder, ignore_errors=True)


def is_published(config: ConvertConfig, properties: dict[str, Any]) -> bool:
    """Tell whether OUT is in a store and holds the finished result of this conversion.

    Raises UsageError: another dataset is there, which readers may be reading.
    """
    if not isinstance(config.out, StorePath):
        return False
    file = local_file(config.out / index.INDEX, None)
    if file is None:
        return False
    with open_database(file) as database:
        stored = index.read_properties(database) if database.has_table("dataset") else {}
    if config.force or any(stored.get(key) != properties[key] for key in properties):
        raise UsageError(
            f"There is a finished dataset at {config.out}, which its readers need as it is: choose "
            "another place, or remove it first."
        )
    return True


def moved(dataset: Dataset, place: Path) -> Dataset:
    """Return a dataset whose records are elsewhere than its index."""
    if place == dataset.path:
        return dataset
    return Dataset(place, dataset.records, dataset.classes, dataset.properties)


def of_each_record(dataset: Dataset, read: Callable[[int], _T]) -> list[_T]:
    """Call `read` with the number of each record; side by side where each takes a request."""
    numbers = range(len(dataset.records))
    if not isinstance(dataset.place, StoreReader):
        return [read(number) for number in numbers]
    return side_by_side([partial(read, number) for number in numbers], dataset.place.cancel)
