"""The likeness of a PCR dataset's images at each fidelity to those at full fidelity."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dl2cli.analysis.fidelity.metrics import WINDOW, compare
from dl2cli.pcr.config import ScanFidelity
from dl2cli.pcr.dataset import Dataset
from dl2cli_native import _core

MOST_RECORDS: Final = 4  # whole records are read, so a sample is taken from a few of them


def measure_dataset(dataset: Dataset, samples: int) -> tuple[ScanFidelity, ...]:
    """Return mean MS-SSIM and PSNR at each fidelity over about `samples` images.

    The images are spread evenly over up to four records, which lie evenly in the dataset. Those
    smaller than the window of SSIM (11 pixels) and CMYK images are left out. The reference is the
    image with all scan groups, which has the pixels of its source.

    Raises:
        DataError: a record is damaged.
    """
    ms_ssims: list[list[float]] = [[] for _ in range(dataset.groups)]
    psnrs: list[list[float]] = [[] for _ in range(dataset.groups)]
    for record, slots in _choose(dataset, samples).items():
        references = {
            slot: _decode(jpeg, dataset.limits)
            for slot, jpeg in _read(dataset, record, None, slots)
        }
        kept = [slot for slot, pixels in references.items() if _is_measurable(pixels)]
        for scans in range(1, dataset.groups + 1):
            for slot, jpeg in _read(dataset, record, scans, kept):
                pixels = _decode(jpeg, dataset.limits)
                if np.array_equal(pixels, references[slot]):
                    ms_ssims[scans - 1].append(1.0)
                    continue
                likeness = compare(pixels, references[slot])
                ms_ssims[scans - 1].append(likeness.ms_ssim)
                psnrs[scans - 1].append(likeness.psnr_db)
    return tuple(
        ScanFidelity(
            scans=scans,
            ms_ssim=math.fsum(similar) / max(len(similar), 1),
            psnr_db=math.fsum(decibels) / len(decibels) if decibels else None,
            images=len(similar),
        )
        for scans, (similar, decibels) in enumerate(zip(ms_ssims, psnrs, strict=True), start=1)
    )


def _choose(dataset: Dataset, samples: int) -> dict[int, list[int]]:
    """Return the slots to look at, by record."""
    count = min(MOST_RECORDS, len(dataset.records), samples)
    chosen = {}
    for i in range(count):
        record = i * len(dataset.records) // count
        images = dataset.records[record].images
        wanted = min(images, (samples * (i + 1)) // count - (samples * i) // count)
        chosen[record] = [slot * images // wanted for slot in range(wanted)] if wanted else []
    return chosen


def _read(
    dataset: Dataset, record: int, scans: int | None, slots: list[int]
) -> list[tuple[int, memoryview]]:
    images = dataset.read(record, scans)
    return [(slot, images.image(slot)) for slot in slots]


def _decode(jpeg: memoryview, limits: _core.Limits) -> NDArray[np.uint8]:
    return np.asarray(_core.decode([jpeg], limits=limits))


def _is_measurable(pixels: NDArray[np.uint8]) -> bool:
    height, width, channels = pixels.shape
    return bool(channels != 4 and min(height, width) >= WINDOW)
