"""The metrics against scikit-image, pytorch-msssim, and a plain computation of the definition."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dl2cli.analysis.fidelity.metrics import (
    MS_SSIM_WEIGHTS,
    compare,
    ms_ssim,
    psnr,
    scales_for,
    ssim,
)
from dl2cli.errors import DataError


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with edges and noise: natural enough for every part of SSIM to matter."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, dtype=np.int16) + rng.integers(-9, 10, (height, width, 3))
    noisy[height // 3 :, width // 2 :] //= 2
    return np.clip(noisy, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, quality: int, tmp_path: Path) -> np.ndarray:
    path = tmp_path / f"{quality}.jpg"
    Image.fromarray(pixels).save(path, quality=quality)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def plain_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """MS-SSIM of one channel by the definition: float64, an explicit 121-tap window."""
    axis = np.arange(11) - 5.0
    window = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(plane):
        views = np.lib.stride_tricks.sliding_window_view(plane, (11, 11))
        return np.einsum("ijkl,kl->ij", views, window)

    x, y = a.astype(float), b.astype(float)
    scales = scales_for(*a.shape)
    weights = np.array(MS_SSIM_WEIGHTS[:scales]) / sum(MS_SSIM_WEIGHTS[:scales])
    result = 1.0
    for scale in range(scales):
        mx, my = mean(x), mean(y)
        vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        value = (2 * cov + 58.5225) / (vx + vy + 58.5225)
        if scale == scales - 1:
            value = value * (2 * mx * my + 6.5025) / (mx**2 + my**2 + 6.5025)
        result *= max(value.mean(), 0) ** weights[scale]
        x, y = (
            np.pad(p, [(0, s % 2) for s in p.shape], mode="edge")
            .reshape((p.shape[0] + 1) // 2, 2, (p.shape[1] + 1) // 2, 2)
            .mean(axis=(1, 3))
            for p in (x, y)
        )
    return result


@pytest.mark.parametrize("quality", [5, 40, 75, 96])
@pytest.mark.parametrize("shape", [(375, 500), (64, 33), (11, 11)])
def test_ssim_and_psnr_equal_scikit_image(quality, shape, tmp_path):
    metrics = pytest.importorskip("skimage.metrics")
    a = picture(*shape)
    b = jpeg(a, quality, tmp_path)
    theirs = metrics.structural_similarity(
        a, b, channel_axis=-1, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, data_range=255,
    )  # fmt: skip
    assert ssim(a, b) == pytest.approx(theirs, abs=1e-5)
    assert psnr(a, b) == pytest.approx(metrics.peak_signal_noise_ratio(a, b), abs=1e-9)


@pytest.mark.parametrize("quality", [5, 75])
def test_ms_ssim_equals_pytorch_msssim_where_all_sides_halve_evenly(quality, tmp_path):
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("pytorch_msssim")
    a = picture(192, 256)
    b = jpeg(a, quality, tmp_path)
    x, y = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].double() for p in (a, b))
    expected = float(theirs.ms_ssim(x, y, data_range=255))
    # Its window is rounded to float32, so that its variances are off by up to 1e-3.
    assert ms_ssim(a, b) == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize("shape", [(161, 215), (333, 201), (160, 160), (32, 32), (47, 12)])
def test_ms_ssim_equals_the_definition_at_odd_and_small_sizes(shape, tmp_path):
    a = picture(*shape)
    b = jpeg(a, 20, tmp_path)
    expected = np.mean([plain_ms_ssim(a[..., c], b[..., c]) for c in range(3)])
    assert ms_ssim(a, b) == pytest.approx(expected, abs=1e-5)
    assert ms_ssim(a[..., 1], b[..., 1]) == pytest.approx(
        plain_ms_ssim(a[..., 1], b[..., 1]), abs=1e-5
    )


@pytest.mark.parametrize(
    ("side", "scales"), [(500, 5), (161, 5), (160, 4), (81, 4), (80, 3), (21, 2), (11, 1), (10, 0)]
)
def test_as_many_scales_as_the_window_fits(side, scales):
    assert scales_for(side, 500) == scales_for(500, side) == scales


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(11, 60), width=st.integers(11, 60),
    seeds=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)  # fmt: skip
def test_the_measures_are_symmetric_and_bounded(height, width, seeds):
    a, b = (picture(height, width, seed) for seed in seeds)
    ab, ba = compare(a, b), compare(b, a)
    assert ab.psnr_db == ba.psnr_db
    assert ab.ssim == pytest.approx(ba.ssim, abs=1e-6)
    assert ab.ms_ssim == pytest.approx(ba.ms_ssim, abs=1e-6)
    assert -1 <= ab.ssim <= 1 + 1e-6
    assert 0 <= ab.ms_ssim <= 1 + 1e-6
    same = compare(a, a)
    assert same.psnr_db == float("inf")
    assert same.ssim == pytest.approx(1, abs=1e-6)
    assert same.ms_ssim == pytest.approx(1, abs=1e-6)


def test_extremes_are_no_special_case():
    black, white = np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)
    assert psnr(black, white) == pytest.approx(0)
    assert ssim(black, white) == pytest.approx(6.5025 / (255**2 + 6.5025), abs=1e-6)
    inverse = 255 - picture(200, 200)
    assert ms_ssim(picture(200, 200), inverse) == 0  # negative contrasts count as 0


def test_what_cannot_be_compared_is_refused():
    a = picture(40, 40)
    with pytest.raises(DataError, match="different shapes"):
        psnr(a, a[:39])
    with pytest.raises(DataError, match="smaller than the 11 x 11 window"):
        ssim(a[:10], a[:10])
    with pytest.raises(DataError, match="expected two uint8 images"):
        ms_ssim(a.astype(np.float32), a.astype(np.float32))
    with pytest.raises(DataError, match="expected two uint8 images"):
        psnr(np.zeros((0, 5), np.uint8), np.zeros((0, 5), np.uint8))
