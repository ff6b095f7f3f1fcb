"""Real JPEGs of every kind, made at test time."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image


def photo(width: int = 97, height: int = 61, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth colours with noise: every band of frequencies has something in it."""
    random = np.random.default_rng(seed)
    channels = {"L": 1, "RGB": 3, "CMYK": 4}[mode]
    y, x = np.mgrid[0:height, 0:width]
    waves = [
        127 + 90 * np.sin(x / (7 + 3 * c + seed % 5)) * np.cos(y / (11 - c))
        for c in range(channels)
    ]
    noisy = np.stack(waves, axis=-1) + random.normal(0, 12, (height, width, channels))
    pixels = np.clip(noisy, 0, 255).astype(np.uint8)
    if channels == 4:
        return Image.frombytes("CMYK", (width, height), pixels.tobytes())
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def jpeg_bytes(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 88, **options})
    return out.getvalue()


def jpegtran(jpeg: bytes, *options: str) -> bytes:
    return subprocess.run(
        ["jpegtran", *options], input=jpeg, capture_output=True, check=True
    ).stdout


def rgb_jpeg() -> bytes:
    """A JPEG that stores RGB itself, as cjpeg -rgb makes it."""
    ppm = io.BytesIO()
    photo().save(ppm, "PPM")
    return subprocess.run(
        ["cjpeg", "-rgb", "-quality", "90"], input=ppm.getvalue(), capture_output=True, check=True
    ).stdout


def every_kind_of_jpeg() -> dict[str, bytes]:
    base = jpeg_bytes(photo())
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        "baseline_420": jpeg_bytes(photo(), subsampling=2),
        "baseline_422": jpeg_bytes(photo(), subsampling=1),
        "baseline_444": jpeg_bytes(photo(), subsampling=0),
        "progressive": jpeg_bytes(photo(), progressive=True),
        "optimized": jpeg_bytes(photo(), optimize=True),
        "restarts": jpegtran(base, "-restart", "1"),
        "arithmetic": jpegtran(base, "-arithmetic"),
        "arithmetic_progressive": jpegtran(base, "-arithmetic", "-progressive"),
        "gray": jpeg_bytes(photo(mode="L")),
        "gray_progressive": jpeg_bytes(photo(mode="L"), progressive=True),
        "cmyk": jpeg_bytes(photo(mode="CMYK")),
        "rgb": rgb_jpeg(),
        "one_pixel": jpeg_bytes(photo(1, 1)),
        "one_line": jpeg_bytes(photo(300, 1)),
        "quality_1": jpeg_bytes(photo(), quality=1),
        "quality_100": jpeg_bytes(photo(), quality=100, subsampling=0),
        "exif": jpeg_bytes(photo(), exif=exif.tobytes(), comment=b"hello"),
        "trailing_bytes": base + b"what follows the end marker",
        "no_end_marker": base[:-2],
    }


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
