"""Parts of a conversion that goes to a store: their indexes meet there until they are merged.

    PCR_part_3_of_8.db    the index of a part that is done
    PCR_parts.json        how many parts there are: nothing in a store is listed

Records go to the store as they are made, and a part's index is put there behind its last record.
Until then it is in the cache folder of the part's machine, where the same command goes on with it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Final

from dl2cli.cluster.part import Part
from dl2cli.errors import DataError
from dl2cli.pcr import index
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.database import open_database
from dl2cli.pcr.dataset_files import local_file
from dl2cli.pcr.output_folder import check_same_options, working_folder
from dl2cli.pcr.transfer.to_store import put_file
from dl2cli.stores.path import StorePath
from dl2cli.stores.writer import StoreWriter

COUNT: Final = "PCR_parts.json"


def send_part(out: StorePath, part: Part) -> None:
    """Put the index of a part that is done into the store, and remove it here."""
    folder = working_folder(out)
    writer = StoreWriter(out)
    note = folder / COUNT
    note.write_text(json.dumps({"parts": part.count}) + "\n", "utf-8")
    for file in (folder / f"{part.stem}.db", note):
        put_file(writer, file)
        file.unlink(missing_ok=True)


def is_sent(config: ConvertConfig, part: Part, properties: dict[str, Any]) -> bool:
    """Tell whether a part is done and its index in the store. Raises UsageError as `prepare`."""
    if config.force:
        return False
    file = local_file(config.out / f"{part.stem}.db", None)
    if file is None:
        return False
    with open_database(file) as database:
        check_same_options(config, index.read_properties(database), properties, complete=True)
    return True


def fetch_parts(out: StorePath) -> Path:
    """Fetch the indexes of the parts that are done, and return the folder where they are then."""
    folder = working_folder(out)
    file = local_file(out / COUNT, None)
    if file is None:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    try:
        count = Part(1, json.loads(file.read_text("utf-8"))["parts"]).count
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{out / COUNT} does not say how many parts there are.") from error
    for number in range(1, count + 1):
        name = f"{Part(number, count).stem}.db"
        copy = local_file(out / name, None)
        if copy is not None:
            shutil.copyfile(copy, folder / name)
    return folder


def remove_parts(out: StorePath, parts: tuple[Part, ...]) -> str | None:
    """Remove what only the parts needed; says so where that is not allowed."""
    writer = StoreWriter(out)
    try:
        for name in (COUNT, *(f"{part.stem}.db" for part in parts)):
            writer.remove(name)
    except OSError as error:
        return f"The parts' indexes are left in {out}, where nobody reads them: {error.strerror}."
    return None
