"""Encoders beside ImageMagick and cwebp on the same photos: equal bytes buy equal likeness."""

import io
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from jpegs import photo
from PIL import Image

from dl2cli.analysis.fidelity.metrics import compare
from dl2cli.dataset.sample import SampleConfig, ensure_sample_set
from dl2cli.errors import DataError, UsageError
from dl2cli.variants.formats import Target, encode


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Photos of the sample set, as PNG, so that every encoder starts from the same pixels."""
    config = SampleConfig(train_per_class=1, val_per_class=1, long_side_px=256)
    root = ensure_sample_set(config, cache=tmp_path_factory.mktemp("cache"), workers=1)
    folder = tmp_path_factory.mktemp("png")
    paths = []
    for number, path in enumerate(sorted(root.rglob("*.jpg"))[:6]):
        with Image.open(path) as image:
            image.convert("RGB").save(folder / f"{number}.png")
        paths.append(folder / f"{number}.png")
    return paths


def ours(path: Path, target: Target) -> bytes:
    with Image.open(path) as image:
        return encode(image.convert("RGB"), target, b"", None)


def likeness(path: Path, encoded: bytes) -> float:
    with Image.open(path) as image, Image.open(io.BytesIO(encoded)) as made:
        return compare(np.asarray(made.convert("RGB")), np.asarray(image.convert("RGB"))).ms_ssim


def check(photos: list[Path], target: Target, theirs: list[bytes], share: float) -> None:
    mine = [ours(path, target) for path in photos]
    assert sum(map(len, mine)) == pytest.approx(sum(map(len, theirs)), rel=share)
    pairs = [
        (likeness(path, a), likeness(path, b))
        for path, a, b in zip(photos, mine, theirs, strict=True)
    ]
    assert np.mean([a - b for a, b in pairs]) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("quality", [10, 50, 85])
def test_jpeg_is_as_imagemagick_makes_it(photos: list[Path], quality: int, tmp_path: Path) -> None:
    if shutil.which("convert") is None:
        pytest.skip("ImageMagick is not installed")
    theirs = []
    for path in photos:
        out = tmp_path / f"{path.stem}.jpg"
        command = ["convert", path, "-sampling-factor", "4:2:0", "-quality", str(quality), out]
        subprocess.run(command, check=True)
        theirs.append(out.read_bytes())
    check(photos, Target("jpeg", quality), theirs, 0.02)


@pytest.mark.parametrize(("quality", "method"), [(10, 4), (50, 4), (85, 4), (50, 0), (50, 6)])
def test_webp_is_as_cwebp_makes_it(
    photos: list[Path], quality: int, method: int, tmp_path: Path
) -> None:
    if shutil.which("cwebp") is None:
        pytest.skip("cwebp (Debian's package webp) is not installed")
    theirs = []
    for path in photos:
        out = tmp_path / f"{path.stem}.webp"
        command = ["cwebp", "-quiet", "-q", str(quality), "-m", str(method), path, "-o", out]
        subprocess.run(command, check=True)
        theirs.append(out.read_bytes())
    check(photos, Target("webp", quality, method), theirs, 0.02)


@pytest.mark.parametrize("decibels", [30, 40])
def test_the_quality_of_jpeg_2000_is_its_psnr(photos: list[Path], decibels: int) -> None:
    for path in photos:
        with (
            Image.open(path) as image,
            Image.open(io.BytesIO(ours(path, Target("jpeg2000", decibels)))) as made,
        ):
            found = compare(np.asarray(made), np.asarray(image)).psnr_db
        assert found == pytest.approx(decibels, abs=2)


def test_names_are_those_of_the_published_logs() -> None:
    assert Target("jpeg", 5).name == "jpeg-05"
    assert Target("webp", 100).name == "webp-100"
    assert Target("webp").name == "webp-lossless"
    for bad in (Target, lambda **kw: Target("webp", **kw)):
        with pytest.raises(UsageError):
            bad("jpeg") if bad is Target else bad(quality=101)
    with pytest.raises(UsageError, match="0 to 6"):
        Target("webp", 50, 7)


def test_an_image_that_the_format_cannot_hold_is_refused() -> None:
    wide = photo(20_000, 1)
    with pytest.raises(DataError, match=r"20000 x 1 pixels; WEBP holds 16,383 a side"):
        encode(wide, Target("webp", 50), b"", None)
    assert encode(wide, Target("jpeg", 50), b"", None)
