"""The whole measurement: what is run in which order, and what is made of it.

Runs that are compared are measured in turn, round after round, so that a machine that grows slower
or faster meanwhile does so for all of them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psutil

from dl2cli.bench.config import (
    BenchConfig,
)
from dl2cli.bench.measured import Machine, Measured, TrainedVariant
from dl2cli.bench.model.calibrate import calibrate_model
from dl2cli.bench.model.checks import Check, check_prediction, choose_checks
from dl2cli.bench.model.rates import EpochModel
from dl2cli.bench.model.scenario import Scenario
from dl2cli.bench.probes.alternatives import Alternative, measure_alternatives
from dl2cli.bench.probes.compute import ComputeProbe, EmulatedStep, ModelStep, make_step
from dl2cli.bench.probes.loader import Condition, LoaderProbe, LoadResult
from dl2cli.bench.probes.loader_variant import (
    LoaderVariant,
)
from dl2cli.bench.probes.plan import MeasurementPlan, plan_measurement, with_defaults
from dl2cli.bench.result import BenchInterrupted, BenchResult, make_result
from dl2cli.bench.storage.counters import Sampler
from dl2cli.bench.storage.measurement import measure_storage
from dl2cli.bench.storage.report import (
    StorageConfig,
    StorageInterrupted,
    StorageProgress,
    StorageReport,
)
from dl2cli.bench.storage.requests import Prices, StoreReading, measure_store
from dl2cli.cores import usable_cores
from dl2cli.errors import Dl2Error
from dl2cli.loaders.base import require_torch
from dl2cli.loaders.contents import data_files
from dl2cli.stores.path import is_remote

_STORAGE_S = 8.0
_ALTERNATIVES_S = 15.0
_FAR = 5  # times as fast as the step: what a loader then does makes no difference


@dataclass(frozen=True)
class BenchProgress:
    """How far it is: seconds of measuring that are behind, and in all, by an estimate."""

    done_s: float
    total_s: float
    doing: str


OnProgress = Callable[[BenchProgress], None]


def bench(config: BenchConfig, on_progress: OnProgress | None = None) -> BenchResult:
    """Find the bottleneck of loading a dataset, and what to do about it.

    Raises:
        UsageError: the dataset does not exist, or an option makes no sense.
        DataError: the dataset is damaged.
        StorageError: a temporary folder cannot be written.
        MissingDependency: torch, or a part of a loader, is not installed.
        BenchInterrupted: Ctrl-C; it carries what is known.
    """
    require_torch()
    config = with_defaults(config)
    measurement = Measurement(config, on_progress or (lambda _: None))
    try:
        with Sampler(config.data) as sampler:
            measurement.sampler = sampler
            measurement.run()
    except KeyboardInterrupt:
        raise BenchInterrupted(make_result(measurement.measured(), complete=False)) from None
    return make_result(measurement.measured(), complete=True)


class Measurement:
    """Runs the probes; `measured` returns what they have found so far."""

    def __init__(self, config: BenchConfig, on_progress: OnProgress) -> None:
        """Prepare everything that needs no measurement. Raises what `bench` raises."""
        self.config = config
        self.started = time.perf_counter()
        for text in config.scenarios:
            Scenario.parse(text, Scenario("", 1.0))
        self.plan: MeasurementPlan = plan_measurement(config)
        self.files = data_files(config.data)
        self.loader = self.plan.target.throttled(config.throttle).create(config, normalized=False)
        self.images = self.loader.image_count
        self.step: EmulatedStep | ModelStep = make_step(config, len(self.loader.classes))
        self.compute = ComputeProbe(config, self.step)
        self.loading: dict[str, LoaderProbe] = {}
        self.training: dict[str, LoaderProbe] = {}
        self.trained: list[LoaderVariant] = []
        self.untrained: list[LoaderVariant] = []
        self.storage: StorageReport | None = None
        self.store: tuple[StoreReading, ...] = ()
        self.alternatives: tuple[Alternative, ...] = ()
        self.model: EpochModel | None = None
        self.checks: list[Check] = []
        self.remarks: list[str] = list(self.loader.remarks)
        self.sampler: Sampler | None = None
        self.machine = _machine()
        self._progress = _ProgressEstimate(on_progress)

    @property
    def cold(self) -> Condition:
        """The condition of runs from storage."""
        return "throttled" if self.config.throttle else "cold"

    def run(self) -> None:
        """Measure everything."""
        config = self.config
        self._progress.plan(storage=_STORAGE_S * config.storage)
        runs = len(self.plan.variants) + 2 * len(self.plan.trained) + 1
        self._progress.plan(runs=config.run_s * runs * (config.repeat + 1))
        self._progress.plan(alternatives=_ALTERNATIVES_S * bool(config.sample_images))
        self._progress.plan(checks=2 * config.run_s * config.checks)
        if config.storage and is_remote(config.data):
            self._measure_store()
        elif config.storage:
            self._measure_storage()
        self._make_probes()
        self._rounds()
        self.model = self._calibrate()
        if config.sample_images:
            self._measure_alternatives()
        self._check_predictions(self.model)

    def _measure_storage(self) -> None:
        report = self._progress.report
        ks = tuple(sorted({r.scans for r in self.plan.variants if r.scans is not None}))
        storage = StorageConfig(
            self.config.data, ks=ks, repeat=self.config.repeat, seconds=_STORAGE_S
        )

        def tell(state: StorageProgress) -> None:
            share = state.done / max(state.total, 1)
            report("storage", share, f"storage: {state.next_run}")

        try:
            self.storage = measure_storage(storage, tell)
        except StorageInterrupted as interrupted:
            self.storage = interrupted.report
            raise KeyboardInterrupt from None

    def _measure_store(self) -> None:
        config = self.config
        prices = None
        if config.price_requests is not None or config.price_gb is not None:
            prices = Prices(config.price_requests or 0.0, config.price_gb or 0.0)
        self.store = measure_store(
            config.data,
            tuple(sorted({r.scans for r in self.plan.variants if r.scans is not None})),
            seconds=_STORAGE_S,
            prices=prices,
            seed=config.seed,
            on_fidelity=lambda done, of: self._progress.report(
                "storage", done / of, "the store's records"
            ),
        )

    def _make_probes(self) -> None:
        """Make the probes, and run each once, uncounted."""
        config, plan = self.config, self.plan
        self._progress.report("runs", 0.0, "the model's step")
        step_img_s = self.compute.warm_up().rate_img_s
        total = (config.repeat + 1) * (len(plan.variants) + 2 * len(plan.trained) + 1)
        for done, variant in enumerate(plan.variants):
            self._progress.report("runs", done / total, f"{variant.name}, first run")
            self._probe_loading(variant, step_img_s)
        for variant in self.trained:
            done += 1
            self._progress.report("runs", done / total, f"{variant.name}, first run with the model")
            probe = LoaderProbe(
                config,
                variant.throttled(config.throttle),
                self.files,
                self.step,
                normalized=self.step.normalized,
            )
            probe.warm_up()
            self.training[variant.name] = probe

    def _probe_loading(self, variant: LoaderVariant, step_img_s: float) -> None:
        """Make the probe of a loader alone, and decide whether it is trained with, too."""
        target = self.plan.target
        try:
            probe = LoaderProbe(self.config, variant, self.files)
            times = probe.warm_up()
        except Dl2Error as error:
            if variant.loader == target.loader:
                raise
            self.remarks.append(f"{variant.name} was left out: {error}")
            return
        self.loading[variant.name] = probe
        if variant not in self.plan.trained:
            return
        if variant == target or self.config.throttle or times.rate_img_s < _FAR * step_img_s:
            self.trained.append(variant)
        else:
            self.untrained.append(variant)

    def _rounds(self) -> None:
        """Measure each run once a round."""
        runs: list[tuple[str, Callable[[], object]]] = [("the model's step", self.compute.measure)]
        for name, probe in self.loading.items():
            runs.append((f"{name}, loading alone", partial(probe.measure, "warm")))
        for name, probe in self.training.items():
            runs.append((f"{name}, cached", partial(probe.measure, "warm")))
            runs.append((f"{name}, {self.cold}", partial(probe.measure, self.cold)))
        before = 1 / (self.config.repeat + 1)
        for turn in range(self.config.repeat):
            for number, (name, measure) in enumerate(runs):
                share = (turn + number / len(runs)) / self.config.repeat
                doing = f"round {turn + 1} of {self.config.repeat}: {name}"
                self._progress.report("runs", before + (1 - before) * share, doing)
                measure()

    def _measure_alternatives(self) -> None:
        self._progress.report("alternatives", 0.0, "a sample in other formats")
        try:
            self.alternatives = measure_alternatives(self.config, self.plan.target)
        except Dl2Error as error:
            self.remarks.append(f"Other formats were not tried: {error}")

    def _calibrate(self) -> EpochModel:
        """Make the model of the predictions from the runs so far."""
        return calibrate_model(
            self.loader,
            self.config,
            self.plan.target,
            warm=self._warm(self.loading),
            trained=self._warm(self.training),
            compute=self.compute.result(),
        )

    @staticmethod
    def _warm(probes: dict[str, LoaderProbe]) -> tuple[LoadResult, ...]:
        return tuple(probe.result("warm") for probe in probes.values() if probe.has("warm"))

    def _check_predictions(self, model: EpochModel) -> None:
        """Compare predictions with throttled runs."""
        variants = [probe.variant for probe in self.training.values()]
        wanted = choose_checks(self.config, self.plan.target, variants, model)
        for number, (variant, throttle) in enumerate(wanted):
            doing = f"checking: {variant.name} at {throttle}"
            self._progress.report("checks", number / len(wanted), doing)
            probe = self.training[variant.name]
            probe.measure_throttled(throttle, throttle)
            images = probe.runs(throttle)[-1].images
            rates = probe.rates(throttle)
            self.checks.append(check_prediction(model, variant.scans, throttle, rates, images))
        self._progress.report("checks", 1.0, "done")

    def measured(self) -> Measured:
        """Return everything that was measured until now."""
        compute = self.compute.result() if self.compute.measured else None
        trained = self._trained() if compute is not None else ()
        return Measured(
            config=self.config,
            plan=self.plan,
            machine=self.machine,
            images=self.images,
            compute=compute,
            loading=self._warm(self.loading),
            trained=trained,
            untrained=tuple(self.untrained),
            model=self.model or (self._calibrate() if trained else None),
            checks=tuple(self.checks),
            alternatives=self.alternatives,
            storage=self.storage,
            store=self.store,
            counters=self.sampler.result if self.sampler is not None else None,
            remarks=tuple(self.remarks),
            wall_s=time.perf_counter() - self.started,
        )

    def _trained(self) -> tuple[TrainedVariant, ...]:
        return tuple(
            TrainedVariant(
                warm=probe.result("warm"),
                cold=probe.result(self.cold),
                warm_runs=tuple(probe.runs("warm")),
                cold_runs=tuple(probe.runs(self.cold)),
            )
            for probe in self.training.values()
            if probe.has("warm") and probe.has(self.cold)
        )


class _ProgressEstimate:
    """Adds up the parts of the work by the seconds that each is expected to take."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._parts: dict[str, float] = {}
        self._shares: dict[str, float] = {}

    def plan(self, **seconds: float) -> None:
        self._parts.update(seconds)

    def report(self, part: str, share: float, doing: str) -> None:
        for earlier in self._parts:
            if earlier == part:
                break
            self._shares[earlier] = 1.0
        self._shares[part] = share
        done = sum(self._parts[name] * share for name, share in self._shares.items())
        self._on_progress(BenchProgress(done, sum(self._parts.values()), doing))


def _machine() -> Machine:
    torch = require_torch()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Machine(usable_cores(), psutil.virtual_memory().total, gpu, os.getloadavg()[0])
