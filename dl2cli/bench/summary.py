"""Makes the result of the probes' runs: stalls, verdict, predictions, recommendations."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from dl2cli.bench.calibrate import make_model
from dl2cli.bench.loader_probe import Condition, LoaderProbe, LoadResult
from dl2cli.bench.reading import Reading, dataset_name
from dl2cli.bench.recommend import Advice, Recommendation, recommend
from dl2cli.bench.result import KIND, SYNTHETIC, BenchResult, BenchRun
from dl2cli.bench.stalls import MLPERF_STEPS, Stalls, differential
from dl2cli.bench.statistics import Spread
from dl2cli.bench.verdict import Verdict, judge
from dl2cli.bench.what_if import Check, Gains, Model, Scenario, WhatIf, make_what_if
from dl2cli.loaders.throttle import Throttle

if TYPE_CHECKING:
    from dl2cli.bench.run import Measurement

BUSY: Final = 0.3  # of the cores, by others, before the measurement began


def make_result(measurement: Measurement, *, complete: bool) -> BenchResult:
    """Sum up whatever was measured so far."""
    m = measurement
    trained = _Trained.of(m)
    if m.model is None and trained:
        m.model = calibrate(m)
    now = situation(m) if m.model and trained else None
    verdict = _verdict(m, trained[-1], now) if m.model and now and trained else None
    counters = m.sampler.result if m.sampler is not None else None
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
        recommendations=_recommendations(m, trained, now),
        runs=_runs(m, trained, now),
        loading=_loading(m),
        compute=m.compute.result() if m.compute.measured else None,
        stalls=trained[-1].stalls if trained else None,
        what_if=_what_if(m, now),
        alternatives=m.alternatives,
        storage=m.storage,
        counters=counters,
        notes=_notes(m, trained, verdict),
        wall_s=time.perf_counter() - m.started,
    )


@dataclass(frozen=True)
class _Trained:
    """A reading with the training step: from the cache and from storage."""

    probe: LoaderProbe
    warm: LoadResult
    cold: LoadResult
    stalls: Stalls

    @classmethod
    def of(cls, m: Measurement) -> list[_Trained]:
        """Return those of which everything was measured at least once; the subject is the last."""
        if not m.compute.measured:
            return []
        synthetic_s = m.compute.result().compute_s
        found = []
        for probe in m.training.values():
            if probe.has("warm") and probe.has(m.cold):
                warm, cold = probe.result("warm"), probe.result(m.cold)
                stalls = differential(
                    synthetic_s,
                    1 / warm.rate_img_s.median,
                    1 / cold.rate_img_s.median,
                    probe.runs(m.cold),
                )
                found.append(cls(probe, warm, cold, stalls))
        return found


def calibrate(m: Measurement) -> Model:
    """Make the model of the predictions from the runs so far."""
    trained = [p.result("warm") for p in m.training.values() if p.has("warm")]
    return make_model(
        m.loader,
        m.config,
        m.plan.subject,
        warm=_loading(m),
        trained=trained,
        compute=m.compute.result(),
    )


def _loading(m: Measurement) -> tuple[LoadResult, ...]:
    return tuple(p.result("warm") for p in m.loading.values() if p.has("warm"))


def situation(m: Measurement) -> Scenario:
    """Return storage as it is: the throttle, or what the loader's own cold reads gave."""
    if m.config.throttle:
        return throttled(m.config.throttle)
    probe = list(m.training.values())[-1]
    cold = probe.result(m.cold)
    if not cold.fetch_s:
        return Scenario("as measured", math.inf)
    shape = m.model.shape if m.model else None
    if shape is not None and shape.in_worker:
        # A worker waits for each file alone; together they get as much more.
        workers = probe.reading.workers
        return Scenario(
            "as measured",
            workers * cold.bytes_per_image / cold.fetch_s,
            latency_s=cold.fetch_s * (1 - 1 / workers),
        )
    return Scenario("as measured", cold.bytes_per_image / cold.fetch_s)


def throttled(limits: str) -> Scenario:
    """Return storage as a throttle makes it."""
    throttle = Throttle.parse(limits)
    bandwidth = throttle.bytes_per_s if throttle.bytes_per_s is not None else math.inf
    return Scenario(f"throttled to {throttle}", bandwidth, throttle.latency_s)


