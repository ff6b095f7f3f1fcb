"""What a measurement gave: one object, of which tables, JSON, CSV and logs are renderings.

`runs` has the keys that `dl2 report` reads (report/bench_log.py); everything else is beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dl2cli.bench.diagnosis.bottleneck import Verdict
from dl2cli.bench.diagnosis.recommendations import Recommendation
from dl2cli.bench.diagnosis.stalls import Stalls
from dl2cli.bench.measured import Machine
from dl2cli.bench.model.what_if import WhatIf
from dl2cli.bench.probes.alternatives import Alternative
from dl2cli.bench.probes.compute import ComputeResult
from dl2cli.bench.probes.loader import LoadResult
from dl2cli.bench.statistics import Spread
from dl2cli.bench.storage.counters import Samples
from dl2cli.bench.storage.report import StorageReport
from dl2cli.errors import Interrupted

KIND = "dl2-bench-io"
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
        rate: images/s of all runs.
        bytes_per_image: bytes that were read for an image.
        fetch_stall_s: seconds an image that compute waited for storage; None in synthetic runs.
        prep_stall_s: seconds an image that compute waited for decoding; None in synthetic runs.
        compute_s: seconds of compute an image.
        au: accelerator utilisation, 0 to 1.
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
        counters: CPU and disk beside all this.
        notes: what a reader of the figures must know, in sentences.
        wall_s: seconds that everything took.
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
    counters: Samples | None
    notes: tuple[str, ...]
    wall_s: float


class BenchInterrupted(Interrupted):
    """The user pressed Ctrl-C; `result` holds what is known."""

    def __init__(self, result: BenchResult) -> None:
        super().__init__("Interrupted: what is shown is what was measured until then.")
        self.result = result
