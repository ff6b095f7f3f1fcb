"""Describe how values are spread: percentiles and histograms."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_BINS = 16


@dataclass(frozen=True, slots=True)
class Distribution:
    """How values are spread. The percentiles are values that occur (the inverted CDF)."""

    count: int
    mean: float
    minimum: float
    p5: float
    p25: float
    median: float
    p75: float
    p95: float
    maximum: float

    @staticmethod
    def of(values: npt.ArrayLike) -> Distribution | None:
        """Return the distribution of values; None if there are no values."""
        numbers = np.asarray(values, dtype=np.float64)
        if not numbers.size:
            return None
        levels = np.percentile(numbers, (0, 5, 25, 50, 75, 95, 100), method="inverted_cdf")
        return Distribution(numbers.size, float(numbers.mean()), *map(float, levels))


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins; bin i is [edges[i], edges[i + 1]), the last one closed.

    The bins between the first and the last are equally wide, with round edges. The first and the
    last reach out to the extreme values, so that a few outliers do not flatten the rest.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @staticmethod
    def of(values: npt.ArrayLike) -> Histogram | None:
        """Return the histogram of values in up to about twenty bins, None for no values."""
        numbers = np.asarray(values, dtype=np.float64)
        if not numbers.size:
            return None
        low, high = np.percentile(numbers, (1, 99))
        step = _round_step((high - low) / (_BINS - 2))
        first, last = math.floor(low / step), max(math.floor(high / step) + 1, 1)
        edges = np.arange(first, last + 1) * step
        edges[0] = min(edges[0], numbers.min())
        edges[-1] = max(edges[-1], numbers.max())
        counts, _ = np.histogram(numbers, edges)
        return Histogram(tuple(edges.tolist()), tuple(counts.tolist()))


def _round_step(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10, 20, 50, ... that is not below `least`."""
    if least <= 1:
        return 1.0
    power: Any = 10.0 ** math.floor(math.log10(least))
    return float(next(power * m for m in (1, 2, 5, 10) if power * m >= least * (1 - 1e-9)))
