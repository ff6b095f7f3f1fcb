"""Reads the CSV of `dl2 analyze-images`: which files have which JPEG quality already."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from dl2cli.errors import DataError, UsageError


class Listed(NamedTuple):
    """What the list says of a file; `size` is None in lists without that column."""

    quality: int
    size: int | None


def read_quality_list(path: Path) -> dict[str, Listed]:
    """Return what a list says, by the path of a file in the source.

    A file whose quality is not known (it is not a JPEG, or is damaged) is left out.

    Raises:
        UsageError: the file does not exist, or cannot be read.
        DataError: the file is not such a list.
    """
    found: dict[str, Listed] = {}
    try:
        with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            rows = csv.DictReader(file)
            if not {"file", "quality"} <= set(rows.fieldnames or ()):
                raise DataError(
                    f"{path} is not a list of qualities: it needs the columns file and quality, as "
                    "dl2 analyze-images -o writes them."
                )
            for number, row in enumerate(rows, 2):
                quality, size = row["quality"] or "", row.get("size") or ""
                if not quality:
                    continue
                if not quality.isdecimal() or not 0 <= int(quality[:4]) <= 100:
                    raise DataError(
                        f"{path}, line {number}: the quality {quality[:20]!r} is not a number from "
                        "0 to 100."
                    )
                listed = Listed(int(quality), int(size) if size.isdecimal() else None)
                found[row["file"]] = listed
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except csv.Error as error:
        raise DataError(f"{path} is not a valid CSV file: {error}.") from None
    return found
