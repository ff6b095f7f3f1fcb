"""Decode any image file to 8-bit pixels, by one rule for everything that reads images.

`read_pixels` is that rule. `read_image` reads a PNG, TIFF, WebP, ... with Pillow; a fault in the
metadata of a file never costs its pixels. `to_eight_bits` then decides what the samples of an image
mean: it scales them by the range that the file states, and refuses them if it states none.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dl2cli.dataset.orientation import exif_orientation, turned
from dl2cli.dataset.png_chunks import PNG_START, without_metadata
from dl2cli.errors import DataError
from dl2cli_native import _core

# Only these decoders are tried: the others (PostScript, for one) run programs, or hold no photos.
FORMATS: Final = ("PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "JPEG2000")
# Formats that Pillow reads with a plug-in, or in some builds only: the module to import, and the
# package that brings it.
OPTIONAL_FORMATS: Final = {
    "AVIF": ("PIL.AvifImagePlugin", "Pillow 11.3 or later"),
    "HEIF": ("pillow_heif", "pillow-heif"),
    "JXL": ("pillow_jxl", "pillow-jxl-plugin"),
}

JPEG_START: Final = b"\xff\xd8\xff"
_ANY_SIZE: Final = 1 << 32  # pixels; more than a JPEG has
_GRAY_MODES: Final = frozenset({"1", "L", "LA", "La"})
# How files of each format begin, after so many bytes that may be anything.
_STARTS: Final = {
    "PNG": (0, (PNG_START,)),
    "TIFF": (0, (b"II*\0", b"MM\0*")),
    "WEBP": (8, (b"WEBP",)),
    "GIF": (0, (b"GIF8",)),
    "BMP": (0, (b"BM",)),
    "JPEG2000": (0, (b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  \r\n\x87\n")),
    "AVIF": (4, (b"ftypavif", b"ftypavis")),
    "HEIF": (4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
    "JXL": (0, (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
}
# TIFF 6.0, section 8: tags, and what they may say.
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANAR_CONFIGURATION, _SAMPLE_FORMAT = 258, 262, 284, 339
_WHITE_IS_ZERO, _SEPARATE, _SIGNED = 0, 2, 2


class OverLimit(DataError):  # noqa: N818 - the name says what is wrong
    """An image has more pixels than the limit; it may be sound."""


class UnsupportedImage(DataError):  # noqa: N818
    """An image seems sound, but its pixels cannot be read here.

    The range of its samples is not known, or a package that reads its format is not installed.
    """


class RareJpeg(NamedTuple):
    """A 12-bit or lossless JPEG: its pixels as "L" or "RGB", its kind, what its markers say."""

    pixels: Image.Image
    kind: str
    header: _core.JpegHeader


def decode_source(content: bytes, limits: _core.Limits, *, whole_file: bool = True) -> Image.Image:
    """Decode any image file to 8-bit pixels of mode "L", "RGB" or "CMYK".

    This is the one verdict about a file: an ordinary JPEG is damaged exactly if `dl2 convert`
    rejects it, since both ask the same native code, and so is any other file.

    Args:
        content: The whole file.
        limits: What it may promise. Call within `pillow_limits`, or Pillow's own limit applies.
        whole_file: Whether it is a source file, where nothing may be missing. An image of a PCR
            dataset may lack scan groups.

    Raises:
        DataError: The file is damaged; the message gives the reason.
        OverLimit, UnsupportedImage: The file cannot be read here, and may be sound.
        MemoryError: There is not enough memory, which says nothing about the file.
    """
    if not content.startswith(JPEG_START) or is_rare(_read_header(content, limits)):
        return read_pixels(content, limits)
    try:
        pixels = np.asarray(_core.decode([content], whole_file=whole_file, limits=limits))
    except _core.DataError as error:
        raise DataError(str(error)) from error
    if pixels.shape[2] == 4:  # as Adobe writes CMYK: inverted
        height, width, _ = pixels.shape
        return Image.frombytes("CMYK", (width, height), (255 - pixels).tobytes())
    return Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def read_pixels(
    content: bytes, limits: _core.Limits, *, apply_orientation: bool = False
) -> Image.Image:
    """Decode a file that is not an 8-bit JPEG to 8-bit gray ("L") or colour ("RGB").

    With `apply_orientation` it is turned as its EXIF orientation says. The other arguments and the
    errors are the same as in `decode_source`.
    """
    if content.startswith(JPEG_START):
        rare = read_rare_jpeg(content, limits)
        return turned(rare.pixels, rare.header.orientation) if apply_orientation else rare.pixels
    with read_image(content, limits) as image:
        if not apply_orientation:
            return to_eight_bits(image)
        orientation = exif_orientation(image)
        return turned(to_eight_bits(image), orientation)


def is_rare(header: _core.JpegHeader) -> bool:
    """Tell whether a JPEG is lossless or has more than 8 bits a sample: libjpeg cannot read it."""
    return header.lossless or header.precision != 8


def read_rare_jpeg(jpeg: bytes, limits: _core.Limits) -> RareJpeg:
    """Decode a 12-bit or lossless JPEG through imagecodecs. Raises as `decode_source`."""
    header = _read_header(jpeg, limits)
    kind = "lossless JPEG" if header.lossless else f"{header.precision}-bit JPEG"
    try:
        import imagecodecs
    except ImportError:
        raise UnsupportedImage(f"{kind}: install the extra `imagecodecs` to read it") from None
    try:
        samples = np.asarray(imagecodecs.jpeg_decode(jpeg))
    except MemoryError:
        raise
    except Exception as error:
        raise DataError(f"damaged {kind}: {error}") from error
    if samples.ndim == 3 and samples.shape[2] == 1:
        samples = samples[:, :, 0]
    if samples.shape[:2] != (header.height, header.width):
        raise DataError(f"damaged {kind}: it decodes to an array of shape {samples.shape}")
    if samples.shape[2:] not in {(), (3,)}:
        raise UnsupportedImage(f"{kind}: {samples.shape[2]} bands, neither gray nor colour")
    pixels = Image.fromarray(scale_to_eight_bits(samples, bits=header.precision))
    return RareJpeg(pixels, kind, header)


def _read_header(jpeg: bytes, limits: _core.Limits) -> _core.JpegHeader:
    """Read the header of a whole JPEG; one that is too large may still be sound."""
    try:
        header = _core.read_jpeg_header(jpeg, _core.Limits(max_pixels=_ANY_SIZE))
    except _core.DataError as error:
        raise DataError(str(error)) from error
    _check_limit(header.width, header.height, limits)
    return header


def _is_misread(image: Image.Image) -> bool:
    """Tell whether Pillow would take 16-bit samples in separate planes for 8-bit ones."""
    planes = _tiff_tag(image, _PLANAR_CONFIGURATION) == _SEPARATE
    raw = any(tile[0] == "raw" for tile in getattr(image, "tile", ()))
    return planes and raw and (_tiff_tag(image, _BITS_PER_SAMPLE) or 0) > 8


def _check_limit(width: int, height: int, limits: _core.Limits) -> None:
    if width * height > limits.max_pixels:
        raise OverLimit(f"{width} x {height} pixels, more than the limit of {limits.max_pixels}")


@functools.cache
def readable_formats() -> tuple[str, ...]:
    """Return the names of the formats that can be read, with or without a plug-in."""
    found = list(FORMATS)
    for name, (module, _) in OPTIONAL_FORMATS.items():
        with contextlib.suppress(ImportError):
            plugin = importlib.import_module(module)
            if name == "HEIF":
                plugin.register_heif_opener()
        if name in Image.OPEN:
            found.append(name)
    return tuple(found)


def read_image(content: bytes, limits: _core.Limits) -> Image.Image:
    """Decode the first frame of a file, in the mode that Pillow gives it.

    Memory: Pillow takes 4 bytes a pixel for RGB and RGBA, and twice that to convert one into the
    other, so an RGBA file of 100 megapixels takes 0.8 GB here.

    Args:
        content: The whole file.
        limits: What it may promise. Call within `pillow_limits`, or Pillow's own limit applies.

    Raises:
        DataError: The file cannot be read; the message gives the reason. Where it is an OverLimit
            or an UnsupportedImage, the file may be sound.
        MemoryError: There is not enough memory, which says nothing about the file.
    """
    formats = readable_formats()
    try:
        return _read_once(content, formats, limits)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        first: Exception = error
    except Image.DecompressionBombError as error:
        # Pillow looks at the size before we can, with a limit of its own.
        raise OverLimit(f"more pixels than the limit ({error})") from error
    except Exception as error:  # Pillow's decoders answer damage with any exception
        first = error
    for lighter in without_metadata(content):
        try:
            return _read_once(lighter, formats, limits)
        except MemoryError:
            raise
        except Exception:
            continue  # the first error tells more
    name = format_by_start(content)
    if name is not None and name not in formats:
        package = OPTIONAL_FORMATS[name][1]
        raise UnsupportedImage(f"a {name} image: install {package} to read it") from None
    raise DataError(_reason(first, name)) from first


def _read_once(content: bytes, formats: tuple[str, ...], limits: _core.Limits) -> Image.Image:
    image = Image.open(io.BytesIO(content), formats=formats)
    _check_limit(*image.size, limits)
    if _is_misread(image):
        raise UnsupportedImage("a TIFF of 16-bit samples in uncompressed planes")
    image.load()
    return image


def format_by_start(content: bytes) -> str | None:
    """Return the name of a format by the first bytes of a file, None for one that is not known."""
    for name, (offset, starts) in _STARTS.items():
        if content.startswith(starts, offset):
            return name
    return None


def _reason(error: Exception, name: str | None) -> str:
    if isinstance(error, UnidentifiedImageError):
        if name is None:
            return "not an image that can be read (content decides, not the name)"
        return f"a {name} of a kind that Pillow does not read, or damaged"
    if isinstance(error, (OSError, ValueError, SyntaxError, EOFError, OverflowError)):
        return f"damaged image: {error}"
    return f"damaged image: {error!r}"


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Return an image that was opened by Pillow as 8-bit gray ("L") or colour ("RGB").

    * 1-bit images, and gray with transparency, become gray; palettes, CMYK, YCbCr, Lab and HSV
      become RGB as Pillow converts them. Transparency is dropped without blending.
    * 16-bit gray is scaled from the bits that the file says it has to 8, rounded: 16 for PNG, PPM
      and JPEG 2000, and what `BitsPerSample` says for TIFF (12 or 16). A TIFF in which white is 0
      is inverted.
    * Refused, because nothing says which values are black and white: floating-point, 32-bit and
      signed samples.

    Call it on what `Image.open` gave, since copies forget the tags of a TIFF.

    Raises:
        UnsupportedImage: The range of the samples is not known.
    """
    bits = sample_bits(image)
    if bits > 8:
        return _from_sixteen_bits(image, bits)
    mode = image.mode
    if mode in _GRAY_MODES:
        return (image.convert("LA") if mode == "La" else image).convert("L")
    if mode == "PA" or (mode == "P" and "transparency" in image.info):
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def sample_bits(image: Image.Image) -> int:
    """Return how many bits the samples of an image have, by what its header says: 8, or 9 to 16.

    Raises:
        UnsupportedImage: The range of the samples is not known.
    """
    mode = image.mode
    if _tiff_tag(image, _SAMPLE_FORMAT) == _SIGNED:
        raise UnsupportedImage("signed samples, whose range is not known")
    if mode.startswith("I;16"):
        return _bits_of(image)
    if mode == "I" and image.format in {"PNG", "PPM"}:  # Pillow before 11.3 says so of 16 bits
        return 16
    if mode in {"I", "F"}:
        kind = "floating-point" if mode == "F" else "32-bit"
        raise UnsupportedImage(f"{kind} samples (mode {mode}), whose range is not known")
    return 8


