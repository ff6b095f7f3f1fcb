"""Measure how similar two images are: PSNR, SSIM and MS-SSIM, on 8-bit arrays.

SSIM is defined by Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error
visibility to structural similarity" (IEEE TIP 13(4), 2004): an 11 x 11 Gaussian window of sigma
1.5, K1 = 0.01, K2 = 0.03, population moments, and only windows that lie wholly inside the image.
MS-SSIM is by Wang, Simoncelli and Bovik, "Multiscale structural similarity for image quality
assessment" (Asilomar 2003), with its five weights. Both are computed for each colour channel,
and averaged over the channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dl2cli.errors import DataError

Pixels = npt.NDArray[np.uint8]
_Plane = npt.NDArray[np.float32]

WINDOW = 11
_SIGMA = 1.5
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""The exponents of the scales, finest first (Wang et al. 2003, section 3.2)."""

_HALF = WINDOW // 2
_STRIPE = 64  # lines
_TAPS = np.exp(-(np.arange(_HALF + 1, dtype=np.float64) ** 2) / (2 * _SIGMA**2))
_TAPS = (_TAPS / (2 * _TAPS.sum() - _TAPS[0])).astype(np.float32)  # centre first, one side


@dataclass(frozen=True, slots=True)
class Similarity:
    """How similar two images are. `psnr_db` is infinite for equal images."""

    psnr_db: float
    ssim: float
    ms_ssim: float


def psnr(a: Pixels, b: Pixels) -> float:
    """Return the peak signal-to-noise ratio in dB, over all pixels and channels; inf if equal.

    Args:
        a: uint8, (H, W) or (H, W, C).
        b: of the same shape.

    Raises:
        DataError: The shapes differ, or the arrays are not images.
    """
    _check(a, b, smallest=1)
    # Squares of differences fit int32 each, and their sum is exact in int64.
    difference = a.astype(np.int32) - b
    squares = int(np.sum(difference * difference, dtype=np.int64))
    if squares == 0:
        return float("inf")
    return float(10 * np.log10(255.0**2 * a.size / squares))


def ssim(a: Pixels, b: Pixels) -> float:
    """Return the mean structural similarity (1 for equal images).

    Args:
        a: uint8, (H, W) or (H, W, C), at least 11 pixels on each side.
        b: of the same shape.

    Raises:
        DataError: The shapes differ, the arrays are not images, or a side is shorter than 11.
    """
    _check(a, b, smallest=WINDOW)
    return _mean_over_channels(a, b, scales=1)[0]


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """Return the multi-scale structural similarity (1 for equal images).

    Each further scale halves the image by averaging 2 x 2 pixels; an odd side is first extended
    by a copy of its last line. The five scales need a shorter side of 161 pixels, so that the
    window fits the coarsest. A smaller image uses as many scales as fit, finest first, with their
    weights renormalised to a sum of 1: its value is sound, but must not be compared with
    values of larger images. Negative mean contrasts, which have no real power, count as 0.

    Args:
        a: uint8, (H, W) or (H, W, C), at least 11 pixels on each side.
        b: of the same shape.

    Raises:
        DataError: The shapes differ, the arrays are not images, or a side is shorter than 11.
    """
    return compare(a, b).ms_ssim


def compare(a: Pixels, b: Pixels) -> Similarity:
    """Return all three measures; SSIM is the finest scale of MS-SSIM and costs nothing extra.

    Raises:
        DataError: As `ms_ssim`.
    """
    _check(a, b, smallest=WINDOW)
    single, multi = _mean_over_channels(a, b, scales=scales_for(a.shape[0], a.shape[1]))
    return Similarity(psnr(a, b), single, multi)


def scales_for(height: int, width: int) -> int:
    """Return how many of the five scales of MS-SSIM fit an image of this size (0 to 5)."""
    scales, side = 0, min(height, width)
    while scales < len(MS_SSIM_WEIGHTS) and side >= WINDOW:
        scales, side = scales + 1, (side + 1) // 2
    return scales


def _check(a: npt.NDArray[Any], b: npt.NDArray[Any], *, smallest: int) -> None:
    if a.shape != b.shape:
        raise DataError(f"images of different shapes cannot be compared: {a.shape}, {b.shape}.")
    if a.ndim not in (2, 3) or a.size == 0 or a.dtype != np.uint8 or b.dtype != np.uint8:
        raise DataError(
            f"expected two uint8 images (H, W) or (H, W, C), got {a.dtype} and {b.dtype} {a.shape}."
        )
    if min(a.shape[:2]) < smallest:
        raise DataError(
            f"an image of {a.shape[1]} x {a.shape[0]} pixels is smaller than the {WINDOW} x "
            f"{WINDOW} window of SSIM."
        )


