"""Measure how similar an image at each number of scan groups is to the whole image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dl2cli.analysis.fidelity.metrics import WINDOW, Pixels, compare
from dl2cli.analysis.table.rows import Point
from dl2cli.errors import DataError
from dl2cli_native import _core

if TYPE_CHECKING:
    from typing_extensions import Buffer


def decode_prefix(jpeg: Buffer, limits: _core.Limits) -> Pixels:
    """Return the pixels as the PCR loader sees them (no block smoothing): uint8 (H, W, C).

    Raises:
        DataError: The image is damaged.
    """
    try:
        return np.asarray(_core.decode([jpeg], limits=limits))
    except _core.DataError as error:
        raise DataError(str(error)) from error


def is_measurable(reference: Pixels) -> bool:
    """Tell whether SSIM is defined for an image: it is not CMYK, nor smaller than the window."""
    height, width, channels = map(int, reference.shape)
    return channels != 4 and min(height, width) >= WINDOW


def measure_scans(
    prefixes: Sequence[Buffer], reference: Pixels, limits: _core.Limits
) -> list[Point]:
    """Return a point for each number of scan groups, k1 to kG.

    Args:
        prefixes: The image at 1 to G scan groups.
        reference: The pixels of the last one, `is_measurable`.
        limits: The limits that the image must keep to be decoded.

    Raises:
        DataError: The image is damaged.
    """
    points: list[Point] = []
    for k, prefix in enumerate(prefixes, start=1):
        size_bytes = memoryview(prefix).nbytes
        if points and size_bytes == points[-1].size_bytes:  # an empty group: gray has six scans
            last = points[-1]
            points.append(Point(f"k{k}", size_bytes, last.psnr_db, last.ssim, last.ms_ssim))
        else:
            points.append(point_of(f"k{k}", size_bytes, decode_prefix(prefix, limits), reference))
    return points


def point_of(setting: str, size_bytes: int, pixels: Pixels, reference: Pixels) -> Point:
    """Compare the pixels of one setting with the reference."""
    if np.array_equal(pixels, reference):
        return Point(setting, size_bytes, None, 1.0, 1.0)
    alike = compare(pixels, reference)
    psnr_db = alike.psnr_db if math.isfinite(alike.psnr_db) else None
    return Point(setting, size_bytes, psnr_db, alike.ssim, alike.ms_ssim)
