"""Decode what libjpeg cannot transcode with its own library, and encode it once, as 4:4:4 JPEG."""

from __future__ import annotations

import io
import os
from typing import Final, NamedTuple

from PIL import Image

from dl2cli.dataset.metadata import encoded_exif, fits_mode, orientation_alone
from dl2cli.dataset.pixels import (
    JPEG_START,
    read_image,
    read_rare_jpeg,
    to_eight_bits,
)
from dl2cli.dataset.resize import fitted
from dl2cli.errors import DataError
from dl2cli_native import _core

MAX_JPEG_SIDE: Final = 65_500  # libjpeg's limit, in pixels


class Reencoded(NamedTuple):
    """A file as JPEG, the name of what it held ("PNG"), and what was left out, if anything."""

    jpeg: bytes
    kind: str
    remark: str


def reencode(
    path: str,
    quality: int,
    limits: _core.Limits,
    *,
    keep_exif: bool,
    max_side: int | None = None,
) -> Reencoded:
    """Decode a file that is not an ordinary JPEG, and encode it at `quality`, 4:4:4.

    The first frame is taken, transparency is dropped as `convert("RGB")` drops it, and
    `to_eight_bits` scales samples of more bits. The EXIF orientation is always kept, and the rest
    of EXIF only with `keep_exif`; the remark names what could not be kept. A colour profile is
    carried over if it describes the colours of the result. Images that are larger than `max_side`
    are scaled down to it.

    Memory: an RGBA image of 100 megapixels (the default limit) takes 0.9 GB, since Pillow holds it
    twice at 4 bytes a pixel while it drops the transparency. Each worker may hold one.

    Raises:
        DataError: the file cannot be read, and why.
        OSError, MemoryError: the system could not read it.
    """
    # The file is read whole first, so that any later failure is about its content, not the disk.
    content = _core.read_file(os.fsencode(path), limits.max_bytes)
    if content.startswith(JPEG_START):
        return _reencode_rare_jpeg(content, quality, limits, keep_exif, max_side)
    with read_image(content, limits) as image:
        if max_side is None:
            _check_side(image.size)
        exif, remark = encoded_exif(image, keep_exif=keep_exif)
        profile = image.info.get("icc_profile")
        kind = str(image.format)
        pixels = fitted(to_eight_bits(image), max_side)
    _check_side(pixels.size)
    return Reencoded(_encode(pixels, quality, exif, profile), kind, remark)


def _check_side(size: tuple[int, int]) -> None:
    width, height = size
    if max(size) > MAX_JPEG_SIDE or min(size) < 1:
        raise DataError(f"{width} x {height} pixels; JPEG holds 1 to {MAX_JPEG_SIDE} a side")


def _encode(pixels: Image.Image, quality: int, exif: bytes, icc_profile: bytes | None) -> bytes:
    if icc_profile is not None and not fits_mode(icc_profile, pixels.mode):
        icc_profile = None
    out = io.BytesIO()
    pixels.save(out, "JPEG", quality=quality, subsampling=0, exif=exif, icc_profile=icc_profile)
    return out.getvalue()


def _reencode_rare_jpeg(
    jpeg: bytes, quality: int, limits: _core.Limits, keep_exif: bool, max_side: int | None
) -> Reencoded:
    """Decode a 12-bit or lossless JPEG through imagecodecs."""
    rare = read_rare_jpeg(jpeg, limits)
    begin, end = rare.header.exif_span
    exif = jpeg[begin:end] if keep_exif else orientation_alone(rare.header.orientation)
    profile = _core.read_icc_profile(jpeg) or None
    return Reencoded(_encode(fitted(rare.pixels, max_side), quality, exif, profile), rare.kind, "")


def name_of_frame(frame: int) -> str:
    """Return the name of a kind of JPEG, by the low nibble of its SOF marker."""
    names = {
        0: "baseline JPEG",
        1: "extended JPEG",
        2: "progressive JPEG",
        9: "arithmetic JPEG",
        10: "arithmetic progressive JPEG",
    }
    return names.get(frame, "JPEG")