def wanted_checks(m: Measurement) -> list[tuple[LoaderProbe, str]]:
    """Return which throttled runs are to be compared: at and below where storage begins to bound.

    Loaders that cannot be throttled have none.
    """
    if m.model is None or m.plan.subject.loader.startswith("dali"):
        return []
    probes = list(m.training.values())
    chosen = [probes[-1]] if len(probes) == 1 else [probes[-1], probes[-2]]
    full = m.plan.subject.scans
    free = m.model.predict(full, Scenario("", math.inf))
    middle = free * m.model.costs[full].bytes_per_image
    wanted = []
    for number in range(m.config.checks):
        share = (0.5, 1.0, 0.25, 2.0)[number // len(chosen) % 4]
        throttle = str(Throttle(float(f"{share * middle:.2g}")))
        wanted.append((chosen[number % len(chosen)], throttle))
    return wanted


def check(m: Measurement, probe: LoaderProbe, throttle: str) -> Check:
    """Compare a throttled run with its prediction."""
    assert m.model is not None
    scans = probe.reading.scans
    images = probe.runs(throttle)[-1].images
    predicted = m.model.predict(scans, throttled(throttle), images=images)
    measured = probe.rates(throttle)
    return Check(scans, throttle, predicted, measured, abs(predicted / measured.median - 1))


def _verdict(m: Measurement, subject: _Trained, now: Scenario) -> Verdict:
    assert m.model is not None
    scans = subject.probe.reading.scans
    spreads = (subject.cold.rate_img_s, subject.warm.rate_img_s)
    name = f"{subject.probe.reading.name}, {_condition(m)},"
    loaded = m.loading[replace(subject.probe.reading, throttle=None).name].result("warm")
    free = replace(m.model, compute_s=0.0, shares_cores=False)
    return judge(
        name,
        subject.cold.rate_img_s.median,
        subject.stalls,
        _gains(m, scans, now, subject),
        noise=max(spread.relative for spread in spreads),
        data_img_s=min(free.predict(scans, now), loaded.rate_img_s.median),
    )


def _gains(m: Measurement, scans: int | None, now: Scenario, trained: _Trained) -> Gains:
    """Return the model's gains; that of storage as it was measured, if it was."""
    assert m.model is not None
    gains = m.model.gains(scans, now)
    pairs = zip(trained.warm.rate_img_s.runs, trained.cold.rate_img_s.runs, strict=False)
    measured = Spread.of(warm / cold for warm, cold in pairs).median
    return replace(gains, storage=max(measured, 1.0))


def _condition(m: Measurement) -> str:
    return f"throttled to {m.config.throttle}" if m.config.throttle else "from cold storage"


def _recommendations(
    m: Measurement, trained: list[_Trained], now: Scenario | None
) -> tuple[Recommendation, ...]:
    if m.model is None or now is None:
        return ()
    return recommend(
        Advice(
            subject=m.plan.subject,
            model=m.model,
            now=now,
            warm=_loading(m),
            alternatives=m.alternatives,
            rate_img_s=trained[-1].cold.rate_img_s.median,
        )
    )


def _what_if(m: Measurement, now: Scenario | None) -> WhatIf | None:
    if m.model is None or now is None:
        return None
    asked = [Scenario.parse(text, now) for text in m.config.scenarios]
    checks = list(m.checks)
    if m.config.throttle:
        for probe in m.training.values():
            if probe.has("throttled"):
                images = probe.runs("throttled")[-1].images
                predicted = m.model.predict(probe.reading.scans, now, images=images)
                rates = probe.rates("throttled")
                error = abs(predicted / rates.median - 1)
                checks.append(
                    Check(probe.reading.scans, m.config.throttle, predicted, rates, error)
                )
    return make_what_if(m.model, now, asked, checks)


def _runs(m: Measurement, trained: list[_Trained], now: Scenario | None) -> tuple[BenchRun, ...]:
    if not m.compute.measured:
        return ()
    compute = m.compute.result()
    synthetic = Reading(SYNTHETIC, m.config.data, None, m.plan.subject.workers)
    rows = [
        BenchRun(
            name="synthetic",
            loader=SYNTHETIC,
            dataset=SYNTHETIC,
            data=synthetic.data,
            condition=SYNTHETIC,
            storage="mem",
            served="nowhere",
            scans=None,
            workers=synthetic.workers,
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
    ]
    for each in trained:
        rows += [_row(m, each, each.warm, now), _row(m, each, each.cold, now)]
    return tuple(rows)


def _row(m: Measurement, trained: _Trained, result: LoadResult, now: Scenario | None) -> BenchRun:
    reading, stalls = result.reading, trained.stalls
    warm = result.condition == "warm"
    compute = m.compute.result()
    au = stalls.au
    bound = None
    if warm:
        au = differential(
            compute.compute_s, stalls.compute_s, stalls.compute_s, trained.probe.runs("warm")
        ).au
    if m.model is not None and now is not None:
        here = replace(now, bandwidth_bytes_s=math.inf, latency_s=0.0) if warm else now
        gains = (
            m.model.gains(reading.scans, here) if warm else _gains(m, reading.scans, here, trained)
        )
        bound = gains.bound
    return BenchRun(
        name=f"{reading.name}, {_label(m, result.condition)}",
        loader=reading.loader,
        dataset=dataset_name(reading.data),
        data=reading.data,
        condition=result.condition,
        storage="mem" if warm else m.config.throttle or _device(m),
        served=result.served,
        scans=reading.scans,
        workers=reading.workers,
        batch_size=m.config.batch_size,
        arch=compute.arch,
        images=result.images,
        rate_img_s=result.rate_img_s.median,
        rate=result.rate_img_s,
        bytes_per_image=result.bytes_per_image,
        fetch_stall=0.0 if warm else stalls.fetch_s,
        prep_stall=stalls.prep_s,
        compute=stalls.compute_s,
        au=au,
        first_batch_s=result.first_batch_s,
        cpu_s=result.cpu_s,
        bound=bound,
    )


def _label(m: Measurement, condition: Condition) -> str:
    if condition == "warm":
        return "cached"
    return f"throttled {m.config.throttle}" if condition == "throttled" else "cold"


def _device(m: Measurement) -> str:
    return (m.storage.device if m.storage else None) or "storage"


def _notes(m: Measurement, trained: list[_Trained], verdict: Verdict | None) -> tuple[str, ...]:
    notes = list(m.notes)
    noisy = [each for each in _spreads(m, trained) if each[1].noisy]
    if noisy:
        name, worst = max(noisy, key=lambda each: each[1].relative)
        notes.append(
            f"This machine is noisy: {len(noisy)} of {len(_spreads(m, trained))} measurements "
            f"differ by more than 10 % between rounds, {name} by {worst.relative:.0%}. Close what "
            "else runs here, or raise --repeat."
        )
    if m.machine.load > BUSY * m.machine.cores:
        notes.append(
            f"Others used this machine before the measurement began: load {m.machine.load:.1f} on "
            f"{m.machine.cores} cores."
        )
    if verdict is not None and not verdict.certain:
        notes.append("The verdict is not certain: runs differ by more than the gain that it names.")
    cached = [each.cold.reading.name for each in trained if each.cold.served == "page cache"]
    if cached and not m.config.throttle:
        notes.append(
            "The cold runs were served from a cache below or in this kernel, not from the device: "
            "they say nothing of storage."
        )
    if m.compute.measured and m.compute.result().shares_cores:
        notes.append(
            "The model computes on the CPU, on the decoders' cores: the prep stall includes what "
            "decoding takes from it. On a GPU, use --compute-rate to see what its speed would show."
        )
    if trained and trained[-1].stalls.steps < MLPERF_STEPS:
        notes.append(
            f"AU is of {trained[-1].stalls.steps} steps, without the wait for the first; MLPerf "
            f"Storage asks for {MLPERF_STEPS} steps."
        )
    return tuple(notes)


def _spreads(m: Measurement, trained: list[_Trained]) -> list[tuple[str, Spread]]:
    found = [(f"{r.reading.name} alone", r.rate_img_s) for r in _loading(m)]
    for each in trained:
        found.append((f"{each.warm.reading.name} cached", each.warm.rate_img_s))
        found.append((f"{each.cold.reading.name} {each.cold.condition}", each.cold.rate_img_s))
    if m.compute.measured:
        found.append(("the model's step", m.compute.result().rate_img_s))
    return found
