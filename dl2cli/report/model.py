"""What the readers return: runs, traces and notes, as frozen dataclasses without any formula.

Times are seconds, rates images a second, accuracies percent, sizes bytes unless a name says
otherwise. `None` means "not in the log"; a NaN or an infinity is kept as the log has it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class Severity(enum.StrEnum):
    """How much a note matters; an ERROR makes `dl2 report` return exit code 3."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class LogNote:
    """Something a reader of the report must know about a file or a run."""

    severity: Severity
    code: str
    text: str
    file: str = ""


class Kind(enum.StrEnum):
    """The kinds of runs."""

    TRAIN = "train"
    STAGE = "stage"
    REGIMEN = "regimen"
    STANDALONE = "standalone"
    CODEC_ENC = "codec_enc"
    CODEC_DEC = "codec_dec"
    BENCH = "bench"


class Status(enum.StrEnum):
    """How far a log goes."""

    COMPLETE = "complete"
    NO_SUMMARY = "no summary"
    CUT = "cut"
    PARAMETERS_ONLY = "parameters only"
    NO_PARAMETERS = "no parameters"


@dataclass(frozen=True, slots=True)
class RunSource:
    """Where a run comes from.

    `run` is the identity (relative directory, plus the file's stem where a directory holds
    several), `file` the relative path, `group` the folder above the run's own.
    """

    run: str
    file: str
    group: str


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters that a comparison needs, from the P record and from the directory's name."""

    experiment_name: str | None = None
    dataset: str | None = None
    variant: str | None = None
    codec: str | None = None
    quality: str | None = None
    subset_frac: float | None = None
    storage: str | None = None  # the directory's label; only it knows about `mem`
    storage_path: str | None = None
    data_path: str | None = None
    loader: str | None = None
    dataset_class: str | None = None
    cache_size_bytes: int | None = None
    arch: str | None = None
    workers: int | None = None
    batch_size: int | None = None  # per rank
    world_size: int | None = None
    optimizer_batch_size: int | None = None
    mixup: float | None = None
    lr: float | None = None
    epochs_asked: int | None = None
    run_epochs: int | None = None
    device: str | None = None
    seed: int | None = None

    @property
    def storage_words(self) -> str | None:
        """The storage as a plot may name it: both words where name and data path disagree.

        `mem` is the page cache, which no path can name.
        """
        if self.storage and self.storage_path and self.storage not in ("mem", self.storage_path):
            return f"{self.storage} (path: {self.storage_path})"
        return self.storage or self.storage_path

    @property
    def ranks(self) -> str:
        """What computes, in words: published runs name no device, and all had GPUs."""
        count = self.world_size or 1
        if self.device is not None and not self.device.startswith("cuda"):
            return "CPU" if count == 1 else f"{count} CPU processes"
        return f"{count} GPU{'s' * (count > 1)}"

    @property
    def global_batch(self) -> int | None:
        """Images a training step over all ranks."""
        if self.batch_size is None:
            return None
        return self.batch_size * (self.world_size or 1)


@dataclass(frozen=True, slots=True)
class StoreUse:
    """What an epoch took from an object store (dl2 train); None where data are on disks."""

    requests: float | None = None
    retries: float | None = None
    hedges: float | None = None
    store_bytes: float | None = None
    cache_bytes: float | None = None
    latency_p50_s: float | None = None
    latency_p99_s: float | None = None


NO_STORE = StoreUse()


@dataclass(frozen=True, slots=True)
class Epoch:
    """The merged E records of one epoch; `index` is 0-based, as in the log."""

    index: int
    end_s: float | None = None  # elapsed time of its last record
    end_unix_s: float | None = None
    total_s: float | None = None  # e.total_time; None: the log ends inside the epoch's records
    data_s: float | None = None
    fetch_stall_s: float | None = None  # the part of data_s that waited for storage (dl2 train)
    prep_stall_s: float | None = None  # the part of data_s that waited for decode (dl2 train)
    compute_s: float | None = None
    iteration_s: float | None = None
    iteration_speed_img_s: float | None = None
    top1_pct: float | None = None
    loss: float | None = None
    v_top1_pct: float | None = None
    v_top5_pct: float | None = None
    v_loss: float | None = None
    v_data_s: float | None = None
    v_iteration_s: float | None = None
    bytes_read: float | None = None
    store: StoreUse = NO_STORE


@dataclass(frozen=True, slots=True)
class Step:
    """A merged T record: means over the last `print_freq` iterations, rank 0."""

    epoch: int
    iteration: int
    data_s: float | None
    compute_s: float | None
    iteration_s: float | None


@dataclass(frozen=True, slots=True)
class WatchedEpoch:
    """What `dl2cli.watch` found in an epoch of somebody's own loop, as rank 0 saw it.

    `first_batch_s` is told apart: the other waits are those for all further batches. `stall` and
    the CPU shares are fractions, the latter of the usable cores. `loaded_img_s` is the rate that
    `replay_img_s` compares with: the same loop before it was fed from kept batches. `text` and
    `straggler` are sentences of the log.
    """

    index: int
    first_batch_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    wait_p99_s: float | None
    wait_max_s: float | None
    stall: float | None
    cpu_share: float | None
    workers_cpu_share: float | None
    replay_img_s: float | None
    loaded_img_s: float | None = None
    bottleneck: str | None = None
    text: str | None = None
    straggler_rank: int | None = None
    straggler: str | None = None

    @property
    def bound(self) -> str | None:
        """What bounds the loop; rank 0 takes its wait for another rank for computing."""
        return self.bottleneck if self.straggler_rank is None else f"rank {self.straggler_rank}"