def _from_sixteen_bits(image: Image.Image, bits: int) -> Image.Image:
    pixels = scale_to_eight_bits(np.asarray(image), bits)
    if _tiff_tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts up to 8 bits, not 16
        pixels = 255 - pixels
    return Image.fromarray(pixels)


def _bits_of(image: Image.Image) -> int:
    if image.format == "TIFF":
        bits = _tiff_tag(image, _BITS_PER_SAMPLE)
        return bits if bits is not None and 8 < bits <= 16 else 16
    if image.format in {"PNG", "PPM", "JPEG2000"}:
        return 16
    raise UnsupportedImage(f"16-bit samples of {image.format}, whose range is not known")


def _tiff_tag(image: Image.Image, tag: int) -> int | None:
    """Return the first number of a tag; None for other formats and for a missing tag."""
    tags = getattr(image, "tag_v2", None)
    if tags is None or image.format != "TIFF":
        return None
    value = tags.get(tag)
    if isinstance(value, tuple):
        value = value[0] if value else None
    return value if isinstance(value, int) else None


def scale_to_eight_bits(samples: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    """Scale integers of 0 to 2**bits - 1 (`bits` from 2 to 16) to 0 to 255, rounded, and clip."""
    table = _scaling_table(bits)
    scaled: NDArray[np.uint8] = table[np.clip(samples, 0, len(table) - 1)]
    return scaled


@functools.cache
def _scaling_table(bits: int) -> NDArray[np.uint8]:
    top = (1 << bits) - 1
    values = np.arange(top + 1, dtype=np.int64)
    return ((values * 255 + top // 2) // top).astype(np.uint8)
