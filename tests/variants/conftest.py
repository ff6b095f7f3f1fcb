"""ImageFolders of small photos to make variants of."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from jpegs import jpeg_bytes, photo

from dl2cli.variants.config import VariantsConfig
from dl2cli.variants.formats import Target


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two splits with two classes; qualities of 40 and 90, a PNG, and names that need care."""
    root = tmp_path / "photos"
    for split, count in (("train", 6), ("val", 2)):
        for label, name in enumerate(("ant", "bee")):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                image = photo(60 + i, 50, seed=10 * label + i)
                quality = 40 if i % 2 else 90
                (root / split / name / f"{i}.JPEG").write_bytes(jpeg_bytes(image, quality=quality))
    out = io.BytesIO()
    photo(mode="L").save(out, "PNG")
    (root / "train" / "ant" / "gray.png").write_bytes(out.getvalue())
    return root


@pytest.fixture
def config(source: Path, tmp_path: Path) -> VariantsConfig:
    targets = (Target("jpeg", 10), Target("jpeg", 50))
    return VariantsConfig(source, tmp_path / "out", targets, samples=4, workers=2)
