"""Predicts throughput from measured rates: other storage, cores, caches, accelerators, fidelities.

The model behind it is `pipeline`. What goes in is measured (`Cost`: bytes and decode time of an
image at each k; the accelerator's rate; bandwidth and latency of storage), and what comes out is
compared with throttled runs (`Check`), so that its error is known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from dl2cli.bench.model.checks import Check
from dl2cli.bench.model.rates import Cost, EpochModel
from dl2cli.bench.model.scenario import Scenario

PAYS: Final = 1.05  # fewer scans pay where they give 5 % more
_POINTS: Final = 11  # of a curve, each at twice the bandwidth of the one before


@dataclass(frozen=True)
class Curve:
    """Predicted images/s at one fidelity over the bandwidth of storage."""

    scans: int | None
    bandwidth_bytes_s: tuple[float, ...]
    rate_img_s: tuple[float, ...]


@dataclass(frozen=True)
class Crossover:
    """The storage speed below which a fidelity pays.

    Attributes:
        scans: the fidelity.
        fetch_bound_below_bytes_s: the storage speed below which storage costs more than 5 % of
            the throughput.
        pays: whether it is at least 5 % faster than full fidelity: with storage "below" some
            speed, "always" (because it also decodes faster), or "never".
        pays_below_bytes_s: the speed below which it pays; None where `pays` is not "below".
    """

    scans: int | None
    fetch_bound_below_bytes_s: float
    pays: Literal["always", "below", "never"]
    pays_below_bytes_s: float | None


@dataclass(frozen=True)
class Prediction:
    """A scenario, and images/s at each fidelity in the order of `WhatIf.scans`."""

    scenario: Scenario
    rate_img_s: tuple[float, ...]


@dataclass(frozen=True)
class WhatIf:
    """All predictions.

    Attributes:
        scans: the fidelities that are predicted.
        costs: the cost of each fidelity.
        now: the situation as measured.
        predictions: the rates in each scenario, `now` first.
        curves: the rates over storage bandwidth.
        crossovers: where each fidelity begins to pay.
        checks: predictions beside measured runs.
        median_error: the median error of the checks; None without checks.
    """

    scans: tuple[int | None, ...]
    costs: tuple[Cost, ...]
    now: Scenario
    predictions: tuple[Prediction, ...]
    curves: tuple[Curve, ...]
    crossovers: tuple[Crossover, ...]
    checks: tuple[Check, ...]
    median_error: float | None


def make_what_if(
    model: EpochModel, now: Scenario, asked: Sequence[Scenario], checks: Sequence[Check]
) -> WhatIf:
    """Predict the usual scenarios and those that were asked for."""
    scans = tuple(model.costs)
    full = scans[-1]
    scenarios = (now, *_usual(model, now), *asked)
    grid = _grid(model, full, now)
    errors = [check.error for check in checks]
    return WhatIf(
        scans=scans,
        costs=tuple(model.costs.values()),
        now=now,
        predictions=tuple(
            Prediction(each, tuple(model.predict(k, each) for k in scans)) for each in scenarios
        ),
        curves=tuple(
            Curve(k, grid, tuple(model.predict(k, _at(now, bandwidth)) for bandwidth in grid))
            for k in scans
        ),
        crossovers=tuple(_crossover(model, k, full, now) for k in scans),
        checks=tuple(checks),
        median_error=float(np.median(errors)) if errors else None,
    )


def _usual(model: EpochModel, now: Scenario) -> list[Scenario]:
    """Return what one usually asks: each resource doubled, and everything in memory."""
    compute_img_s = 2 / model.compute_s
    return [
        replace(now, name="storage x 2", bandwidth_bytes_s=2 * now.bandwidth_bytes_s),
        replace(now, name="cores x 2", cores=2 * model.cores),
        replace(now, name="accelerator x 2", accelerator_img_s=compute_img_s),
        replace(now, name="all of it cached", cache_bytes=math.inf),
    ]


def _at(now: Scenario, bandwidth_bytes_s: float) -> Scenario:
    return replace(now, bandwidth_bytes_s=bandwidth_bytes_s, cache_bytes=0.0)


def _grid(model: EpochModel, full: int | None, now: Scenario) -> tuple[float, ...]:
    """Return bandwidths around the one at which full fidelity is no longer bound by storage."""
    middle = model.costs[full].bytes_per_image * model.predict(full, _at(now, math.inf))
    # From a round number: 1, 2 or 5 times a power of ten.
    start = middle / 2 ** (_POINTS - 5)
    power = 10.0 ** math.floor(math.log10(start))
    lead = max(digit for digit in (1, 2, 5) if digit * power <= start * 1.0001)
    return tuple(lead * power * 2.0**i for i in range(_POINTS))


def _crossover(model: EpochModel, scans: int | None, full: int | None, now: Scenario) -> Crossover:
    unbound = model.predict(scans, _at(now, math.inf))
    bound = _last(lambda b: model.predict(scans, _at(now, b)) * PAYS < unbound)
    if scans == full:
        return Crossover(scans, bound or 0.0, "never", None)
    if unbound > PAYS * model.predict(full, _at(now, math.inf)):
        return Crossover(scans, bound or 0.0, "always", None)
    pays = _last(
        lambda b: model.predict(scans, _at(now, b)) > PAYS * model.predict(full, _at(now, b))
    )
    return Crossover(scans, bound or 0.0, "below" if pays else "never", pays)


def _last(holds: Callable[[float], bool]) -> float | None:
    """Return the largest bandwidth at which something holds that holds below and not above."""
    low, high = 1e3, 1e12
    if not holds(low):
        return None
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
