"""Datasets for the tests of bench-io: real JPEGs, as ImageFolder and as PCR."""

from __future__ import annotations

from pathlib import Path

from jpegs import jpeg_bytes, photo

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert


def make_folder(root: Path, images: int, width: int, height: int) -> Path:
    for i in range(images):
        folder = root / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:03d}.jpg").write_bytes(jpeg_bytes(photo(width, height, seed=i)))
    return root


def make_dataset(folder: Path, out: Path, images_per_record: int) -> Path:
    convert(ConvertConfig(folder, out, images_per_record=images_per_record, workers=2))
    return out
