"""What the runs mean: the verdict, the predictions and the recommendations."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dl2cli.bench.diagnosis.bottleneck import Verdict, find_bottleneck
from dl2cli.bench.diagnosis.derived import (
    epoch_rate_img_s,
    gains_of,
    present_scenario,
    stalls_of,
)
from dl2cli.bench.diagnosis.recommendations import Advice, Recommendation, recommend
from dl2cli.bench.measured import Measured, TrainedVariant
from dl2cli.bench.model.checks import check_prediction
from dl2cli.bench.model.rates import EpochModel
from dl2cli.bench.model.scenario import Scenario
from dl2cli.bench.model.what_if import WhatIf, make_what_if
from dl2cli.bench.probes.compute import ComputeResult
from dl2cli.bench.probes.loader import LoadResult


def diagnose(measured: Measured) -> Diagnosis | None:
    """Say what the runs mean; None where they were cut short before they mean anything."""
    target, compute, model = measured.target, measured.compute, measured.model
    if target is None or compute is None or model is None:
        return None
    now = present_scenario(measured.config.throttle, model, target)
    return Diagnosis(measured, model, compute, target, now)


@dataclass(frozen=True)
class Diagnosis:
    """What the runs mean, where each of them was made at least once.

    Attributes:
        measured: everything that was measured.
        model: the calibrated model of an epoch.
        compute: the training step alone.
        target: the variant that the verdict is about.
        now: storage as it is.
    """

    measured: Measured
    model: EpochModel
    compute: ComputeResult
    target: TrainedVariant
    now: Scenario

    def verdict(self) -> Verdict:
        """Name the stage that bounds."""
        target, throttle = self.target, self.measured.config.throttle
        where = f"throttled to {throttle}" if throttle else "from cold storage"
        if not target.cold.whole_epoch:
            where += ", over a whole epoch"
        # What the data path gives when compute costs nothing: at most what was measured alone.
        free = replace(self.model, compute_s=0.0, shares_cores=False)
        alone = next(
            each.rate_img_s.median
            for each in self.measured.loading
            if each.variant.name == self.measured.plan.target.name
        )
        return find_bottleneck(
            f"{target.variant.name}, {where},",
            epoch_rate_img_s(target, self.model, self.now),
            stalls_of(target, self.compute),
            gains_of(target, self.model, self.now),
            noise=max(target.cold.rate_img_s.relative, target.warm.rate_img_s.relative),
            data_img_s=min(free.predict(target.scans, self.now), alone),
        )

    def recommendations(self) -> tuple[Recommendation, ...]:
        """Name the changes that are worth it."""
        return recommend(
            Advice(
                config=self.measured.config,
                target=self.measured.plan.target,
                model=self.model,
                now=self.now,
                warm=self.measured.loading,
                alternatives=self.measured.alternatives,
                rate_img_s=epoch_rate_img_s(self.target, self.model, self.now),
            )
        )

    def what_if(self) -> WhatIf:
        """Predict other situations."""
        throttle = self.measured.config.throttle
        asked = [Scenario.parse(text, self.now) for text in self.measured.config.scenarios]
        checks = list(self.measured.checks)
        if throttle:  # then each k was measured with limits already
            checks += [
                check_prediction(
                    self.model, each.scans, throttle, each.cold.rate_img_s, each.cold.images
                )
                for each in self.measured.trained
            ]
        return make_what_if(self.model, self.now, asked, checks)

    def bound(self, each: TrainedVariant, result: LoadResult) -> str:
        """Return the stage that bounds a run of a variant."""
        if result.condition != "warm":
            return gains_of(each, self.model, self.now).bound
        memory = replace(self.now, bandwidth_bytes_s=math.inf, latency_s=0.0)
        return self.model.gains(each.scans, memory).bound