@dataclass(frozen=True, slots=True)
class Run:
    """What every kind of run has."""

    source: RunSource
    kind: Kind
    setup: Setup
    status: Status
    notes: tuple[LogNote, ...]
    duplicate_of: str | None


@dataclass(frozen=True, slots=True)
class TrainingRun(Run):
    """One session of a training log."""

    params: Mapping[str, object] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    steps: tuple[Step, ...] = ()
    v_records: int = 0
    summary: Mapping[str, float] = field(default_factory=dict)
    lines: int = 0
    nonfinite: int = 0
    start: str | None = None  # local time, as in the log
    start_unix_s: float | None = None
    utc_offset_s: float | None = None  # local clock minus UTC
    total_s: float | None = None  # elapsed time of the last record
    wall_s: float | None = None  # last minus first timestamp
    images_train: int | None = None  # when the log itself tells
    images_val: int | None = None
    watched: tuple[WatchedEpoch, ...] = ()  # empty: dl2 ran the loop itself

    @property
    def validated(self) -> bool:
        """Whether epochs hold validation."""
        if self.params.get("skip_validation") is True:
            return False
        return any(epoch.v_iteration_s is not None for epoch in self.epochs)


@dataclass(frozen=True, slots=True)
class StandaloneRun(Run):
    """A loader driven without a model: batch waits and epoch times."""

    data_times_s: tuple[tuple[float, ...], ...] = ()
    epoch_times_s: tuple[float, ...] = ()
    total_s: float | None = None


@dataclass(frozen=True, slots=True)
class CodecRun(Run):
    """An encoding or decoding experiment; `times_s` are per image or per batch (`time_key`).

    `shared` is how many variants one pass made, whose time `total_s` then is. `cpu_s` are the
    processor's seconds of each time. `ms_ssim` and `psnr_db` are of a sample of the images.
    """

    time_key: str = ""
    times_s: tuple[float, ...] = ()
    bpp: tuple[float, ...] = ()
    total_s: float | None = None
    shared: int = 1
    cpu_s: tuple[float, ...] = ()
    ms_ssim: tuple[float, ...] = ()
    psnr_db: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class RegimenRun(Run):
    """Several stages of one training, in order, with the wall times of regimen_log.json."""

    stages: tuple[TrainingRun, ...] = ()
    stage_times_s: tuple[float | None, ...] = ()
    stage_epochs: tuple[int | None, ...] = ()
    stage_datasets: tuple[str | None, ...] = ()
    total_s: float | None = None

    @property
    def validated(self) -> bool:
        """Whether epochs hold validation."""
        return any(stage.validated for stage in self.stages)


@dataclass(frozen=True, slots=True)
class BenchIoRun(Run):
    """A measurement of `dl2 bench-io`: rate, and seconds an image by cause."""

    rate_img_s: float | None = None
    bytes_per_image: float | None = None
    fetch_stall_s: float | None = None
    prep_stall_s: float | None = None
    compute_s: float | None = None
    images: int | None = None
    bound: str | None = None


@dataclass(frozen=True, slots=True)
class DiskSample:
    """One interval of iostat, all disks together, and the CPU's share of waiting for I/O.

    None is what the trace does not say, or says in a unit that is not known.
    """

    clock_s: float | None  # the end of the interval, by the trace's clock
    read_bytes: float | None
    written_bytes: float | None
    interval_s: float | None
    iowait_pct: float | None


@dataclass(frozen=True, slots=True)
class DiskTrace:
    """An iostat.json.

    `clock` tells what its times are: Unix seconds ("utc"), or the local clock read as if it were
    UTC ("local"). `swapped_s` is what to add to them if day and month stand in the other order,
    where that cannot be told.
    """

    file: str
    directory: str
    devices: tuple[str, ...]
    samples: tuple[DiskSample, ...]
    notes: tuple[LogNote, ...]
    clock: str | None = None
    swapped_s: float | None = None


@dataclass(frozen=True, slots=True)
class MemInfo:
    """A copy of /proc/meminfo, in bytes where the kernel gives kB, else plain counts."""

    file: str
    directory: str
    values: Mapping[str, int]
    notes: tuple[LogNote, ...]


@dataclass(frozen=True, slots=True)
class RegimenLog:
    """A regimen_log.json."""

    file: str
    directory: str
    times_s: tuple[float | None, ...]
    epochs: tuple[int | None, ...]
    datasets: tuple[str | None, ...]
    total_s: float | None


@dataclass(frozen=True, slots=True)
class FidelityPoint:
    """Means over a sample of images at a setting; `variant` is as `pcr-5` or `jpeg-75`."""

    variant: str
    images: int
    bits_per_pixel: float
    ms_ssim: float
    psnr_db: float | None


@dataclass(frozen=True, slots=True)
class QualityList:
    """What a CSV of `dl2 analyze-images` says of a data set.

    `counts` are images by JPEG quality; `fidelity` is what bits buy, where that was measured.
    """

    file: str
    counts: Mapping[int, int]
    notes: tuple[LogNote, ...]
    fidelity: tuple[FidelityPoint, ...] = ()


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log that was read, as it lay there, so that a report can be traced to it."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Everything found under the given folders, in a deterministic order."""

    runs: tuple[Run, ...]
    traces: tuple[DiskTrace, ...]
    meminfos: tuple[MemInfo, ...]
    qualities: tuple[QualityList, ...]
    notes: tuple[LogNote, ...]
    files_read: int
    files_ignored: int
    roots: tuple[str, ...] = ()  # absolute
    files: tuple[LogFile, ...] = ()
