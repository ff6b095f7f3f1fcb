"""What the samples of an image mean, by readers that are not ours: ImageMagick, imagecodecs."""

import io
import struct
import subprocess
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from dl2cli.dataset.pixels import (
    FORMATS,
    OPTIONAL_FORMATS,
    UnsupportedImage,
    read_image,
    readable_formats,
    to_eight_bits,
)
from dl2cli.errors import DataError
from dl2cli_native import _core

RAMP = np.arange(64 * 96, dtype=np.int64).reshape(64, 96)


def tiff(
    samples: np.ndarray,
    bits: int,
    *,
    photometric: int = 1,
    order: str = "<",
    sample_format: int = 1,
) -> bytes:
    """An uncompressed gray TIFF of one strip (TIFF 6.0, sections 2 to 4)."""
    height, width = samples.shape
    if bits == 12:
        packed = int("".join(f"{v:012b}" for v in samples.ravel()), 2)
        data = packed.to_bytes(samples.size * 12 // 8, "big")
    else:
        data = samples.astype(f"{order}{'i' if sample_format == 2 else 'u'}{bits // 8}").tobytes()
    tags = {
        256: (3, width), 257: (3, height), 258: (3, bits), 259: (3, 1), 262: (3, photometric),
        273: (4, 8 + 2 + 12 * 10 + 4), 277: (3, 1), 278: (3, height), 279: (4, len(data)),
        339: (3, sample_format),
    }  # fmt: skip
    ifd = struct.pack(order + "H", len(tags))
    for tag, (kind, value) in sorted(tags.items()):
        ifd += struct.pack(order + "HHI", tag, kind, 1)
        ifd += struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return start + ifd + bytes(4) + data


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def ours(content: bytes) -> Image.Image:
    return to_eight_bits(read_image(content, _core.Limits()))


def magick(content: bytes, space: str) -> np.ndarray:
    """ImageMagick's reading of the file, as 8-bit gray or RGB."""
    command = ["convert", "-", "-alpha", "off", "-depth", "8", f"{space}:-"]
    run = subprocess.run(command, input=content, capture_output=True, check=True)
    return np.frombuffer(run.stdout, dtype=np.uint8)


def colour(mode: str) -> Image.Image:
    y, x = np.mgrid[0:64, 0:96]
    rgb = np.stack([x * 255 // 95, y * 255 // 63, (x + y) * 255 // 158], -1).astype(np.uint8)
    return Image.fromarray(rgb).convert(mode)


def pgm(top: int, samples: np.ndarray) -> bytes:
    return b"P5 96 64 %d\n" % top + samples.astype(">u2" if top > 255 else "u1").tobytes()


GRAY: dict[str, Callable[[], bytes]] = {
    "12-bit TIFF": lambda: tiff(RAMP * 4095 // RAMP.max(), 12),
    "16-bit TIFF": lambda: tiff(RAMP * 10, 16),
    "16-bit TIFF, big-endian": lambda: tiff(RAMP * 10, 16, order=">"),
    "16-bit TIFF, white is 0": lambda: tiff(RAMP * 10, 16, photometric=0),
    "8-bit TIFF, white is 0": lambda: tiff(RAMP // 32, 8, photometric=0),
    "1-bit TIFF": lambda: saved(colour("1"), "TIFF", compression="group4"),
    "16-bit PNG": lambda: saved(Image.fromarray((RAMP * 10).astype(np.uint16)), "PNG"),
    "8-bit PGM": lambda: pgm(255, RAMP % 256),
    "7-bit PGM": lambda: pgm(100, RAMP % 101),
    "10-bit PGM": lambda: pgm(1023, RAMP % 1024),
    "16-bit PGM": lambda: pgm(65535, RAMP * 10),
    "gray with transparency": lambda: saved(colour("LA"), "PNG"),
}


@pytest.mark.parametrize("kind", GRAY)
def test_gray_of_any_depth_has_the_range_that_imagemagick_gives_it(kind: str) -> None:
    content = GRAY[kind]()
    image = ours(content)
    assert image.mode == "L"
    theirs = magick(content, "gray").astype(int)
    assert np.abs(np.asarray(image).ravel().astype(int) - theirs).max() <= 1


COLOUR: dict[str, Callable[[], bytes]] = {
    "palette": lambda: saved(colour("P"), "PNG"),
    "palette TIFF": lambda: saved(colour("P"), "TIFF"),
    "transparency": lambda: saved(colour("RGBA"), "TIFF"),
    "CMYK TIFF": lambda: saved(colour("CMYK"), "TIFF"),
    "YCbCr TIFF": lambda: saved(colour("YCbCr"), "TIFF"),
    "BMP": lambda: saved(colour("RGB"), "BMP"),
    "PPM": lambda: saved(colour("RGB"), "PPM"),
}


@pytest.mark.parametrize("kind", COLOUR)
def test_colour_of_any_kind_is_what_imagemagick_sees(kind: str) -> None:
    content = COLOUR[kind]()
    image = ours(content)
    assert image.mode == "RGB"
    theirs = magick(content, "rgb").astype(int)
    assert np.abs(np.asarray(image).ravel().astype(int) - theirs).max() <= 2


def test_lab_becomes_srgb() -> None:
    lab = np.zeros((8, 8, 3), np.uint8)
    lab[...] = (138, 81, 70)  # L* 54, a* 81, b* 70: the red of sRGB, adapted to D50
    red = np.asarray(ours(saved(Image.fromarray(lab, "LAB"), "TIFF")))
    assert np.abs(red[0, 0].astype(int) - (255, 0, 0)).max() <= 6


def test_premultiplied_gray_is_read() -> None:
    image = Image.new("La", (4, 4), (100, 200))
    assert to_eight_bits(image).getpixel((0, 0)) == 127  # 100 of 200


def planes(samples: np.ndarray, **options: object) -> bytes:
    """An RGB TIFF whose colours lie in planes of their own, as microscopes write them."""
    tifffile = pytest.importorskip("tifffile")
    out = io.BytesIO()
    separate = np.ascontiguousarray(np.moveaxis(samples, -1, 0))
    tifffile.imwrite(out, separate, planarconfig="separate", photometric="rgb", **options)
    return out.getvalue()


@pytest.mark.parametrize("options", [{}, {"tile": (32, 32)}, {"rowsperstrip": 7}])
@pytest.mark.parametrize("order", ["<", ">"])
def test_planes_of_16_bits_are_never_taken_for_8_bits(options: dict, order: str) -> None:
    expected = np.asarray(colour("RGB"))
    wide = expected.astype(np.uint16) * 256 + 9
    packed = planes(wide, compression="deflate", byteorder=order, **options)
    assert np.array_equal(np.asarray(ours(packed)), expected)
    eight = planes(expected, byteorder=order, **options)
    assert np.array_equal(np.asarray(ours(eight)), expected)
    with pytest.raises(UnsupportedImage, match="16-bit samples in uncompressed planes"):
        ours(planes(wide, byteorder=order, **options))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(RAMP % 100, 8, sample_format=2), "signed"),
        (tiff(RAMP, 16, sample_format=2), "signed"),
        (tiff(RAMP, 32), "32-bit"),
        (saved(colour("L").convert("F"), "TIFF"), "floating-point"),
    ],
)
def test_a_range_that_no_file_says_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=f"{reason} samples.*range is not known"):
        ours(content)


HEIF = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (tiff(RAMP % 4096, 12, order=">"), "TIFF of a kind that Pillow does not read, or damaged"),
        (saved(colour("RGB"), "PNG")[:12], "PNG of a kind that"),
        (b"hello", "not an image that can be read"),
        (HEIF + b"\0" * 100, "HEIF"),
    ],
)
def test_the_reason_names_what_the_file_is(content: bytes, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        ours(content)


def test_a_missing_plug_in_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dl2cli.dataset.pixels.readable_formats", lambda: FORMATS)
    with pytest.raises(DataError, match="a HEIF image: install pillow-heif to read it"):
        ours(HEIF)


@pytest.mark.parametrize("kind", OPTIONAL_FORMATS)
def test_formats_of_plug_ins_are_read_where_they_are_installed(kind: str) -> None:
    if kind not in readable_formats():
        pytest.skip(f"Pillow has no plug-in for {kind} here")
    content = saved(colour("RGB"), kind, quality=95)
    difference = np.asarray(ours(content)).astype(int) - np.asarray(colour("RGB"))
    assert np.abs(difference).mean() < 3
