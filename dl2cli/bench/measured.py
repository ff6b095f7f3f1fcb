"""What a measurement has found so far: the value that the probes fill and the diagnosis reads."""

from __future__ import annotations

from dataclasses import dataclass

from dl2cli.bench.config import BenchConfig
from dl2cli.bench.model.checks import Check
from dl2cli.bench.model.rates import EpochModel
from dl2cli.bench.probes.alternatives import Alternative
from dl2cli.bench.probes.compute import ComputeResult
from dl2cli.bench.probes.loader import LoadResult
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.bench.probes.plan import MeasurementPlan
from dl2cli.bench.probes.timed_run import RunTimes
from dl2cli.bench.statistics import Spread
from dl2cli.bench.storage.counters import Samples
from dl2cli.bench.storage.report import StorageReport
from dl2cli.bench.storage.requests import StoreReading


@dataclass(frozen=True)
class Machine:
    """The machine that was measured.

    Attributes:
        cores: processors that this process may use.
        memory_bytes: size of the machine's memory.
        gpu: name of the GPU, or None.
        load: mean number of processes that wanted a core in the minute before the measurement.
    """

    cores: int
    memory_bytes: int
    gpu: str | None
    load: float


@dataclass(frozen=True)
class TrainedVariant:
    """A loader variant measured together with the training step.

    Attributes:
        warm: the result with everything in the page cache.
        cold: the result from storage, or throttled.
        warm_runs: the single runs behind `warm`.
        cold_runs: the single runs behind `cold`.
    """

    warm: LoadResult
    cold: LoadResult
    warm_runs: tuple[RunTimes, ...]
    cold_runs: tuple[RunTimes, ...]

    @property
    def variant(self) -> LoaderVariant:
        """The loader variant."""
        return self.cold.variant

    @property
    def scans(self) -> int | None:
        """The fidelity k; None for plain files."""
        return self.variant.scans

    def storage_gain(self) -> float:
        """Return how many times as fast memory is as storage: the median ratio of the rounds."""
        pairs = zip(self.warm.rate_img_s.runs, self.cold.rate_img_s.runs, strict=False)
        return max(Spread.of(warm / cold for warm, cold in pairs).median, 1.0)


@dataclass(frozen=True)
class Measured:
    """Everything that was measured until now; parts are None or empty where it was cut short.

    Attributes:
        config: the options, with every choice made.
        plan: the loader variants, and which of them is the target of the verdict.
        machine: where it was measured.
        images: images in the dataset.
        compute: the training step alone.
        loading: loaders alone, from the page cache.
        trained: loader variants with the training step, each measured at least once warm and
            cold; the target is last.
        untrained: variants that load so fast that the step cannot notice, and so were not run
            with it.
        model: the calibrated model of an epoch.
        checks: predictions of the model beside throttled runs.
        alternatives: other forms of the data, measured on a sample.
        storage: the dataset's files, read as fast as possible.
        store: the records of a dataset in a store, likewise, and what an epoch costs there.
        counters: CPU and disk of the machine meanwhile.
        remarks: sentences on data that is probably not what was meant, and on what was left out.
        wall_s: seconds that everything took.
    """

    config: BenchConfig
    plan: MeasurementPlan
    machine: Machine
    images: int
    compute: ComputeResult | None
    loading: tuple[LoadResult, ...]
    trained: tuple[TrainedVariant, ...]
    untrained: tuple[LoaderVariant, ...]
    model: EpochModel | None
    checks: tuple[Check, ...]
    alternatives: tuple[Alternative, ...]
    storage: StorageReport | None
    store: tuple[StoreReading, ...]
    counters: Samples | None
    remarks: tuple[str, ...]
    wall_s: float

    @property
    def target(self) -> TrainedVariant | None:
        """The variant that the verdict is about, once it was measured with the step."""
        found = [each for each in self.trained if each.variant.name == self.plan.target.name]
        return found[-1] if found else None
