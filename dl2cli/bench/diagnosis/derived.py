"""What follows from the runs of one variant: its stalls, the speed of its storage, its gains."""

from __future__ import annotations

import math
from dataclasses import replace

from dl2cli.bench.diagnosis.stalls import Stalls, differential
from dl2cli.bench.measured import TrainedVariant
from dl2cli.bench.model.rates import EpochModel, Gains
from dl2cli.bench.model.scenario import Scenario, throttled
from dl2cli.bench.probes.compute import ComputeResult


def stalls_of(each: TrainedVariant, compute: ComputeResult) -> Stalls:
    """Return where the time of an image goes, from the synthetic, the warm and the cold run."""
    warm_s, cold_s = 1 / each.warm.rate_img_s.median, 1 / each.cold.rate_img_s.median
    return differential(compute.compute_s, warm_s, cold_s, each.cold_runs)


def present_scenario(throttle: str | None, model: EpochModel, target: TrainedVariant) -> Scenario:
    """Return storage as it is: the throttle, or what the loader's own cold reads gave."""
    if throttle:
        return throttled(throttle)
    cold, warm = target.cold.fetch_bytes_s, target.warm.fetch_bytes_s
    # What fetching from the cache costs is paid in any case, and in the model already.
    if cold is None or warm is None or cold >= warm:
        return Scenario("as measured", math.inf)
    speed = 1 / (1 / cold - 1 / warm)
    if not model.shape.in_worker:
        return Scenario("as measured", speed)
    # A worker waits for each file alone; together they get as much more.
    workers = target.variant.workers
    latency_s = (1 - 1 / workers) * target.cold.bytes_per_image / speed
    return Scenario("as measured", workers * speed, latency_s)


def gains_of(each: TrainedVariant, model: EpochModel, now: Scenario) -> Gains:
    """Return the gain in throughput if a stage cost nothing.

    The gain of storage is a measured one where the runs cover a whole epoch.
    """
    predicted = model.gains(each.scans, now)
    if each.cold.whole_epoch and each.warm.whole_epoch:
        return replace(predicted, storage=each.storage_gain())
    return predicted


def epoch_rate_img_s(each: TrainedVariant, model: EpochModel, now: Scenario) -> float:
    """Return images/s over an epoch: measured, or prolonged from its beginning by the model."""
    measured = each.cold.rate_img_s.median
    if each.cold.whole_epoch:
        return measured
    beginning = model.predict(each.scans, now, images=each.cold.images)
    return measured * model.predict(each.scans, now) / beginning
