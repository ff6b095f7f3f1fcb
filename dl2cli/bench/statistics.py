"""Repeated measurements: their middle, their spread, and the slow end of a distribution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

NOISY: Final = 0.1
"""Runs that differ by more than this share of their median are noisy.

A tenth is also the error that is asked of the predictions made from these numbers: what varies by
more cannot be told from a real difference of that size.
"""


@dataclass(frozen=True, slots=True)
class Spread:
    """Repeated measurements of one quantity, in its own unit.

    Attributes:
        median: the median of the runs.
        low: the smallest.
        high: the largest.
        runs: each one, in the order in which they were measured.
        relative: (high - low) / median; 0 where all are equal, and 1 where the median is 0 and
            the runs differ.
        noisy: whether `relative` is above `NOISY`.
    """

    median: float
    low: float
    high: float
    runs: tuple[float, ...]
    relative: float
    noisy: bool

    @classmethod
    def of(cls, runs: Iterable[float]) -> Spread:
        """Sum up measurements.

        Raises:
            ValueError: there is no run, or one is negative or not finite.
        """
        values = np.fromiter(runs, np.float64)
        if not len(values) or not np.isfinite(values).all() or (values < 0).any():
            raise ValueError(f"no measurements: {values.tolist()}")
        low, median, high = (float(f(values)) for f in (np.min, np.median, np.max))
        width = high - low
        relative = width / median if median else float(width > 0)
        return cls(median, low, high, tuple(values.tolist()), relative, relative > NOISY)


def percentiles(
    values: Sequence[float] | NDArray[np.floating], percents: Sequence[float] = (50, 95, 99, 100)
) -> tuple[float, ...]:
    """Return the percentiles of `values`, each a value that was measured (nearest rank).

    The p-th is the smallest value that at least p % of the values do not exceed (definition 1 of
    Hyndman and Fan, "Sample Quantiles in Statistical Packages", 1996): a slowest read that nobody
    waited for is never made up from two others.

    Raises:
        ValueError: `values` is empty.
    """
    found = np.asarray(values, np.float64)
    if not len(found):
        raise ValueError("percentiles of no values")
    return tuple(np.percentile(found, percents, method="inverted_cdf").tolist())
