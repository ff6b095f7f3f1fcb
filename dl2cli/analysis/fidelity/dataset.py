"""Measure how much of a PCR dataset each fidelity keeps (`dl2 convert --mssim-samples`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from dl2cli.analysis.fidelity.points import decode_prefix, is_measurable, measure_scans
from dl2cli.analysis.table.rows import Point
from dl2cli.errors import DataError
from dl2cli.pcr.config import ScanFidelity
from dl2cli.pcr.dataset import Dataset

MOST_RECORDS: Final = 4  # whole records are read, so a sample is taken from a few of them


def measure_dataset(
    dataset: Dataset, samples: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[ScanFidelity, ...]:
    """Return mean MS-SSIM and PSNR at each fidelity over about `samples` images.

    The images are spread evenly over up to four records, which are spread evenly over the dataset.
    Images smaller than the window of SSIM (11 pixels), CMYK images, and images that cannot be
    decoded are left out; the result is empty if nothing could be measured. The reference is the
    image with all scan groups, which has the pixels of its source.

    Args:
        dataset: a finished dataset, or the finished records of one.
        samples: images to measure.
        progress: called before each image with the number of images done, and of all images.

    Raises:
        StorageError: a record cannot be read.
    """
    measured: list[list[Point]] = []
    chosen = _choose(dataset, samples)
    total = sum(map(len, chosen.values()))
    done = 0
    for record, slots in chosen.items():
        for prefixes in _read(dataset, record, slots):
            progress(done, total)
            done += 1
            try:
                reference = decode_prefix(prefixes[-1], dataset.limits)
                if is_measurable(reference):
                    measured.append(measure_scans(prefixes, reference, dataset.limits))
            except DataError:
                continue  # `dl2 inspect` is for finding damage
    by_scans = zip(*measured, strict=True)
    return tuple(_mean(scans, points) for scans, points in enumerate(by_scans, start=1))


def _mean(scans: int, points: tuple[Point, ...]) -> ScanFidelity:
    decibels = [point.psnr_db for point in points if point.psnr_db is not None]
    return ScanFidelity(
        scans=scans,
        ms_ssim=math.fsum(point.ms_ssim for point in points) / len(points),
        psnr_db=math.fsum(decibels) / len(decibels) if decibels else None,
        images=len(points),
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


def _read(dataset: Dataset, record: int, slots: list[int]) -> list[list[bytes]]:
    """Return the images of `slots` at each fidelity; nothing if the record is damaged."""
    prefixes: list[list[bytes]] = [[] for _ in slots]
    try:
        for scans in range(1, dataset.groups + 1):
            images = dataset.read(record, scans)
            for place, slot in enumerate(slots):
                prefixes[place].append(bytes(images.image(slot)))
    except DataError:
        return []
    return prefixes
