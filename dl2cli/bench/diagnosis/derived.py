"""What the runs of a measurement show so far: stalls, the situation, checks of predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dl2cli.bench.diagnosis.stalls import Stalls, differential
from dl2cli.bench.model.calibrate import make_model
from dl2cli.bench.model.rates import Gains, Model
from dl2cli.bench.model.scenario import Scenario, throttled
from dl2cli.bench.model.what_if import Check
from dl2cli.bench.probes.loader import LoaderProbe, LoadResult
from dl2cli.bench.statistics import Spread
from dl2cli.loaders.throttle import Throttle

if TYPE_CHECKING:
    from dl2cli.bench.run import Measurement


@dataclass(frozen=True)
class Trained:
    """A reading with the training step: from the cache and from storage."""

    probe: LoaderProbe
    warm: LoadResult
    cold: LoadResult
    stalls: Stalls

    @property
    def scans(self) -> int | None:
        """The fidelity."""
        return self.probe.reading.scans

    def storage_gain(self) -> float:
        """Return what memory in the place of storage brings: the median of the rounds' ratios."""
        pairs = zip(self.warm.rate_img_s.runs, self.cold.rate_img_s.runs, strict=False)
        return max(Spread.of(warm / cold for warm, cold in pairs).median, 1.0)


def trained(m: Measurement) -> list[Trained]:
    """Return the readings of which everything was measured at least once; the subject is last."""
    if not m.compute.measured:
        return []
    synthetic_s = m.compute.result().compute_s
    found = []
    for probe in m.training.values():
        if probe.has("warm") and probe.has(m.cold):
            warm, cold = probe.result("warm"), probe.result(m.cold)
            warm_s, cold_s = 1 / warm.rate_img_s.median, 1 / cold.rate_img_s.median
            stalls = differential(synthetic_s, warm_s, cold_s, probe.runs(m.cold))
            found.append(Trained(probe, warm, cold, stalls))
    return found


def loading(m: Measurement) -> tuple[LoadResult, ...]:
    """Return what loaders alone gave."""
    return tuple(p.result("warm") for p in m.loading.values() if p.has("warm"))


def calibrate(m: Measurement) -> Model:
    """Make the model of the predictions from the runs so far."""
    return make_model(
        m.loader,
        m.config,
        m.plan.subject,
        warm=loading(m),
        trained=[p.result("warm") for p in m.training.values() if p.has("warm")],
        compute=m.compute.result(),
    )


def situation(m: Measurement, model: Model, subject: Trained) -> Scenario:
    """Return storage as it is: the throttle, or what the loader's own cold reads gave."""
    if m.config.throttle:
        return throttled(m.config.throttle)
    cold, warm = subject.cold.fetch_bytes_s, subject.warm.fetch_bytes_s
    # What fetching from the cache costs is paid in any case, and in the model already.
    if cold is None or warm is None or cold >= warm:
        return Scenario("as measured", math.inf)
    speed = 1 / (1 / cold - 1 / warm)
    if not model.shape.in_worker:
        return Scenario("as measured", speed)
    # A worker waits for each file alone; together they get as much more.
    workers = subject.probe.reading.workers
    latency_s = (1 - 1 / workers) * subject.cold.bytes_per_image / speed
    return Scenario("as measured", workers * speed, latency_s)


def gains(model: Model, now: Scenario, each: Trained) -> Gains:
    """Return what the end of each stage's cost brings: as measured for storage, if an epoch was."""
    predicted = model.gains(each.scans, now)
    if each.cold.whole_epoch and each.warm.whole_epoch:
        return replace(predicted, storage=each.storage_gain())
    return predicted


def epoch_rate(model: Model, now: Scenario, each: Trained) -> float:
    """Return images/s over an epoch: measured, or prolonged from its beginning by the model."""
    measured = each.cold.rate_img_s.median
    if each.cold.whole_epoch:
        return measured
    beginning = model.predict(each.scans, now, images=each.cold.images)
    return measured * model.predict(each.scans, now) / beginning


def wanted_checks(m: Measurement, model: Model) -> list[tuple[LoaderProbe, str]]:
    """Return which throttled runs to compare: at, below and above where storage begins to bound.

    Loaders that cannot be throttled have none.
    """
    if m.plan.subject.loader.startswith("dali"):
        return []
    chosen = list(m.training.values())[:-3:-1]  # full fidelity, and the next one
    full = m.plan.subject.scans
    free = model.predict(full, Scenario("", math.inf))
    middle = free * model.costs[full].bytes_per_image
    # The first batch needs a window of records: it must not take longer than a run may.
    shape = model.shape
    window = 1 if shape.in_worker else max(shape.max_visits // 2, 1)
    lowest = sum(shape.visit_bytes[full][:window]) / m.config.run_s
    wanted = []
    for number in range(m.config.checks):
        share = (0.5, 1.0, 0.25, 2.0)[number // len(chosen) % 4]
        throttle = str(Throttle(float(f"{max(share * middle, lowest):.2g}")))
        wanted.append((chosen[number % len(chosen)], throttle))
    return list(dict.fromkeys(wanted))


def check(model: Model, probe: LoaderProbe, throttle: str, condition: str) -> Check:
    """Compare throttled runs with their prediction."""
    images = probe.runs(condition)[-1].images
    predicted = model.predict(probe.reading.scans, throttled(throttle), images=images)
    measured = probe.rates(condition)
    error = abs(predicted / measured.median - 1)
    return Check(probe.reading.scans, throttle, predicted, measured, error)
