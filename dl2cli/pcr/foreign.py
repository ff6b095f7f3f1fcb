"""Decode what libjpeg cannot transcode with its own library, and encode it once, as 4:4:4 JPEG."""

from __future__ import annotations

import io
import os
from typing import Final, NamedTuple

from PIL import Image

from dl2cli.dataset.pixels import (
    JPEG_START,
    pillow_limits,
    read_image,
    read_rare_jpeg,
    to_eight_bits,
)
from dl2cli.errors import DataError
from dl2cli_native import _core

__all__ = ["Reencoded", "name_of_frame", "pillow_limits", "reencode"]

MAX_JPEG_SIDE: Final = 65_500  # libjpeg's limit, in pixels
MAX_EXIF_BYTES: Final = 65_533  # of a marker segment
_ORIENTATION: Final = 0x0112
# Tags of a TIFF that say where its pixels are, or hold a file of another kind (XMP, IPTC,
# Photoshop, ICC). They can be most of its bytes, and mean nothing in a JPEG's EXIF.
_NOT_EXIF: Final = (273, 279, 324, 325, 347, 700, 33723, 34377, 34675, 37724)
_EXIF_IFD: Final = 0x8769
_LARGE_TAGS: Final = (0x927C, 0x9286)  # MakerNote, UserComment: what makes EXIF large
_PROFILE_SPACES: Final = {"L": b"GRAY", "RGB": b"RGB "}  # ICC.1:2022, section 7.2.6


class Reencoded(NamedTuple):
    """A file as JPEG, the name of what it held ("PNG"), and what was left out, if anything."""

    jpeg: bytes
    kind: str
    remark: str


def reencode(path: str, quality: int, limits: _core.Limits, *, keep_exif: bool) -> Reencoded:
    """Decode a file that is not an ordinary JPEG, and encode it at `quality`, 4:4:4.

    The first frame is taken, transparency is dropped as `convert("RGB")` drops it, and
    `to_eight_bits` scales samples of more bits. The EXIF orientation is always kept, and the rest
    of EXIF only with `keep_exif`; the remark names what could not be kept. A colour profile is
    carried over if it describes the colours of the result.

    Memory: an RGBA image of 100 megapixels (the default limit) takes 0.9 GB, since Pillow holds it
    twice at 4 bytes a pixel while it drops the transparency. Each worker may hold one.

    Raises:
        DataError: the file cannot be read, and why.
        OSError, MemoryError: the system could not read it.
    """
    # The file is read whole first, so that any later failure is about its content, not the disk.
    content = _core.read_file(os.fsencode(path), limits.max_bytes)
    if content.startswith(JPEG_START):
        return _reencode_rare_jpeg(content, quality, limits, keep_exif=keep_exif)
    with read_image(content, limits) as image:
        _check_side(image.size)
        exif, remark = _encoded_exif(image, keep_exif=keep_exif)
        profile = image.info.get("icc_profile")
        kind = str(image.format)
        pixels = to_eight_bits(image)
    return Reencoded(_encode(pixels, quality, exif, profile), kind, remark)


def _check_side(size: tuple[int, int]) -> None:
    width, height = size
    if max(size) > MAX_JPEG_SIDE or min(size) < 1:
        raise DataError(f"{width} x {height} pixels; JPEG holds 1 to {MAX_JPEG_SIDE} a side")


def _encoded_exif(image: Image.Image, *, keep_exif: bool) -> tuple[bytes, str]:
    """Return the EXIF to write, or only its orientation, and a remark on what could not be kept.

    What is wrong with EXIF raises any exception, and costs no pixels.
    """
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:
        return b"", "EXIF left out: it is damaged" if keep_exif else ""
    alone = _orientation_alone(orientation)
    if not keep_exif:
        return alone, ""
    try:
        for tag in _NOT_EXIF:
            exif.pop(tag, None)
        whole = exif.tobytes()
        if len(whole) <= MAX_EXIF_BYTES:
            return whole, ""
        for tag in _LARGE_TAGS:
            exif.pop(tag, None)
            exif.get_ifd(_EXIF_IFD).pop(tag, None)
        smaller = exif.tobytes()
    except MemoryError:
        raise
    except Exception:
        return alone, "only EXIF's orientation kept: the rest cannot be written again"
    size = f"{len(whole)} bytes, and JPEG holds {MAX_EXIF_BYTES}"
    if len(smaller) <= MAX_EXIF_BYTES:
        return smaller, f"MakerNote and UserComment left out of EXIF: {size}"
    return alone, f"only EXIF's orientation kept: {size}"


def _orientation_alone(orientation: object) -> bytes:
    exif = Image.Exif()
    # Some files hold a fraction. Comparing with numbers also rules out texts and NaN.
    if orientation in range(2, 9):
        exif[_ORIENTATION] = int(orientation)  # type: ignore[call-overload]
    return exif.tobytes()


def _encode(pixels: Image.Image, quality: int, exif: bytes, icc_profile: bytes | None) -> bytes:
    if icc_profile is not None and not _fits(icc_profile, pixels.mode):
        icc_profile = None
    out = io.BytesIO()
    pixels.save(out, "JPEG", quality=quality, subsampling=0, exif=exif, icc_profile=icc_profile)
    return out.getvalue()


def _fits(icc_profile: bytes, mode: str) -> bool:
    """Tell whether a profile can describe the pixels; a CMYK profile cannot where they are RGB."""
    known = icc_profile[36:40] == b"acsp"
    return not known or icc_profile[16:20] == _PROFILE_SPACES[mode]


def _reencode_rare_jpeg(
    jpeg: bytes, quality: int, limits: _core.Limits, *, keep_exif: bool
) -> Reencoded:
    """Decode a 12-bit or lossless JPEG through imagecodecs."""
    rare = read_rare_jpeg(jpeg, limits)
    begin, end = rare.header.exif_span
    exif = jpeg[begin:end] if keep_exif else _orientation_alone(rare.header.orientation)
    profile = _core.read_icc_profile(jpeg) or None
    return Reencoded(_encode(rare.pixels, quality, exif, profile), rare.kind, "")


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
