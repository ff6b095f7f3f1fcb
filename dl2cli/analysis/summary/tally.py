"""Sum the rows of a dataset up to numbers."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dl2cli.analysis.distribution import Distribution, Histogram
from dl2cli.analysis.fidelity.report import FidelityReport, FidelityTally
from dl2cli.analysis.table.rows import ImageRow, Note

MAX_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Oddity:
    """A kind of image that is worth knowing about; `examples` are names."""

    text: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """A damaged image."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Colour:
    """Mean and deviation over all pixels of all images, as red, green and blue of 0 to 1."""

    images: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Summary:
    """What a dataset is made of. Fields that were not asked for are None or empty."""

    images: int
    classes: int
    total_bytes: int
    quality: Distribution | None
    qualities: dict[int, int]  # how many images of each quality
    size_bytes: Distribution | None
    sizes: Histogram | None
    width: Distribution | None  # this and all of pixels: of the images that are not damaged
    height: Distribution | None
    megapixels: Distribution | None
    bits_per_pixel: float | None
    colour: Colour | None
    modes: dict[str, int]
    formats: dict[str, int]
    subsamplings: dict[str, int]
    progressive: int
    scans: dict[int, int]  # how many images of each number of scans
    orientations: dict[int, int]
    tables: int  # different sets of quantisation tables
    images_per_class: dict[str, int]
    oddities: tuple[Oddity, ...]
    failures: tuple[Failure, ...]
    fidelity: FidelityReport | None


@dataclass(slots=True)
class _ColourSums:
    """Sums over the pixels of all images, for red, green and blue."""

    images: int = 0
    pixels: int = 0
    first: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    second: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])

    def add(self, row: ImageRow) -> None:
        if not (row.mean and row.std and row.width and row.height):
            return
        pixels = row.width * row.height
        self.images += 1
        self.pixels += pixels
        for channel in range(3):
            band = channel if len(row.mean) > 1 else 0  # gray counts as equal red, green, blue
            mean, std = row.mean[band] / 255, row.std[band] / 255
            self.first[channel] += mean * pixels
            self.second[channel] += (std * std + mean * mean) * pixels

    def result(self) -> Colour | None:
        if not self.images:
            return None
        mean = [total / self.pixels for total in self.first]
        variance = [s / self.pixels - m * m for s, m in zip(self.second, mean, strict=True)]
        red, green, blue = (math.sqrt(max(v, 0.0)) for v in variance)
        return Colour(self.images, (mean[0], mean[1], mean[2]), (red, green, blue))


class Tally:
    """Adds up rows. Memory: about 32 bytes an image, and what the failures take."""

    def __init__(self, target_ms_ssim: float) -> None:
        self._images = 0
        self._qualities: Counter[int] = Counter()
        self._sizes = array("q")
        self._widths = array("q")
        self._heights = array("q")
        self._measured_bytes = 0  # of the images whose pixels are known
        self._colour = _ColourSums()
        self._counts: dict[str, Counter[object]] = {
            name: Counter()
            for name in ("mode", "format", "subsampling", "scans", "orientation", "tables")
        }
        self._classes: Counter[str] = Counter()
        self._progressive = 0
        self._notes: Counter[Note] = Counter()
        self._examples: dict[Note, list[str]] = {}
        self._failures: list[Failure] = []
        self._fidelity = FidelityTally(target_ms_ssim)

    def add(self, row: ImageRow) -> None:
        """Count a row."""
        self._images += 1
        self._classes[row.class_name] += 1
        if row.size is not None:
            self._sizes.append(row.size)
        if row.width and row.height and row.error is None:  # a damaged header claims any size
            self._widths.append(row.width)
            self._heights.append(row.height)
            self._measured_bytes += row.size or 0
        if row.quality is not None:
            self._qualities[row.quality] += 1
        for name, counter in self._counts.items():
            if (value := getattr(row, name)) is not None:
                counter[value] += 1
        self._progressive += bool(row.progressive)
        self._colour.add(row)
        for note in row.notes:
            self._notes[note] += 1
            examples = self._examples.setdefault(note, [])
            if len(examples) < MAX_EXAMPLES:
                examples.append(row.file)
        if row.error is not None:
            self._failures.append(Failure(row.file, row.error))
        self._fidelity.add(row)

    def result(self) -> Summary:
        """Return what the rows add up to."""
        pixels = np.asarray(self._widths, dtype=np.float64) * self._heights
        qualities = array("q", self._qualities.elements())
        return Summary(
            images=self._images,
            classes=len(self._classes),
            total_bytes=sum(self._sizes),
            quality=Distribution.of(qualities),
            qualities=_sorted(self._qualities),
            size_bytes=Distribution.of(self._sizes),
            sizes=Histogram.of(self._sizes),
            width=Distribution.of(self._widths),
            height=Distribution.of(self._heights),
            megapixels=Distribution.of(pixels / 1e6),
            bits_per_pixel=self._measured_bytes * 8 / float(pixels.sum()) if pixels.size else None,
            colour=self._colour.result(),
            modes=_frequent(self._counts["mode"]),
            formats=_frequent(self._counts["format"]),
            subsamplings=_frequent(self._counts["subsampling"]),
            progressive=self._progressive,
            scans=_sorted(self._counts["scans"]),
            orientations=_sorted(self._counts["orientation"]),
            tables=len(self._counts["tables"]),
            images_per_class=_sorted(self._classes),
            oddities=tuple(
                Oddity(note.value, count, tuple(self._examples[note]))
                for note, count in self._notes.most_common()
            ),
            failures=tuple(self._failures),
            fidelity=self._fidelity.result(),
        )


def _sorted(counter: Counter[Any]) -> dict[Any, int]:
    return dict(sorted(counter.items()))


def _frequent(counter: Counter[Any]) -> dict[Any, int]:
    return dict(counter.most_common())
