"""Predicts throughput from measured rates: other storage, cores, caches, accelerators, fidelities.

The model behind it is `pipeline`. What goes in is measured (`Cost`: bytes and decode time of an
image at each k; the accelerator's rate; bandwidth and latency of storage), and what comes out is
compared with throttled runs (`Check`), so that its error is known.

Where the model computes on the same cores as the decoders, a step's time and an image's decoding
add up; what both took together in the cached run says how well they share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dl2cli.bench.pipeline import EpochShape, Service, rate
from dl2cli.bench.statistics import Spread
from dl2cli.errors import UsageError

PAYS: Final = 1.05  # fewer scans pay where they give 5 % more
_POINTS: Final = 11  # of a curve, each at twice the bandwidth of the one before


@dataclass(frozen=True)
class Cost:
    """What an image costs at one fidelity, as measured here with W workers.

    Attributes:
        scans: fidelity; None for plain files.
        bytes_per_image: of storage.
        decode_s: seconds an image by the clock, all workers together, from the page cache.
        fetch_s_per_byte: of reading and checking what is in the page cache.
        measured: or interpolated between measured fidelities by their bytes.
    """

    scans: int | None
    bytes_per_image: float
    decode_s: float
    fetch_s_per_byte: float
    measured: bool = True


@dataclass(frozen=True)
class Scenario:
    """A situation to predict.

    Attributes:
        name: for the tables.
        bandwidth_bytes_s: of storage; infinity is as fast as memory.
        latency_s: of each read.
        cores: that decode, as many as workers; None is as measured.
        cache_bytes: of the dataset that are in memory and stay there.
        accelerator_img_s: None is as measured.
    """

    name: str
    bandwidth_bytes_s: float
    latency_s: float = 0.0
    cores: int | None = None
    cache_bytes: float = 0.0
    accelerator_img_s: float | None = None

    @classmethod
    def parse(cls, text: str, now: Scenario) -> Scenario:
        """Return the situation `now` with changes ("storage=50MB/s cores=8 cache=2GB").

        Raises:
            UsageError: it is no list of such settings.
        """
        changes: dict[str, float | int] = {}
        for part in text.replace(",", " ").split():
            key, _, value = part.partition("=")
            if key == "storage":
                changes["bandwidth_bytes_s"] = quantity(value, "B/s")
            elif key == "latency":
                changes["latency_s"] = quantity(value, "s")
            elif key == "cores":
                changes["cores"] = int(quantity(value, ""))
            elif key == "cache":
                changes["cache_bytes"] = quantity(value, "B")
            elif key == "accelerator":
                changes["accelerator_img_s"] = quantity(value, "img/s")
            else:
                raise UsageError(
                    f"{part!r} is no what-if setting: there are storage=100MB/s, latency=10ms, "
                    "cores=8, cache=2GB and accelerator=2500."
                )
        return replace(now, name=text, **changes)  # type: ignore[arg-type]


_PREFIXES: Final = {
    "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3, "u": 1e-6,
}  # fmt: skip


def quantity(text: str, unit: str) -> float:
    """Return a positive number with an optional decimal prefix and unit ("100MB/s" is 1e8).

    Raises:
        UsageError: it is something else.
    """
    digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/ ")
    prefix = text.strip()[len(digits) :].strip().removesuffix(unit)
    try:
        value = float(digits) * _PREFIXES[prefix]
    except (ValueError, KeyError):
        value = math.nan
    if not 0 < value < 1e18:
        raise UsageError(f"{text!r} is no positive number of {unit or 'things'}.")
    return value


@dataclass(frozen=True)
class Gains:
    """What throughput would be multiplied by if one stage cost nothing."""

    storage: float
    prep: float
    compute: float

    @property
    def bound(self) -> str:
        """The stage whose end would gain most; compute if nothing gains a tenth."""
        names = {"storage": self.storage, "prep": self.prep, "compute": self.compute}
        best = max(names, key=names.__getitem__)
        return best if names[best] >= 1.1 else "compute"


@dataclass(frozen=True)
class Model:
    """What was measured, as the predictions need it.

    Attributes:
        shape: the epoch of the subject.
        costs: by fidelity.
        images: in the dataset.
        cores: that decoded, at most as many as workers.
        compute_s: seconds an image of the step alone.
        shares_cores: whether the step runs on the decoders' cores.
        sharing: what cached runs took over the sum of decoding and computing; 1 is perfect.
    """

    shape: EpochShape
    costs: dict[int | None, Cost]
    images: int
    cores: int
    compute_s: float
    shares_cores: bool
    sharing: float = 1.0

    def predict(self, scans: int | None, scenario: Scenario, *, images: int | None = None) -> float:
        """Return images/s at a fidelity, over an epoch or its first `images`."""
        shape = self.shape if images is None else self.shape.cut(images)
        return rate(shape, scans, self.service(scans, scenario))

    def service(self, scans: int | None, scenario: Scenario) -> Service:
        """Return how long each stage needs in a scenario."""
        cost = self.costs[scans]
        decode_s, compute_s = cost.decode_s, self.compute_s
        if scenario.cores is not None:
            decode_s *= self.cores / scenario.cores
        if scenario.accelerator_img_s is not None:
            compute_s = 1 / scenario.accelerator_img_s
        elif self.shares_cores:
            if scenario.cores is not None:
                compute_s *= self.cores / scenario.cores
            decode_s, compute_s = self.sharing * (decode_s + compute_s), 0.0
        total = cost.bytes_per_image * self.images
        return Service(
            bandwidth_bytes_s=scenario.bandwidth_bytes_s,
            latency_s=scenario.latency_s,
            fetch_s_per_byte=cost.fetch_s_per_byte,
            decode_s=decode_s,
            compute_s=compute_s,
            missed=1 - min(scenario.cache_bytes / max(total, 1), 1.0),
        )

    def gains(self, scans: int | None, scenario: Scenario) -> Gains:
        """Return what the end of each stage's cost would bring."""
        service = self.service(scans, scenario)
        now = rate(self.shape, scans, service)
        prep_free = replace(service, decode_s=0.0, fetch_s_per_byte=0.0)
        compute_free = replace(service, compute_s=0.0)
        if self.shares_cores and scenario.accelerator_img_s is None:
            decode_s = self.costs[scans].decode_s
            scale = service.decode_s / max(decode_s + self.compute_s, 1e-12)
            prep_free = replace(prep_free, decode_s=scale * self.compute_s)
            compute_free = replace(compute_free, decode_s=scale * decode_s)
        free = (replace(service, missed=0.0), prep_free, compute_free)
        storage, prep, compute = (rate(self.shape, scans, each) / now for each in free)
        return Gains(storage, prep, compute)


