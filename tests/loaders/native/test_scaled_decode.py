"""Scaled decoding: the loaders' pixels stay close to those of a full decoding and resize."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from jpegs import jpeg_bytes, photo

from dl2cli.analysis.fidelity.metrics import psnr
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of many sizes, several times as large as the 48 pixels that are asked for."""
    root = tmp_path_factory.mktemp("photos")
    (root / "a").mkdir()
    for number, (width, height) in enumerate([(640, 480), (401, 603), (200, 131), (60, 50)]):
        for subsampling in (0, 1, 2):
            jpeg = jpeg_bytes(photo(width, height, seed=number), subsampling=subsampling)
            (root / "a" / f"{number}_{subsampling}.jpg").write_bytes(jpeg)
    return root


def images(folder: Path, *, scaled: bool, codec: str, train: bool) -> np.ndarray:
    config = LoaderConfig(
        folder,
        batch_size=12,
        shuffle=False,
        transform=TransformConfig(size=48, train=train),
        scaled_decode=scaled,
        codec=codec,  # type: ignore[arg-type]
    )
    (batch,) = list(create_loader("jpeg", config))
    return batch.images.numpy()


@pytest.mark.parametrize("train", [True, False])
def test_the_codecs_agree_and_the_difference_is_small(folder: Path, train: bool) -> None:
    whole = images(folder, scaled=False, codec="native", train=train)
    scaled = images(folder, scaled=True, codec="native", train=train)
    assert np.array_equal(scaled, images(folder, scaled=True, codec="libjpeg", train=train))
    # The photos of 640 x 480 are decoded at a smaller size, those of 60 x 50 are not.
    assert not np.array_equal(scaled[:3], whole[:3])
    assert np.array_equal(scaled[-3:], whole[-3:])
    for a, b in zip(scaled, whole, strict=True):
        assert psnr(a.transpose(1, 2, 0), b.transpose(1, 2, 0)) > 30
