"""Makes the result of whatever was measured: runs, verdict, predictions, recommendations."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dl2cli.bench.diagnosis import derived as evidence
from dl2cli.bench.diagnosis.bottleneck import Verdict, judge
from dl2cli.bench.diagnosis.derived import Trained
from dl2cli.bench.diagnosis.notes import make_notes
from dl2cli.bench.diagnosis.recommendations import Advice, Recommendation, recommend
from dl2cli.bench.diagnosis.stalls import utilisation
from dl2cli.bench.model.rates import Model
from dl2cli.bench.model.scenario import Scenario
from dl2cli.bench.model.what_if import WhatIf, make_what_if
from dl2cli.bench.probes.loader import LoadResult
from dl2cli.bench.probes.loader_variant import dataset_name
from dl2cli.bench.result import KIND, SYNTHETIC, BenchResult, BenchRun
from dl2cli.bench.statistics import Spread

if TYPE_CHECKING:
    from dl2cli.bench.run import Measurement


def make_result(m: Measurement, *, complete: bool) -> BenchResult:
    """Sum up whatever was measured so far."""
    trained = evidence.trained(m)
    conclusions = None
    if trained and trained[-1].probe.reading.name == m.plan.subject.name:
        conclusions = _Conclusions(m, trained)
    verdict = conclusions.verdict() if conclusions else None
    return BenchResult(
        kind=KIND,
        complete=complete,
        data=m.config.data,
        dataset=dataset_name(m.config.data),
        images=m.images,
        batch_size=m.config.batch_size,
        image_size=m.config.image_size,
        repeat=m.config.repeat,
        throttle=m.config.throttle,
        machine=m.machine,
        verdict=verdict,
        recommendations=conclusions.recommendations() if conclusions else (),
        runs=_runs(m, trained, conclusions),
        loading=evidence.loading(m),
        compute=m.compute.result() if m.compute.measured else None,
        stalls=trained[-1].stalls if trained else None,
        what_if=conclusions.what_if() if conclusions else None,
        alternatives=m.alternatives,
        storage=m.storage,
        counters=m.sampler.result if m.sampler is not None else None,
        notes=make_notes(m, trained, verdict),
        wall_s=time.perf_counter() - m.started,
    )


class _Conclusions:
    """What follows from the runs, where all of them were there at least once."""

    def __init__(self, m: Measurement, trained: Sequence[Trained]) -> None:
        self.m = m
        self.trained = trained
        self.subject = trained[-1]
        self.model: Model = m.model or evidence.calibrate(m)
        self.now: Scenario = evidence.situation(m, self.model, self.subject)

    def verdict(self) -> Verdict:
        subject, throttle = self.subject, self.m.config.throttle
        where = f"throttled to {throttle}" if throttle else "from cold storage"
        if not subject.cold.whole_epoch:
            where += ", over a whole epoch"
        # What the data path gives when compute costs nothing: measured from memory, at most.
        free = replace(self.model, compute_s=0.0, shares_cores=False)
        alone = self.m.loading[self.m.plan.subject.name].rates("warm").median
        return judge(
            f"{subject.probe.reading.name}, {where},",
            evidence.epoch_rate(self.model, self.now, subject),
            subject.stalls,
            evidence.gains(self.model, self.now, subject),
            noise=max(subject.cold.rate_img_s.relative, subject.warm.rate_img_s.relative),
            data_img_s=min(free.predict(subject.scans, self.now), alone),
        )

    def recommendations(self) -> tuple[Recommendation, ...]:
        return recommend(
            Advice(
                subject=self.m.plan.subject,
                model=self.model,
                now=self.now,
                warm=evidence.loading(self.m),
                alternatives=self.m.alternatives,
                rate_img_s=evidence.epoch_rate(self.model, self.now, self.subject),
            )
        )

    def what_if(self) -> WhatIf:
        asked = [Scenario.parse(text, self.now) for text in self.m.config.scenarios]
        checks = list(self.m.checks)
        if self.m.config.throttle:  # then each k was measured with limits already
            checks += [
                evidence.check(self.model, each.probe, self.m.config.throttle, "throttled")
                for each in self.trained
            ]
        return make_what_if(self.model, self.now, asked, checks)

    def bound(self, each: Trained, result: LoadResult) -> str:
        if result.condition != "warm":
            return evidence.gains(self.model, self.now, each).bound
        memory = replace(self.now, bandwidth_bytes_s=math.inf, latency_s=0.0)
        return self.model.gains(each.scans, memory).bound


def _runs(
    m: Measurement, trained: Sequence[Trained], conclusions: _Conclusions | None
) -> tuple[BenchRun, ...]:
    if not m.compute.measured:
        return ()
    rows = [_synthetic(m)]
    for each in trained:
        for result in (each.warm, each.cold):
            bound = conclusions.bound(each, result) if conclusions else None
            rows.append(_run(m, each, result, bound))
    return tuple(rows)


def _synthetic(m: Measurement) -> BenchRun:
    compute = m.compute.result()
    return BenchRun(
        name=SYNTHETIC,
        loader=SYNTHETIC,
        dataset=SYNTHETIC,
        data=m.config.data,
        condition=SYNTHETIC,
        storage="mem",
        served="nowhere",
        scans=None,
        workers=m.plan.subject.workers,
        batch_size=m.config.batch_size,
        arch=compute.arch,
        images=compute.images,
        rate_img_s=compute.rate_img_s.median,
        rate=compute.rate_img_s,
        bytes_per_image=0.0,
        fetch_stall=None,
        prep_stall=None,
        compute=compute.compute_s,
        au=1.0,
        first_batch_s=0.0,
        cpu_s=compute.cpu_s_per_image,
        bound="compute",
    )


def _run(m: Measurement, each: Trained, result: LoadResult, bound: str | None) -> BenchRun:
    reading, stalls = result.reading, each.stalls
    throttle = m.config.throttle
    storage, label, au = throttle or _device(m), result.condition, stalls.au
    if result.condition == "warm":
        storage, label = "mem", "cached"  # type: ignore[assignment]
        runs = each.probe.runs("warm")
        au = Spread.of(utilisation(times, stalls.compute_s) for times in runs).median
    return BenchRun(
        name=f"{reading.name}, {label}" + (f" {throttle}" if label == "throttled" else ""),
        loader=reading.loader,
        dataset=dataset_name(reading.data),
        data=reading.data,
        condition=result.condition,
        storage=storage,
        served=result.served,
        scans=reading.scans,
        workers=reading.workers,
        batch_size=m.config.batch_size,
        arch=m.compute.result().arch,
        images=result.images,
        rate_img_s=result.rate_img_s.median,
        rate=result.rate_img_s,
        bytes_per_image=result.bytes_per_image,
        fetch_stall=0.0 if result.condition == "warm" else stalls.fetch_s,
        prep_stall=stalls.prep_s,
        compute=stalls.compute_s,
        au=au,
        first_batch_s=result.first_batch_s,
        cpu_s=result.cpu_s,
        bound=bound,
    )


def _device(m: Measurement) -> str:
    return (m.storage.device if m.storage else None) or "storage"