@dataclass(frozen=True)
class Curve:
    """Predicted images/s at one fidelity over the bandwidth of storage."""

    scans: int | None
    bandwidth_bytes_s: tuple[float, ...]
    rate_img_s: tuple[float, ...]


@dataclass(frozen=True)
class Crossover:
    """From where on a fidelity pays.

    Attributes:
        scans: the fidelity.
        fetch_bound_below_bytes_s: with slower storage than this, storage takes more than 5 % of
            its throughput.
        pays_below_bytes_s: with slower storage than this, it is at least 5 % faster than full
            fidelity; None is never, infinity is always (because it also decodes faster).
    """

    scans: int | None
    fetch_bound_below_bytes_s: float
    pays_below_bytes_s: float | None


@dataclass(frozen=True)
class Check:
    """A prediction, and what was measured.

    Attributes:
        scans: fidelity.
        throttle: the limits.
        predicted_img_s: by the model, from runs without these limits.
        measured_img_s: of the throttled runs.
        error: |predicted / measured - 1|.
    """

    scans: int | None
    throttle: str
    predicted_img_s: float
    measured_img_s: Spread
    error: float


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
        costs: of each.
        now: the situation as measured.
        predictions: of scenarios, `now` first.
        curves: over bandwidth.
        crossovers: of each fidelity.
        checks: of predictions against measured runs.
        median_error: of the checks; None without any.
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
    model: Model, now: Scenario, asked: Sequence[Scenario], checks: Sequence[Check]
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


def _usual(model: Model, now: Scenario) -> list[Scenario]:
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


def _grid(model: Model, full: int | None, now: Scenario) -> tuple[float, ...]:
    """Return bandwidths around the one at which full fidelity is no longer bound by storage."""
    middle = model.costs[full].bytes_per_image * model.predict(full, _at(now, math.inf))
    # From a round number: 1, 2 or 5 times a power of ten.
    start = middle / 2 ** (_POINTS - 5)
    power = 10.0 ** math.floor(math.log10(start))
    lead = max(digit for digit in (1, 2, 5) if digit * power <= start * 1.0001)
    return tuple(lead * power * 2.0**i for i in range(_POINTS))


def _crossover(model: Model, scans: int | None, full: int | None, now: Scenario) -> Crossover:
    unbound = model.predict(scans, _at(now, math.inf))
    bound = _last(lambda b: model.predict(scans, _at(now, b)) * PAYS < unbound)
    if scans == full:
        return Crossover(scans, bound or 0.0, None)
    if unbound > PAYS * model.predict(full, _at(now, math.inf)):
        return Crossover(scans, bound or 0.0, math.inf)
    pays = _last(
        lambda b: model.predict(scans, _at(now, b)) > PAYS * model.predict(full, _at(now, b))
    )
    return Crossover(scans, bound or 0.0, pays)


def _last(holds: Callable[[float], bool]) -> float | None:
    """Return the largest bandwidth at which something holds that holds below and not above."""
    low, high = 1e3, 1e12
    if not holds(low):
        return None
    while high / low > 1.01:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
