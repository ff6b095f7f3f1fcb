"""The reader of the CSV that `dl2 analyze-images` writes: a histogram of JPEG qualities."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dl2cli.errors import DataError
from dl2cli.report.model import LogNote, QualityList, Severity
from dl2cli.report.read.text_file import iter_lines


def is_quality_list(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is a list of images with their qualities."""
    columns = head.split(b"\n", 1)[0].strip().split(b",")
    return columns[:1] == [b"file"] and b"quality" in columns


def quality_list(path: Path, file: str) -> QualityList:
    """Count the qualities; only the histogram is kept, whatever the number of images.

    Raises:
        DataError: the file cannot be read, or is not a CSV file.
    """
    rows = csv.reader(line.decode(errors="replace") for line in _whole(path))
    counts: Counter[int] = Counter()
    bad = 0
    try:
        column = next(rows).index("quality")
        for row in rows:
            quality = row[column].strip() if column < len(row) else ""
            if quality.isdecimal() and int(quality[:4]) <= 100:
                counts[int(quality)] += 1
            elif row and quality:
                bad += 1
    except csv.Error as error:
        raise DataError(f"{path} is not valid CSV: {error}.") from None
    notes: tuple[LogNote, ...] = ()
    if bad:
        text = f"Qualities that are not numbers from 0 to 100: {bad}."
        notes = (LogNote(Severity.ERROR, "damaged", text, file),)
    return QualityList(file, dict(sorted(counts.items())), notes)


def _whole(path: Path) -> Iterator[bytes]:
    for line in iter_lines(path):
        yield line.replace(b"\0", b"")