def _mean_over_channels(a: Pixels, b: Pixels, scales: int) -> tuple[float, float]:
    """Return SSIM and the MS-SSIM of `scales` scales."""
    if a.ndim == 2:
        return _channel(a, b, scales)
    values = [_channel(a[..., c], b[..., c], scales) for c in range(a.shape[2])]
    single, multi = np.mean(np.array(values, dtype=np.float64), axis=0)
    return float(single), float(multi)


def _channel(a: Pixels, b: Pixels, scales: int) -> tuple[float, float]:
    # Variances do not depend on an offset; the smaller numbers keep float32 exact to about 1e-6.
    x = a.astype(np.float32) - np.float32(128)
    y = b.astype(np.float32) - np.float32(128)
    weights = np.array(MS_SSIM_WEIGHTS[:scales])
    weights /= weights.sum()
    single, multi = 0.0, 1.0
    for scale in range(scales):
        if scale:
            x, y = _halve(x), _halve(y)
        full, contrast = _moments(x, y)
        if scale == 0:
            single = full
        value = full if scale == scales - 1 else contrast
        multi *= max(value, 0.0) ** float(weights[scale])
    return single, multi


def _moments(x: _Plane, y: _Plane) -> tuple[float, float]:
    """Return the means of SSIM and of its contrast-structure part, for planes less 128.

    Stripe by stripe, so that the working memory does not grow with the image, and stays in cache.
    """
    rows, columns = x.shape[0] - WINDOW + 1, x.shape[1] - WINDOW + 1
    full = contrast = 0.0
    for top in range(0, rows, _STRIPE):
        lines = slice(top, min(top + _STRIPE, rows) + WINDOW - 1)
        full_sum, contrast_sum = _moments_of_stripe(x[lines], y[lines])
        full, contrast = full + full_sum, contrast + contrast_sum
    return full / (rows * columns), contrast / (rows * columns)


def _moments_of_stripe(x: _Plane, y: _Plane) -> tuple[float, float]:
    mean_x, mean_y = _blur(x), _blur(y)
    cross = mean_x * mean_y
    covariance = _blur(x * y)
    covariance -= cross
    squares = mean_x * mean_x
    squares += mean_y * mean_y
    variances = _blur(x * x + y * y)
    variances -= squares
    contrast = (2 * covariance + np.float32(_C2)) / (variances + np.float32(_C2))
    # The luminance part needs the true means: (m + 128)(n + 128) and (m + 128)^2 + (n + 128)^2.
    offset = (mean_x + mean_y) * np.float32(256)
    luminance = 2 * cross + offset + np.float32(2 * 128**2 + _C1)
    luminance /= squares + offset + np.float32(2 * 128**2 + _C1)
    luminance *= contrast
    return float(np.sum(luminance, dtype=np.float64)), float(np.sum(contrast, dtype=np.float64))


def _blur(plane: _Plane) -> _Plane:
    """Return (H, W) filtered with the Gaussian window where it fits: (H - 10, W - 10)."""
    return _blur_rows(_blur_rows(plane.T).T)


def _blur_rows(plane: _Plane) -> _Plane:
    """Filter along the second axis. The window is symmetric: six products do for eleven taps."""
    last = plane.shape[1] - WINDOW + 1
    out: _Plane = plane[:, _HALF : _HALF + last] * _TAPS[0]
    pair = np.empty_like(out)
    for offset in range(1, _HALF + 1):
        left, right = _HALF - offset, _HALF + offset
        np.add(plane[:, left : left + last], plane[:, right : right + last], out=pair)
        pair *= _TAPS[offset]
        out += pair
    return out


def _halve(plane: _Plane) -> _Plane:
    """Return the means of 2 x 2 pixels: (ceil(H / 2), ceil(W / 2))."""
    height, width = plane.shape
    if height % 2 or width % 2:
        plane = np.pad(plane, ((0, height % 2), (0, width % 2)), mode="edge")
    total: _Plane = plane[0::2, 0::2] + plane[1::2, 0::2]
    total += plane[0::2, 1::2]
    total += plane[1::2, 1::2]
    total *= np.float32(0.25)
    return total
