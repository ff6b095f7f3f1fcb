"""The photos that the loaders' tests load, and how Pillow sees them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from dl2cli import pcr

IMAGES = 33


def _picture(seed: int, width: int, height: int, mode: str) -> Image.Image:
    """Smooth shapes with some noise, like a photo in its entropy."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    image = Image.fromarray(coarse, "CMYK").resize((width, height), Image.Resampling.BICUBIC)
    noise = random.normal(0, 6, (height, width, 4))
    pixels = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels, "CMYK")
    return image if mode == "CMYK" else image.convert("RGB").convert(mode)


def make_folder(root: Path) -> Path:
    """IMAGES photos in three classes: sizes, samplings, gray, CMYK, progressive, EXIF rotation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(IMAGES):
        width, height = [(97, 61), (64, 64), (50, 120), (200, 33), (131, 90)][i % 5]
        mode = {7: "L", 8: "CMYK"}.get(i % 9, "RGB")
        options = {"quality": 70 + i % 26, "progressive": i % 4 == 0}
        if mode == "RGB":
            options["subsampling"] = ["4:4:4", "4:2:0", "4:2:2"][i % 3]
        if i % 6 == 1:
            options["exif"] = exif
        folder = root / f"c{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        _picture(i, width, height, mode).save(folder / f"{i:03d}.jpg", "JPEG", **options)
    return root


def pillow_image(dataset: pcr.Dataset, record: int, slot: int, scans: int) -> Image.Image:
    """An image of a dataset as Pillow decodes it: RGB."""
    jpeg = bytes(dataset.read(record, scans).image(slot))
    with Image.open(io.BytesIO(jpeg)) as image:
        return image.convert("RGB")
