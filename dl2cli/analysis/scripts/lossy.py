"""Re-encoded JPEGs and WebPs beside scan scripts, at the training size, on the same images."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from dl2cli.analysis.fidelity.images import Comparison, encode
from dl2cli.analysis.scripts.measure import EVERYTHING, RESIZE_MARGIN
from dl2cli.analysis.scripts.objective import MAX_PSNR_DB, Floats
from dl2cli_native import _core

Pixels = npt.NDArray[np.uint8]


def measure(
    images: Iterable[_core.TrialImage],
    comparisons: tuple[Comparison, ...],
    size: int,
    workers: int,
    progress: Callable[[int], None],
) -> Floats:
    """Return mean bytes, PSNR, SSIM and MS-SSIM for each comparison: (comparisons, 4)."""
    with ThreadPoolExecutor(workers) as pool:
        total = np.zeros((len(comparisons), 4))
        count = 0
        try:
            for found in pool.map(lambda image: _measure(image, comparisons, size), images):
                total += found
                count += 1
                progress(count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return total / count


def _measure(image: _core.TrialImage, comparisons: tuple[Comparison, ...], size: int) -> Floats:
    whole = np.frombuffer(EVERYTHING, np.uint8).reshape(1, 3, 64)
    pixels = np.ascontiguousarray(image.show(whole).transpose(1, 2, 0))
    reference = _at_size(pixels, size)
    rows = []
    for comparison in comparisons:
        lossy = encode(pixels, comparison)
        with Image.open(io.BytesIO(lossy)) as opened:
            decoded = np.asarray(opened.convert("L" if pixels.shape[2] == 1 else "RGB"))
        shown = _at_size(decoded.reshape(pixels.shape), size)
        squared, ssim, ms_ssim = _core.compare_pixels(shown, reference)
        decibels = 10 * np.log10(255**2 / squared) if squared else MAX_PSNR_DB
        rows.append((float(len(lossy)), min(decibels, MAX_PSNR_DB), ssim, ms_ssim))
    return np.array(rows)


def _at_size(pixels: Pixels, size: int) -> Pixels:
    """Cut and resize as an evaluation does; (H, W, C) to (C, size, size)."""
    if size:
        height, width, channels = pixels.shape
        boxes, parts, _ = _core.place_samples(
            {
                "train": False,
                "size": size,
                "resize_short": size + RESIZE_MARGIN,
                "scale": (1.0, 1.0),
                "ratio": (1.0, 1.0),
                "flip_probability": 0.0,
            },
            0, 0, np.zeros(1, np.uint64), np.array([width], np.uint32),
            np.array([height], np.uint32),
        )  # fmt: skip
        x, y, box_width, box_height = map(int, boxes[0])
        left, top, right, bottom = map(float, parts[0])
        cut = pixels[y : y + box_height, x : x + box_width]
        image = Image.fromarray(cut[..., 0] if channels == 1 else cut)
        part = (left, top, right, bottom)
        small = image.resize((size, size), Image.Resampling.BILINEAR, part)
        pixels = np.asarray(small).reshape(size, size, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
