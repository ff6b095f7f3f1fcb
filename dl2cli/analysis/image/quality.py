"""Estimate the JPEG quality of an image: from its quantisation tables, or with ImageMagick."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from dl2cli.dataset.jpeg_quality import standard_tables
from dl2cli.errors import DataError, MissingDependency

UNKNOWN_QUALITY = 92
"""What ImageMagick reports (`%Q`) for tables that are unlike all of the IJG's."""

_MEMORY_LIMIT_BYTES = 256 << 20
_SIDE_LIMIT = 65500
_HEAD_BYTES = 256 << 10


class Engine(Enum):
    """Which program estimates the quality."""

    NATIVE = "native"  # this module, from the tables
    MAGICK = "magick"  # ImageMagick, through wand


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
        fingerprint(standard_tables(quality, colour=colour))
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
        raise MissingDependency("wand with ImageMagick's library", "imagemagick") from error
    limits["memory"] = limits["map"] = limits["area"] = _MEMORY_LIMIT_BYTES
    limits["disk"] = 0
    limits["width"] = limits["height"] = _SIDE_LIMIT
    limits["thread"] = 1
    return Image


def magick_quality(data: bytes) -> int | None:
    """Return ImageMagick's own estimate for a JPEG, from a `ping` that decodes no pixels.

    Args:
        data: A JPEG. ImageMagick gets the first 256 KiB, or all if the header is longer; other
            formats never reach it.

    Raises:
        DataError: ImageMagick finds no image in it.
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
