"""The reader of the CSV of `dl2 analyze-images`: qualities, and what the scan groups keep."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from dl2cli.errors import DataError
from dl2cli.report.model import FidelityPoint, LogNote, QualityList, Severity
from dl2cli.report.read.text_file import iter_lines
from dl2cli.text import clean_text


def is_quality_list(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is a list of images with their qualities."""
    columns = head.split(b"\n", 1)[0].strip().split(b",")
    return columns[:1] == [b"file"] and b"quality" in columns


def quality_list(path: Path, file: str) -> QualityList:
    """Count the qualities and sum up fidelity; no more is kept, whatever the number of images.

    Raises:
        DataError: the file cannot be read, or is not a CSV file.
    """
    rows = csv.reader(line.decode(errors="replace") for line in _whole(path))
    counts: Counter[int] = Counter()
    bad = 0
    try:
        header = next(rows)
        column, fidelity = header.index("quality"), _Fidelity(header)
        for row in rows:
            fidelity.add(row)
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
    return QualityList(file, dict(sorted(counts.items())), notes, fidelity.points())


class _Fidelity:
    """Sums of the columns `bytes_k1`, `ms_ssim_k1`, `psnr_db_k1`, ... by their setting."""

    def __init__(self, header: list[str]) -> None:
        self._header = header
        self._settings = [name[8:] for name in header if name.startswith("ms_ssim_")]
        self._sums: dict[str, list[tuple[float, float, float]]] = defaultdict(list)

    def add(self, row: list[str]) -> None:
        """Take an image, if it was measured."""
        if not self._settings:
            return
        values = dict(zip(self._header, row, strict=False))
        for setting in self._settings:
            names = ("bytes_", "ms_ssim_", "psnr_db_")
            found = [_number(values.get(name + setting)) for name in names]
            pixels = _number(values.get("width")) * _number(values.get("height"))
            size, alike, decibels = found
            if pixels > 0 and math.isfinite(size * alike):
                self._sums[setting].append((size * 8 / pixels, alike, decibels))

    def points(self) -> tuple[FidelityPoint, ...]:
        """Return the means."""
        return tuple(
            FidelityPoint(
                variant=_variant(setting),
                images=len(rows),
                bits_per_pixel=math.fsum(bits for bits, _, _ in rows) / len(rows),
                ms_ssim=math.fsum(alike for _, alike, _ in rows) / len(rows),
                psnr_db=_mean([decibels for _, _, decibels in rows if math.isfinite(decibels)]),
            )
            for setting, rows in self._sums.items()
        )


def _number(text: str | None) -> float:
    """Return a cell's number; NaN where there is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _variant(setting: str) -> str:
    match = re.fullmatch(r"(k|jpeg|webp)(\d{1,3})", setting)
    if match is None:
        return clean_text(setting, 40)
    return f"{'pcr' if match[1] == 'k' else match[1]}-{match[2]}"


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _whole(path: Path) -> Iterator[bytes]:
    for line in iter_lines(path):
        yield line.replace(b"\0", b"")
