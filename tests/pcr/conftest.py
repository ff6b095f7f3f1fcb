"""PCR datasets of small photos, made at test time."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jpegs import every_kind_of_jpeg, jpeg_bytes, photo

from dl2cli.pcr.config import ConvertConfig


@pytest.fixture(scope="session")
def kinds() -> dict[str, bytes]:
    if shutil.which("jpegtran") is None or shutil.which("cjpeg") is None:
        pytest.skip("jpegtran and cjpeg (libjpeg-turbo-progs) are needed")
    return every_kind_of_jpeg()


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """An ImageFolder: 3 classes of 7 small photos."""
    root = tmp_path / "photos"
    for label, name in enumerate(("ant", "bee", "cat")):
        (root / name).mkdir(parents=True)
        for i in range(7):
            image = photo(40 + i, 30 + label, seed=10 * label + i)
            (root / name / f"{i}.jpg").write_bytes(jpeg_bytes(image))
    return root


@pytest.fixture
def config(photo_folder: Path, tmp_path: Path) -> ConvertConfig:
    return ConvertConfig(photo_folder, tmp_path / "out", images_per_record=4, workers=2)
