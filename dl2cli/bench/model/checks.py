"""Holds predictions against throttled runs, so that the model's error is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dl2cli.bench.config import BenchConfig
from dl2cli.bench.model.rates import EpochModel
from dl2cli.bench.model.scenario import Scenario, throttled
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.bench.statistics import Spread
from dl2cli.loaders.throttle import Throttle

_SHARES = (0.5, 1.0, 0.25, 2.0)  # of the bandwidth at which storage begins to bound


@dataclass(frozen=True)
class Check:
    """A prediction, and what was measured.

    Attributes:
        scans: the fidelity k; None for plain files.
        throttle: limits of reading.
        predicted_img_s: what the model predicts from runs without these limits.
        measured_img_s: what the throttled runs gave.
        error: |predicted / measured - 1|.
    """

    scans: int | None
    throttle: str
    predicted_img_s: float
    measured_img_s: Spread
    error: float


def choose_checks(
    config: BenchConfig,
    target: LoaderVariant,
    variants: Sequence[LoaderVariant],
    model: EpochModel,
) -> list[tuple[LoaderVariant, str]]:
    """Return which throttled runs to make: at, below and above where storage begins to bound.

    Loaders that cannot be throttled have none.

    Args:
        config: says how many checks are wanted, and how long a run may take.
        target: the variant that the model was calibrated for.
        variants: those measured with the training step, full fidelity last.
        model: the calibrated model.
    """
    if target.loader.startswith("dali") or target.is_custom:
        return []
    chosen = list(variants)[:-3:-1]  # full fidelity, and the next one
    free = model.predict(target.scans, Scenario("", math.inf))
    middle_bytes_s = free * model.costs[target.scans].bytes_per_image
    # The first batch needs a window of records: it must not take longer than a run may.
    shape = model.shape
    window = 1 if shape.in_worker else max(shape.max_visits // 2, 1)
    lowest_bytes_s = sum(shape.visit_bytes[target.scans][:window]) / config.run_s
    wanted = []
    for number in range(config.checks):
        share = _SHARES[number // len(chosen) % len(_SHARES)]
        throttle = str(Throttle(float(f"{max(share * middle_bytes_s, lowest_bytes_s):.2g}")))
        wanted.append((chosen[number % len(chosen)], throttle))
    return list(dict.fromkeys(wanted))


def check_prediction(
    model: EpochModel, scans: int | None, throttle: str, measured_img_s: Spread, images: int
) -> Check:
    """Compare throttled runs over `images` images with their prediction."""
    predicted = model.predict(scans, throttled(throttle), images=images)
    error = abs(predicted / measured_img_s.median - 1)
    return Check(scans, throttle, predicted, measured_img_s, error)
