"""What a scan script is judged by: the quality that a reader gets for what it pays.

A script is a curve: at each k a cost (bytes, decode time, or both at a price) and a quality. A
reader with a budget between two k reads some images at one and some at the other, so the curve is
straight between them. The score is the mean of that quality over some budgets, which are shares of
what the whole images cost in the script `default`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BUDGETS: Final = (0.10, 0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.60)
MAX_PSNR_DB: Final = 60.0  # what identical images count as; below it, only rounding differs
_LEAST_LOSS: Final = 1e-6  # of SSIM: 60 dB
_TARGET_WEIGHT_DB: Final = 100.0  # a hundredth of the bytes at the target is worth one dB
_WHOLE_WEIGHT_DB: Final = 5.0  # the same of the whole image, for a twentieth of that
_CLOSE_DB: Final = 0.05  # what a group costs that brings less than a tenth of what is before it


class Metric(Enum):
    """How quality is measured; the values are columns of what `Measurements` gives."""

    PSNR = "psnr"
    SSIM = "ssim"
    MS_SSIM = "msssim"

    @property
    def column(self) -> int:
        """The column of a measurement: PSNR, SSIM, MS-SSIM."""
        return list(Metric).index(self)


class Goal(Enum):
    """What a reader pays with."""

    BYTES = "bytes"
    DECODE = "decode"
    BOTH = "both"


@dataclass(frozen=True)
class Objective:
    """What a search looks for.

    Attributes:
        goal: what quality is held against.
        metric: how quality is measured.
        price_kb_per_ms: for both: kB that a millisecond of decode time is worth; None: as much as
            the whole images of `default` have of each.
        target: a mean quality that one k must reach, for as little as possible; of PSNR in dB.
    """

    goal: Goal = Goal.BYTES
    metric: Metric = Metric.MS_SSIM
    price_kb_per_ms: float | None = None
    target: float | None = None

    def decibels(self, quality: Floats) -> Floats:
        """Return qualities on a scale on which equal steps are worth about the same."""
        if self.metric is Metric.PSNR:
            return np.minimum(quality, MAX_PSNR_DB)
        return -10 * np.log10(np.maximum(1 - quality, _LEAST_LOSS))

    def quality(self, decibels: Floats) -> Floats:
        """Undo `decibels`."""
        return decibels if self.metric is Metric.PSNR else 1 - 10 ** (-decibels / 10)

    def price(self, whole_bytes: float, whole_decode_ms: float) -> tuple[float, float]:
        """Return the price of a byte and of a millisecond, so that the whole images cost 1."""
        if self.goal is Goal.BYTES:
            return 1 / whole_bytes, 0.0
        if self.goal is Goal.DECODE:
            return 0.0, 1 / whole_decode_ms
        price = self.price_kb_per_ms
        bytes_per_ms = whole_bytes / whole_decode_ms if price is None else 1e3 * price
        whole = whole_bytes + bytes_per_ms * whole_decode_ms
        return 1 / whole, bytes_per_ms / whole

    def score(self, costs: Floats, qualities: Floats, nothing: float) -> float:
        """Return the score in dB of a curve.

        Args:
            costs: of each k, rising, in shares of the whole images' in `default`.
            qualities: of each k.
            nothing: the quality of an image of which nothing is known.
        """
        levels = self.decibels(np.array([nothing, *qualities]))
        loss = np.interp(BUDGETS, [0, *costs], 10 ** (-levels / 10))
        score = float(np.mean(-10 * np.log10(loss)))
        score -= _WHOLE_WEIGHT_DB * max(float(costs[-1]) - 1, 0)
        score -= _CLOSE_DB * int(np.sum(costs[1:] < 1.1 * costs[:-1]))
        if self.target is None:
            return score
        reached = np.flatnonzero(qualities >= self.target)
        cost = costs[reached[0]] if len(reached) else 2.0
        return score - _TARGET_WEIGHT_DB * float(cost)
