"""The JPEG quality of an image, as ImageMagick estimates it from the quantisation tables.

A JPEG does not hold the quality that it was saved with. ImageMagick compares two numbers of its
tables, their sum and a sum of four of their entries, with the same two numbers of the IJG
software's tables for quality 1 to 100, and takes the first quality that is coarse enough. The
standard tables are in ITU-T T.81, annex K.1; `scaled_table` is how the IJG's software scales them.
"""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from dl2cli.errors import DataError, MissingDependency

# fmt: off
LUMINANCE = (
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
)
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
)
# fmt: on

UNKNOWN_QUALITY = 92
"""What ImageMagick reports (`%Q`) for tables that resemble none of the IJG's."""

_MEMORY_LIMIT_BYTES = 256 << 20
_SIDE_LIMIT = 65500
_HEAD_BYTES = 256 << 10


class Engine(Enum):
    """Who estimates the quality."""

    NATIVE = "native"  # this module, from the tables
    MAGICK = "magick"  # ImageMagick, through wand


def scaled_table(table: Sequence[int], quality: int) -> tuple[int, ...]:
    """Return a standard table as the IJG's software scales it for a quality of 1 to 100."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(max((step * percent + 50) // 100, 1), 255) for step in table)


def _key(tables: Mapping[int, Sequence[int]]) -> tuple[int, int]:
    """Return the two numbers that ImageMagick compares: four entries' sum, and the sum of all."""
    entries = tables[0][2] + tables[0][53]
    if 1 in tables:
        entries += tables[1][0] + tables[1][63]
    return entries, sum(map(sum, tables.values()))


def _standard(quality: int, *, colour: bool) -> dict[int, tuple[int, ...]]:
    tables = {0: scaled_table(LUMINANCE, quality)}
    return tables | {1: scaled_table(CHROMINANCE, quality)} if colour else tables


_KEYS = {
    colour: [_key(_standard(quality, colour=colour)) for quality in range(1, 101)]
    for colour in (False, True)
}


def estimate(tables: Mapping[int, Sequence[int]]) -> int | None:
    """Return ImageMagick's estimate of 1 to 100, or None where it has none (it reports 92 then).

    Args:
        tables: Quantisation tables by their index (0 to 3): 64 steps each, in row order.
    """
    return _estimate(*_key(tables), 1 in tables) if 0 in tables else None


@functools.lru_cache(maxsize=4096)
def _estimate(entries: int, total: int, colour: bool) -> int | None:
    for quality, (entries_q, total_q) in enumerate(_KEYS[colour], start=1):
        if entries < entries_q and total < total_q:
            continue
        # The first quality at which one of the numbers is reached. From 51 on that is enough.
        if (entries <= entries_q and total <= total_q) or quality > 50:
            return quality
        return None
    return None


def fingerprint(tables: Mapping[int, Sequence[int]]) -> str:
    """Return 12 hex digits that are the same for the same tables (a SHA-256, cut)."""
    return _fingerprint(tuple((index, tuple(tables[index])) for index in sorted(tables)))


@functools.lru_cache(maxsize=4096)
def _fingerprint(tables: tuple[tuple[int, tuple[int, ...]], ...]) -> str:
    return hashlib.sha256(repr(tables).encode()).hexdigest()[:12]


@functools.cache
def standard_fingerprints() -> frozenset[str]:
    """Return the fingerprints of the IJG's tables of all qualities, gray and colour."""
    return frozenset(
        fingerprint(_standard(quality, colour=colour))
        for quality in range(1, 101)
        for colour in (False, True)
    )


@functools.cache
def magick() -> Any:  # noqa: ANN401 - wand has no types
    """Return wand's Image class, with limits set on what ImageMagick may take.

    There is no time limit, because ImageMagick counts it from the start of the process and then
    ends the process.

    Raises:
        MissingDependency: wand, or ImageMagick's library, is not installed.
    """
    try:
        from wand.image import Image
        from wand.resource import limits
    except ImportError as error:
        raise MissingDependency("wand with ImageMagick's library", "analysis") from error
    limits["memory"] = limits["map"] = limits["area"] = _MEMORY_LIMIT_BYTES
    limits["disk"] = 0
    limits["width"] = limits["height"] = _SIDE_LIMIT
    limits["thread"] = 1
    return Image


def magick_quality(data: bytes) -> int | None:
    """Return ImageMagick's own estimate for a JPEG, from a `ping` that decodes no pixels.

    Args:
        data: A JPEG. ImageMagick is given the first 256 KiB, and only if its header is longer,
            all; other formats never reach it.

    Raises:
        DataError: ImageMagick does not take it for an image.
        MissingDependency: wand is not installed.
    """
    if data[:3] != b"\xff\xd8\xff":
        raise DataError("not a JPEG (no SOI marker)")
    quality, reason = _ping(data[:_HEAD_BYTES])
    if reason and len(data) > _HEAD_BYTES:
        quality, reason = _ping(data)
    if reason:
        raise DataError(reason)
    return quality or None


def _ping(data: bytes) -> tuple[int, str]:
    """Return the quality (0 for no estimate) and the reason if there is no image."""
    image_class = magick()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wand warns of damage that does not keep it from reading
        try:
            with image_class.ping(blob=data, format="jpeg") as image:
                width, quality = image.width, image.compression_quality
        except Exception as error:  # wand's errors share no useful base class
            return 0, f"ImageMagick: {str(error).split(' @ ')[0]}"
    return quality, "" if width else "ImageMagick finds no image"
