"""A model of quality that needs no pictures, fitted to the qualities that were measured.

The error of a state is a sum over components and bands of coefficients; its logarithm, averaged
over images, tells PSNR almost exactly, and SSIM and MS-SSIM once each component and frequency has
the weight that they give it. Four weights and a straight line are fitted to the measurements, so
that a search can look at thousands of scripts in a second, and measures those that look best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from dl2cli.analysis.scripts.candidate import BORDERS, Candidate, bands_of
from dl2cli.analysis.scripts.measure import BANDS, UNKNOWN, State, Tables
from dl2cli.analysis.scripts.objective import Floats
from dl2cli.pcr.scan_script import Scan

_ROUNDING: Final = 0.15  # the squared error of samples and colours that are rounded
_START: Final = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
_STEPS: Final = 12  # of Gauss and Newton
_DAMPING: Final = 1e-3
_EDGES: Final = (0, *BORDERS[:-1])  # the first coefficient of each band


@dataclass(frozen=True)
class Weights:
    """The parameters: log weights of Cb and Cr, two of frequency, and a straight line."""

    values: tuple[float, ...] = _START

    @property
    def of_bands(self) -> Floats:
        """The weight of each role and band: (3, bands)."""
        cb, cr, slope, bend = self.values[:4]
        octave = np.log2(1 + np.arange(BANDS))
        roles = np.array([0.0, cb, cr])
        weights: Floats = np.exp(roles[:, None] + slope * octave + bend * octave**2)
        return weights

    def decibels(self, mean_log_error: Floats) -> Floats:
        """Return the quality that the model expects."""
        offset, factor = self.values[4:]
        expected: Floats = offset - factor * 10 * mean_log_error
        return expected


class QualityModel:
    """Expects the quality of candidates, by fitted weights.

    Args:
        tables: what adds up.
        images: the model looks at the first so many, as the measurements that it is fitted to.
    """

    def __init__(self, tables: Tables, images: int) -> None:
        self.weights = Weights()
        self.rms_db = 0.0  # of the last fit
        self._errors = tables.errors[:images]
        self._total = np.zeros(0)
        self._gains: dict[Scan, Floats] = {}
        self._set(self.weights)

    def curve(self, scans: Candidate) -> Floats:
        """Return the expected quality in dB at the end of each scan group."""
        gains = np.array([self._gain(scan) for scan in scans])
        left = self._total - np.cumsum(gains, axis=0)
        ends = [i for i in range(len(scans)) if i + 1 == len(scans) or not scans[i + 1].joins]
        return self.weights.decibels(_mean_log(left[ends]))

    def fit(self, measured: Mapping[State, Floats]) -> None:
        """Fit the weights to measured qualities in dB by state."""
        states = list(measured)
        errors = np.array([self._state_errors(state) for state in states])
        target = np.array([float(measured[state]) for state in states])

        def residuals(values: Floats) -> Floats:
            weights = Weights(tuple(values))
            found = np.tensordot(errors, weights.of_bands, axes=([2, 3], [0, 1]))
            off: Floats = weights.decibels(_mean_log(found)) - target
            return off

        values = np.array(_START)
        damping = _DAMPING
        current = residuals(values)
        for _ in range(_STEPS):
            jacobian = np.column_stack(
                [(residuals(values + step) - current) / 1e-4 for step in np.eye(len(values)) * 1e-4]
            )
            normal = jacobian.T @ jacobian
            change = np.linalg.solve(normal + damping * np.eye(len(values)), jacobian.T @ current)
            trial = residuals(values - change)
            if np.sum(trial**2) < np.sum(current**2):
                values, current, damping = values - change, trial, damping / 3
            else:
                damping *= 10
        self.rms_db = float(np.sqrt(np.mean(current**2)))
        self._set(Weights(tuple(values.tolist())))

    def _set(self, weights: Weights) -> None:
        self.weights = weights
        unknown = self._errors[..., UNKNOWN]
        self._total = np.tensordot(unknown, weights.of_bands, axes=([1, 2], [0, 1]))
        self._gains = {}

    def _gain(self, scan: Scan) -> Floats:
        """Return how much error a scan takes from each image."""
        gain = self._gains.get(scan)
        if gain is None:
            bands = bands_of(scan)
            known = slice(bands.start, bands.stop)
            before = UNKNOWN if scan.ah == 0 else scan.ah
            of_bands = self.weights.of_bands
            gain = np.zeros(len(self._errors))
            for component in scan.components:
                errors = self._errors[:, component, known]
                lost = errors[..., before] - errors[..., scan.al]
                gain += lost @ of_bands[component, known]
            self._gains[scan] = gain
        return gain

    def _state_errors(self, state: State) -> Floats:
        bits = np.frombuffer(state, np.uint8).reshape(3, 64)[:, _EDGES]
        roles, bands = np.indices(bits.shape)
        return self._errors[:, roles, bands, bits]


def _mean_log(errors: Floats) -> Floats:
    """Return the mean over images, the last axis, of the logarithm of errors."""
    logs: Floats = np.log10(np.maximum(errors, 0) + _ROUNDING).mean(axis=-1)
    return logs
