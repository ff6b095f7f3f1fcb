"""The row of one image, and its form in a table and in JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Analysis(Enum):
    """What can be asked of each image."""

    QUALITY = "quality"
    SIZE = "size"
    STATS = "stats"
    JPEG = "jpeg"
    FIDELITY = "fidelity"


CHEAP = frozenset(Analysis) - {Analysis.FIDELITY}


class Note(Enum):
    """Something odd about an image that does not count as damage."""

    ENDING = "the name's ending does not fit the content"
    NO_QUALITY = "quantisation tables that match no IJG quality (reported as 92)"
    ROTATED = "EXIF orientation other than upright"
    BAD_EXIF = "EXIF data that cannot be read"
    ICC = "an ICC colour profile"
    CMYK = "CMYK colours"
    ARITHMETIC = "arithmetic coding, which few decoders read"
    OWN_TABLES = "quantisation tables other than the IJG's"
    NO_END = "no end marker"
    TRAILING = "bytes after the end marker"
    LARGE = "more than --max-pixels, or than 256 MiB: not decoded"
    UNSUPPORTED = "samples of unknown range, or a package is missing: not decoded"
    RARE_JPEG = "a lossless JPEG, or one of more than 8 bits a sample"
    NO_FIDELITY = "CMYK, or not a JPEG that can be transcoded: fidelity was not measured"
    TINY = "a side under 11 pixels: fidelity was not measured"
    SMALL = "a side under 161 pixels: MS-SSIM uses fewer than five scales"


@dataclass(frozen=True, slots=True)
class Point:
    """An image at one setting: what it costs, and how similar it is to the whole image.

    `setting` is `k1`, `k2`, ... for scan groups, else as `jpeg:75`. `psnr_db` is None for equal
    pixels, whose PSNR is infinite.
    """

    setting: str
    size_bytes: int
    psnr_db: float | None
    ssim: float
    ms_ssim: float


@dataclass(frozen=True, slots=True)
class ImageRow:
    """One image. A field that was not asked for, or does not apply, is None."""

    file: str  # split/class/name
    class_name: str = ""
    size: int | None = None  # bytes
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    quality: int | None = None
    mean: tuple[float, ...] | None = None  # of each band, 0 to 255
    std: tuple[float, ...] | None = None
    format: str | None = None  # by content
    subsampling: str | None = None
    progressive: bool | None = None
    scans: int | None = None
    orientation: int | None = None  # EXIF, 1 to 8
    icc: bool | None = None
    tables: str | None = None  # fingerprint of the quantisation tables
    fidelity: tuple[Point, ...] | None = None
    notes: tuple[Note, ...] = ()
    error: str | None = None
    mtime_ns: int | None = None  # of the file, to know on a resume whether it changed


_FIELDS = tuple(field.name for field in dataclasses.fields(ImageRow))


def row_to_line(row: ImageRow) -> str:
    """Return the row as a line of JSON (ASCII), without fields that are None or empty."""
    values = ((name, getattr(row, name)) for name in _FIELDS)
    document = {name: value for name, value in values if value not in (None, "", ())}
    if row.notes:
        document["notes"] = [note.name for note in row.notes]
    if row.fidelity:
        document["fidelity"] = [dataclasses.astuple(point) for point in row.fidelity]
    return json.dumps(document)


def row_from_line(line: str) -> ImageRow:
    """Undo `row_to_line`. Raises KeyError, TypeError or ValueError for other lines."""
    fields = json.loads(line)
    for name in ("mean", "std"):
        if name in fields:
            fields[name] = tuple(fields[name])
    if "notes" in fields:
        fields["notes"] = tuple(Note[name] for name in fields["notes"])
    if "fidelity" in fields:
        fields["fidelity"] = tuple(Point(*values) for values in fields["fidelity"])
    return ImageRow(**fields)


_COLUMNS: tuple[tuple[str, type, frozenset[Analysis]], ...] = (
    # The first ten are the columns of the (DL)2 program's table, in its order.
    ("file", str, frozenset(Analysis)),
    ("quality", int, frozenset({Analysis.QUALITY})),
    ("size", int, frozenset({Analysis.SIZE})),
    ("mode", str, frozenset({Analysis.SIZE, Analysis.STATS})),
    *(
        (f"{name}_{band}", float, frozenset({Analysis.STATS}))
        for name in ("mean", "std")
        for band in range(3)
    ),
    ("width", int, frozenset({Analysis.SIZE})),
    ("height", int, frozenset({Analysis.SIZE})),
    ("format", str, frozenset({Analysis.JPEG})),
    ("subsampling", str, frozenset({Analysis.JPEG})),
    ("progressive", bool, frozenset({Analysis.JPEG})),
    ("scans", int, frozenset({Analysis.JPEG})),
    ("orientation", int, frozenset({Analysis.JPEG})),
    ("icc", bool, frozenset({Analysis.JPEG})),
    ("tables", str, frozenset({Analysis.JPEG})),
)
_MEASURES = (("bytes", int), ("ms_ssim", float), ("ssim", float), ("psnr_db", float))


def columns(analyses: Iterable[Analysis], settings: Iterable[str]) -> dict[str, type]:
    """Return the columns of the table, in order, with the type of their values.

    Args:
        analyses: Those that were chosen.
        settings: The settings of a fidelity analysis; empty without one.
    """
    chosen = frozenset(analyses)
    found: dict[str, type] = {name: kind for name, kind, needs in _COLUMNS if needs & chosen}
    for setting in settings:
        found |= {f"{measure}_{_label(setting)}": kind for measure, kind in _MEASURES}
    return found | {"notes": str, "error": str}


def values_of_line(line: str) -> dict[str, object]:
    """Return the values of a line of `row_to_line` by the name of their column.

    Values that are None have no entry. The file's time has an entry, but is not a column.
    """
    values: dict[str, Any] = json.loads(line)
    for name in ("mean", "std"):
        for band, value in enumerate(values.pop(name, ())):
            values[f"{name}_{band}"] = value
    if "notes" in values:
        values["notes"] = "; ".join(Note[name].value for name in values["notes"])
    for setting, size_bytes, psnr_db, *alike in values.pop("fidelity", ()):
        measured = (size_bytes, *reversed(alike), math.inf if psnr_db is None else psnr_db)
        for (measure, _), value in zip(_MEASURES, measured, strict=True):
            values[f"{measure}_{_label(setting)}"] = value
    return values


def _label(setting: str) -> str:
    return setting.replace(":", "")
