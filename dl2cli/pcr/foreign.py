"""What libjpeg cannot transcode is decoded by its own library and encoded once, as 4:4:4 JPEG."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dl2cli.errors import DataError
from dl2cli_native import _core

# Only these decoders are tried: the others (PostScript, for one) run programs, or are no photos.
FORMATS: Final = ("PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM")
MAX_JPEG_SIDE: Final = 65_500  # libjpeg's limit, in pixels
MAX_EXIF_BYTES: Final = 65_533  # of a marker segment
_ORIENTATION: Final = 0x0112
# Tags of a TIFF that say where its pixels are, or hold a file of another kind (XMP, IPTC,
# Photoshop, ICC); they make up most of it, and mean nothing in a JPEG's EXIF.
_NOT_EXIF: Final = (273, 279, 324, 325, 347, 700, 33723, 34377, 34675, 37724)
_GRAY_MODES: Final = frozenset({"1", "L", "LA", "La"})
_JPEG_START: Final = b"\xff\xd8\xff"


@contextlib.contextmanager
def pillow_limits(limits: _core.Limits) -> Iterator[None]:
    """Have Pillow refuse only what we refuse, and not warn: what is odd is no damage.

    Both are settings of the whole process.
    """
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        Image.MAX_IMAGE_PIXELS = limits.max_pixels  # it refuses twice as many, before we can
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def reencode(
    path: str, quality: int, limits: _core.Limits, *, keep_exif: bool
) -> tuple[bytes, str]:
    """Decode a file that is no ordinary JPEG, and encode it at `quality`, 4:4:4.

    The first frame counts; transparency is dropped, as `convert("RGB")` does it; 16-bit samples are
    rounded to 8. The EXIF orientation is kept; the rest of EXIF only with `keep_exif`.

    Returns:
        The JPEG, and the name of what the file held ("PNG").

    Raises:
        DataError: the reason why it is no image that can be read.
        OSError, MemoryError: the system could not read it.
    """
    # Read whole, so that whatever fails later is about the content and not about the disk.
    content = _core.read_file(os.fsencode(path), limits.max_bytes)
    if content.startswith(_JPEG_START):
        return _reencode_rare_jpeg(content, quality, limits)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check_size(image.size, limits)
            image.load()
            pixels, exif = _to_eight_bits(image), _kept_exif(image, keep_exif=keep_exif)
            profile = image.info.get("icc_profile")
            return _encode(pixels, quality, exif, profile), str(image.format)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DataError("not an image that can be read (content decides, not the name)") from None
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        raise DataError(f"damaged image: {error}") from error
    except Image.DecompressionBombError as error:
        # Pillow looks at the size before we can, with a limit of its own.
        raise DataError(f"more pixels than the limit ({error})") from error
    except Exception as error:
        # Pillow's decoders answer damage with any exception (KeyError, struct.error, ...).
        raise DataError(f"damaged image: {error!r}") from error


def _check_size(size: tuple[int, int], limits: _core.Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise DataError(f"{width} x {height} pixels, more than the limit of {limits.max_pixels}")
    if max(size) > MAX_JPEG_SIDE or min(size) < 1:
        raise DataError(f"{width} x {height} pixels; JPEG holds 1 to {MAX_JPEG_SIDE} a side")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    if image.mode in _GRAY_MODES:
        return image.convert("L")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"}):
        return Image.fromarray(_scale(np.asarray(image).astype(np.int64), bits=16))
    if image.mode in {"I", "F"}:
        raise DataError(f"samples of mode {image.mode}, whose range is not known")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def _scale(samples: NDArray[np.int64], bits: int) -> NDArray[np.uint8]:
    """Scale samples of `bits` bits to 8, rounded; the full range maps onto the full range."""
    top = (1 << bits) - 1
    return ((np.clip(samples, 0, top) * 255 + top // 2) // top).astype(np.uint8)


def _kept_exif(image: Image.Image, *, keep_exif: bool) -> Image.Exif:
    """Return the EXIF of an image, or only its orientation."""
    exif = image.getexif()
    if not keep_exif:
        return _orientation_alone(exif.get(_ORIENTATION, 1))
    for tag in _NOT_EXIF:
        exif.pop(tag, None)
    return exif


def _orientation_alone(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    if orientation in range(2, 9):
        exif[_ORIENTATION] = int(orientation)  # some files hold a fraction
    return exif


def _encode(
    pixels: Image.Image, quality: int, exif: Image.Exif, icc_profile: bytes | None
) -> bytes:
    encoded = exif.tobytes()
    if len(encoded) > MAX_EXIF_BYTES:
        raise DataError(f"{len(encoded)} bytes of EXIF; JPEG holds {MAX_EXIF_BYTES}")
    out = io.BytesIO()
    pixels.save(out, "JPEG", quality=quality, subsampling=0, exif=encoded, icc_profile=icc_profile)
    return out.getvalue()


def _reencode_rare_jpeg(jpeg: bytes, quality: int, limits: _core.Limits) -> tuple[bytes, str]:
    """Decode a 12-bit or lossless JPEG through imagecodecs."""
    try:
        header = _core.read_jpeg_header(jpeg, limits)
    except _core.DataError as error:
        raise DataError(str(error)) from error
    kind = "lossless JPEG" if header.frame in {3, 11} else f"{header.precision}-bit JPEG"
    try:
        import imagecodecs
    except ImportError:
        raise DataError(f"{kind}: install the extra `formats` (imagecodecs) to read it") from None
    try:
        samples = np.asarray(imagecodecs.jpeg_decode(jpeg))
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"damaged {kind}: {error}") from error
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[:, :, 0]
    if samples.shape not in {(header.height, header.width), (header.height, header.width, 3)}:
        raise DataError(f"{kind}: neither gray nor colour, an array of shape {samples.shape}")
    pixels = Image.fromarray(_scale(samples.astype(np.int64), bits=header.precision))
    return _encode(pixels, quality, _orientation_alone(header.orientation), None), kind


def name_of_frame(frame: int) -> str:
    """Return what a JPEG's SOF marker (its low nibble) says of it."""
    names = {
        0: "baseline JPEG",
        1: "extended JPEG",
        2: "progressive JPEG",
        9: "arithmetic JPEG",
        10: "arithmetic progressive JPEG",
    }
    return names.get(frame, "JPEG")
