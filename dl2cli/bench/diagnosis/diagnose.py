"""Makes the result of what was measured: runs, verdict, predictions, recommendations."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from dl2cli.bench.diagnosis.bottleneck import Verdict, find_bottleneck
from dl2cli.bench.diagnosis.derived import (
    epoch_rate_img_s,
    gains_of,
    present_scenario,
    stalls_of,
)
from dl2cli.bench.diagnosis.notes import make_notes
from dl2cli.bench.diagnosis.recommendations import Advice, Recommendation, recommend
from dl2cli.bench.diagnosis.stalls import utilisation
from dl2cli.bench.measured import Measured, TrainedVariant
from dl2cli.bench.model.checks import check_prediction
from dl2cli.bench.model.rates import EpochModel
from dl2cli.bench.model.scenario import Scenario
from dl2cli.bench.model.what_if import WhatIf, make_what_if
from dl2cli.bench.probes.compute import ComputeResult
from dl2cli.bench.probes.loader import LoadResult
from dl2cli.bench.probes.loader_variant import dataset_name
from dl2cli.bench.result import KIND, SYNTHETIC, BenchResult, BenchRun
from dl2cli.bench.statistics import Spread


def make_result(measured: Measured, *, complete: bool) -> BenchResult:
    """Say what the runs mean, as far as they got."""
    config, target, compute = measured.config, measured.target, measured.compute
    diagnosis = None
    if target is not None and compute is not None and measured.model is not None:
        now = present_scenario(config.throttle, measured.model, target)
        diagnosis = Diagnosis(measured, measured.model, compute, target, now)
    verdict = diagnosis.verdict() if diagnosis else None
    return BenchResult(
        kind=KIND,
        complete=complete,
        data=config.data,
        dataset=dataset_name(config.data),
        images=measured.images,
        batch_size=config.batch_size,
        image_size=config.image_size,
        repeat=config.repeat,
        throttle=config.throttle,
        machine=measured.machine,
        verdict=verdict,
        recommendations=diagnosis.recommendations() if diagnosis else (),
        runs=tuple(_runs(measured, diagnosis)),
        loading=measured.loading,
        compute=compute,
        stalls=stalls_of(target, compute) if target is not None and compute is not None else None,
        what_if=diagnosis.what_if() if diagnosis else None,
        alternatives=measured.alternatives,
        storage=measured.storage,
        counters=measured.counters,
        notes=make_notes(measured, verdict),
        wall_s=measured.wall_s,
    )


@dataclass(frozen=True)
class Diagnosis:
    """What the runs mean, where each of them was made at least once.

    Attributes:
        measured: all of it.
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


def _runs(measured: Measured, diagnosis: Diagnosis | None) -> Iterator[BenchRun]:
    compute = measured.compute
    if compute is None:
        return
    yield _synthetic(measured, compute)
    for each in measured.trained:
        for result in (each.warm, each.cold):
            bound = diagnosis.bound(each, result) if diagnosis else None
            yield _run(measured, each, result, compute, bound)


def _synthetic(measured: Measured, compute: ComputeResult) -> BenchRun:
    return BenchRun(
        name=SYNTHETIC,
        loader=SYNTHETIC,
        dataset=SYNTHETIC,
        data=measured.config.data,
        condition=SYNTHETIC,
        storage="mem",
        served="nowhere",
        scans=None,
        workers=measured.plan.target.workers,
        batch_size=measured.config.batch_size,
        arch=compute.arch,
        images=compute.images,
        rate_img_s=compute.rate_img_s.median,
        rate=compute.rate_img_s,
        bytes_per_image=0.0,
        fetch_stall_s=None,
        prep_stall_s=None,
        compute_s=compute.compute_s,
        au=1.0,
        first_batch_s=0.0,
        cpu_s=compute.cpu_s_per_image,
        bound="compute",
    )


def _run(
    measured: Measured,
    each: TrainedVariant,
    result: LoadResult,
    compute: ComputeResult,
    bound: str | None,
) -> BenchRun:
    variant, stalls, throttle = result.variant, stalls_of(each, compute), measured.config.throttle
    warm = result.condition == "warm"
    label = "cached" if warm else result.condition
    if warm:
        au = Spread.of(utilisation(run, compute.compute_s) for run in each.warm_runs).median
    else:
        au = stalls.au
    return BenchRun(
        name=f"{variant.name}, {label}" + (f" {throttle}" if label == "throttled" else ""),
        loader=variant.loader,
        dataset=dataset_name(variant.data),
        data=variant.data,
        condition=result.condition,
        storage="mem" if warm else throttle or _device(measured),
        served=result.served,
        scans=variant.scans,
        workers=variant.workers,
        batch_size=measured.config.batch_size,
        arch=compute.arch,
        images=result.images,
        rate_img_s=result.rate_img_s.median,
        rate=result.rate_img_s,
        bytes_per_image=result.bytes_per_image,
        fetch_stall_s=0.0 if warm else stalls.fetch_s,
        prep_stall_s=stalls.prep_s,
        compute_s=stalls.compute_s,
        au=au,
        first_batch_s=result.first_batch_s,
        cpu_s=result.cpu_s,
        bound=bound,
    )


def _device(measured: Measured) -> str:
    return (measured.storage.device if measured.storage else None) or "storage"
