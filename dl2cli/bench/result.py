"""What a measurement gave: one object, of which tables, JSON, CSV and logs are renderings.

`runs` has the keys that `dl2 report` reads (report/bench_log.py); everything else is beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dl2cli.bench.diagnosis.bottleneck import Verdict
from dl2cli.bench.diagnosis.recommendations import Recommendation
from dl2cli.bench.diagnosis.stalls import Stalls
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
        name: unique in the result.
        loader: its name; "synthetic" has no data.
        dataset: what the dataset is called.
        data: its path.
        condition: "synthetic", "warm", "cold" or "throttled".
        storage: "mem", the block device, or the throttle.
        served: where the bytes came from, by the kernel's count.
        scans: fidelity, or None.
        workers: that decoded.
        batch_size: images a step.
        arch: the model, or None where a sleep stands for it.
        images: in each run.
        rate_img_s: median of the runs.
        rate: all of them.
        bytes_per_image: read.
        fetch_stall: seconds an image that compute waited for storage; None in synthetic runs.
        prep_stall: that it waited for decoding, likewise.
        compute: seconds of compute an image.
        au: accelerator utilisation, 0 to 1.
        first_batch_s: wait for the first batch.
        cpu_s: CPU time an image.
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
    fetch_stall: float | None
    prep_stall: float | None
    compute: float
    au: float | None
    first_batch_s: float
    cpu_s: float
    bound: str | None


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Attributes:
        cores: usable by this process.
        memory_bytes: in all.
        gpu: its name, or None.
        load: processes that wanted a core before the measurement began (the last minute's mean).
    """

    cores: int
    memory_bytes: int
    gpu: str | None
    load: float


@dataclass(frozen=True)
class BenchResult:
    """What was measured and what follows from it; parts are None or empty where it was cut short.

    Attributes:
        kind: says what this document is.
        complete: False after Ctrl-C.
        data: the dataset.
        dataset: what it is called.
        images: in it.
        batch_size: images a step.
        image_size: pixels of a side.
        repeat: times that each run was measured.
        throttle: limits of reading, or None.
        machine: where.
        verdict: what bounds, and by how much.
        recommendations: the largest gain first.
        runs: of loader and training step.
        loading: of loaders alone.
        compute: of the training step alone.
        stalls: of the subject.
        what_if: predictions.
        alternatives: other forms of the data, measured on a sample.
        storage: the dataset's files, read as fast as possible.
        counters: CPU and disk beside all this.
        notes: what a reader of the figures must know, in sentences.
        wall_s: of everything.
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
