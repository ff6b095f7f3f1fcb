"""What a measurement gave: one object, of which tables, JSON, CSV and logs are renderings.

`runs` has the keys that `dl2 report` reads (report/bench_log.py); everything else is beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dl2cli.bench.diagnosis.bottleneck import Verdict
from dl2cli.bench.diagnosis.derived import stalls_of
from dl2cli.bench.diagnosis.diagnose import Diagnosis, diagnose
from dl2cli.bench.diagnosis.notes import make_notes
from dl2cli.bench.diagnosis.recommendations import Recommendation
from dl2cli.bench.diagnosis.stalls import Stalls, utilisation
from dl2cli.bench.measured import Machine, Measured, TrainedVariant
from dl2cli.bench.model.what_if import WhatIf
from dl2cli.bench.probes.alternatives import Alternative
from dl2cli.bench.probes.compute import ComputeResult
from dl2cli.bench.probes.loader import LoadResult
from dl2cli.bench.probes.loader_variant import dataset_name
from dl2cli.bench.statistics import Spread
from dl2cli.bench.storage.counters import Samples
from dl2cli.bench.storage.report import StorageReport
from dl2cli.bench.storage.requests import StoreReading
from dl2cli.errors import Interrupted
from dl2cli.provenance import provenance

KIND = "dl2-bench-io"
_CACHE = "warm runs read from the page cache, before cold ones it was dropped; `served` says so"
SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class BenchRun:
    """One run of the real thing: loader and training step.

    Attributes:
        name: name of the run, unique in the result.
        loader: name of the loader; "synthetic" has no data.
        dataset: name of the dataset.
        data: path of the dataset.
        condition: "synthetic", "warm", "cold" or "throttled".
        storage: "mem", the block device, or the throttle.
        served: where the bytes came from, by the kernel's count.
        scans: the fidelity k; None for plain files.
        workers: threads or processes that decoded.
        batch_size: images a step.
        arch: the model, or None where a sleep stands for it.
        images: images in each run.
        rate_img_s: images/s, the median of the runs.
        rate: images/s over all runs.
        bytes_per_image: bytes that were read for an image.
        fetch_stall_s: seconds an image that compute waited for storage; None in synthetic runs.
        prep_stall_s: seconds an image that compute waited for decoding; None in synthetic runs.
        compute_s: seconds of compute an image.
        au: accelerator utilisation, 0 to 1; unlike MLPerf's, it counts decoding as waiting.
        first_batch_s: seconds that the first batch was waited for.
        cpu_s: CPU seconds an image.
        bound: "storage", "prep" or "compute", by the model.
    """

    name: str
    loader: str
    dataset: str
    data: Path
    condition: str
    storage: str
    served: str
    scans: int | None
    workers: int
    batch_size: int
    arch: str | None
    images: int
    rate_img_s: float
    rate: Spread
    bytes_per_image: float
    fetch_stall_s: float | None
    prep_stall_s: float | None
    compute_s: float
    au: float | None
    first_batch_s: float
    cpu_s: float
    bound: str | None


@dataclass(frozen=True)
class BenchResult:
    """What was measured and what follows from it; parts are None or empty where it was cut short.

    Attributes:
        kind: says what this document is.
        complete: False after Ctrl-C.
        data: path of the dataset.
        dataset: name of the dataset.
        images: images in the dataset.
        batch_size: images a step.
        image_size: side of the training images, in pixels.
        repeat: how often each run was measured.
        throttle: limits of reading, or None.
        machine: where it was measured.
        verdict: what bounds, and by how much.
        recommendations: changes, the one with the largest gain first.
        runs: loader and training step together.
        loading: loaders alone.
        compute: the training step alone.
        stalls: where the time of an image goes, for the target of the verdict.
        what_if: predictions.
        alternatives: other forms of the data, measured on a sample.
        storage: the dataset's files, read as fast as possible.
        store: the records of a dataset in a store, read in the same way, and what an epoch costs.
        counters: CPU and disk of the machine meanwhile.
        notes: what a reader of the figures must know, in sentences.
        wall_s: seconds that everything took.
        provenance: the code, versions, configuration and storage behind it (provenance.py).
    """

    kind: str
    complete: bool
    data: Path
    dataset: str
    images: int
    batch_size: int
    image_size: int
    repeat: int
    throttle: str | None
    machine: Machine
    verdict: Verdict | None
    recommendations: tuple[Recommendation, ...]
    runs: tuple[BenchRun, ...]
    loading: tuple[LoadResult, ...]
    compute: ComputeResult | None
    stalls: Stalls | None
    what_if: WhatIf | None
    alternatives: tuple[Alternative, ...]
    storage: StorageReport | None
    store: tuple[StoreReading, ...]
    counters: Samples | None
    notes: tuple[str, ...]
    wall_s: float
    provenance: dict[str, Any]


class BenchInterrupted(Interrupted):
    """The user pressed Ctrl-C; `result` holds what is known."""

    def __init__(self, result: BenchResult) -> None:
        super().__init__("Interrupted: what is shown is what was measured until then.")
        self.result = result


def make_result(measured: Measured, *, complete: bool) -> BenchResult:
    """Put together what was measured and what it means, as far as it got."""
    config, target, compute = measured.config, measured.target, measured.compute
    diagnosis = diagnose(measured)
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
        store=measured.store,
        counters=measured.counters,
        notes=make_notes(measured, verdict),
        wall_s=measured.wall_s,
        provenance=provenance(config, data=config.data, cache=_CACHE),
    )


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
