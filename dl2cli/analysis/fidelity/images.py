"""Measure what an image loses at each number of scan groups, and as a lossy JPEG or WebP."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dl2cli.analysis.fidelity.metrics import MS_SSIM_WEIGHTS, Pixels, scales_for
from dl2cli.analysis.fidelity.points import (
    decode_prefix,
    is_measurable,
    measure_scans,
    point_of,
)
from dl2cli.analysis.sources import Item, Reader
from dl2cli.analysis.table.rows import Note, Point
from dl2cli.errors import UsageError
from dl2cli.text import suggestion

DEFAULT_COMPARISONS = ("jpeg:50", "jpeg:75", "jpeg:90")
_FORMATS = ("jpeg", "webp")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A lossy format at a quality, with which the scan groups are compared."""

    format: str
    quality: int

    @property
    def setting(self) -> str:
        """As `jpeg:75`."""
        return f"{self.format}:{self.quality}"


def parse_comparisons(texts: list[str]) -> tuple[Comparison, ...]:
    """Read comparisons such as `jpeg:50,75` and `webp:80`; `none` asks for no comparison.

    Raises:
        UsageError: The format or a quality is not known.
    """
    found: list[Comparison] = []
    name = ""
    for part in (part for text in texts for part in text.lower().split(",")):
        before, colon, after = part.strip().rpartition(":")
        name = before if colon else name
        if part.strip() == "none":
            continue
        if name not in _FORMATS or not after.isdecimal() or not 1 <= int(after) <= 100:
            raise UsageError(
                f"A comparison must be {' or '.join(_FORMATS)} with qualities of 1 to 100, as in "
                f"jpeg:50,75, not {part.strip()!r}.{suggestion(name, _FORMATS)}"
            )
        found.append(Comparison(name, int(after)))
    return tuple(dict.fromkeys(found))


def measure(
    item: Item, reader: Reader, comparisons: tuple[Comparison, ...]
) -> tuple[tuple[Point, ...], tuple[Note, ...]]:
    """Return an image's points, k1 to kG and then the comparisons, and what is odd about it.

    The reference is the image with all scan groups, which has the pixels of the source. An image
    for which SSIM is not defined has a note and no points.

    Raises:
        DataError: The image is damaged.
        UnsupportedImage: It is a JPEG that is not transcoded.
        OSError: It cannot be read.
    """
    limits = reader.limits(item)
    prefixes = reader.prefixes(item)
    reference = decode_prefix(prefixes[-1], limits)
    if not is_measurable(reference):
        return (), (Note.NO_FIDELITY if reference.shape[2] == 4 else Note.TINY,)
    points = measure_scans(prefixes, reference, limits)
    for comparison in comparisons:
        lossy = encode(reference, comparison)
        with Image.open(io.BytesIO(lossy)) as image:
            pixels = np.asarray(image.convert("L" if reference.shape[2] == 1 else "RGB"))
        points.append(
            point_of(comparison.setting, len(lossy), pixels.reshape(reference.shape), reference)
        )
    small = scales_for(*reference.shape[:2]) < len(MS_SSIM_WEIGHTS)
    return tuple(points), (Note.SMALL,) if small else ()


def encode(pixels: Pixels, comparison: Comparison) -> bytes:
    """Encode as a careful user would: a progressive JPEG with fitted tables, or WebP."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    out = io.BytesIO()
    if comparison.format == "jpeg":
        image.save(out, "JPEG", quality=comparison.quality, progressive=True, optimize=True)
    else:
        image.save(out, "WEBP", quality=comparison.quality)
    return out.getvalue()
