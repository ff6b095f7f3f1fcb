"""What a training tells while it runs, and who listens.

The loop knows no log, table or screen: it tells its `Observer`s what happened. The run log, the
CSV of each rank, the sinks of other programs and the live view are such observers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from dl2cli.stores.counters import StoreStats
from dl2cli.training.fidelity.curriculum import Fidelity


class Phase(StrEnum):
    """What an epoch consists of."""

    TRAIN = "train"
    VALIDATION = "validation"


@dataclass(frozen=True)
class RunInfo:
    """What is known before the first step.

    Attributes:
        folder: the run's folder, where logs and checkpoints are.
        parameters: the options by their published names, and what dl2 adds: the P record.
        rank: this process.
        world_size: the number of processes.
        device: "cpu" or "cuda:N".
        epochs: number of epochs in the whole training.
        first_epoch: the epoch in which this process begins (0-based); above 0 after a resume.
        first_iteration: number of iterations of that epoch that are done already.
        steps_per_epoch: training iterations per epoch.
        val_steps: validation iterations per epoch; 0 without validation.
        train_images: number of training images.
        val_images: number of validation images; 0 without validation.
        classes: class names by label.
        model_parameters: number of trainable parameters.
        log_state: what the observers of the interrupted run had saved (see `Observer.state`).
        best_top1_pct: the best validation top-1 of earlier epochs; None without validation.
        best_epoch: the epoch that reached it (0-based).
    """

    folder: Path
    parameters: dict[str, Any]
    rank: int
    world_size: int
    device: str
    epochs: int
    first_epoch: int
    first_iteration: int
    steps_per_epoch: int
    val_steps: int
    train_images: int
    val_images: int
    classes: tuple[str, ...]
    model_parameters: int
    log_state: dict[str, Any] = field(default_factory=dict)
    best_top1_pct: float | None = None
    best_epoch: int | None = None


@dataclass(frozen=True)
class StepReport:
    """One iteration on this rank, told as soon as it is known and without waiting for a device.

    Attributes:
        phase: training or validation.
        epoch: 0-based.
        iteration: 1-based in the epoch.
        images: number of images in this rank's batch.
        data_s: seconds of waiting for the batch.
        iteration_s: seconds of the whole iteration.
    """

    phase: Phase
    epoch: int
    iteration: int
    images: int
    data_s: float
    iteration_s: float


@dataclass(frozen=True)
class PhaseReport:
    """Some iterations of a phase: the last `print_freq` of them, or those of an epoch.

    Times and speeds are means over iterations on this rank, as the (DL)2 program defines them;
    speeds count the images of all ranks. Trust `images / wall_s` instead of these means.

    Attributes:
        phase: training or validation.
        epoch: 0-based.
        iteration: the last iteration, 1-based in the epoch.
        iterations: number of iterations.
        images: number of images on all ranks.
        loss: mean over the images of all ranks; it can be NaN or infinite.
        top1_pct: share of images on all ranks whose label scored highest; 0 with mixup, as in the
            (DL)2 program.
        top5_pct: share of images whose label is among the five highest scores.
        data_s: seconds of waiting for a batch.
        compute_s: seconds of the rest of the iteration.
        iteration_s: seconds of the whole iteration.
        data_speed_img_s: mean of images / data_s, which misleads; kept for comparison.
        compute_speed_img_s: mean of images / compute_s.
        iteration_speed_img_s: mean of images / iteration_s.
        compute_latency_s: quantiles (nearest) of the compute time: 0.95, 0.99, 1.
        fetch_stall_s: the part of data_s that waited for storage, if the loader can tell.
        prep_stall_s: the part of data_s that waited for decoding, if the loader can tell.
        wall_s: seconds from the first to the last of these iterations.
        bytes_read: bytes read from storage on all ranks.
        lr: the learning rate; None in validation.
        fidelity: the scans (None when the loader has none), size and decoding of the images.
        stages_s: seconds of the loader's stages on this rank, as `LoaderStats` names them; they
            are sums over its threads.
        store: what reading from an object store took on all ranks; None for data on disks.
        scored: False of a loop that is only watched: its loss, hits and rate are not known.
    """

    phase: Phase
    epoch: int
    iteration: int
    iterations: int
    images: int
    loss: float
    top1_pct: float
    top5_pct: float
    data_s: float
    compute_s: float
    iteration_s: float
    data_speed_img_s: float
    compute_speed_img_s: float
    iteration_speed_img_s: float
    compute_latency_s: dict[float, float]
    fetch_stall_s: float | None
    prep_stall_s: float | None
    wall_s: float
    bytes_read: int
    lr: float | None
    fidelity: Fidelity
    stages_s: dict[str, float] = field(default_factory=dict)
    store: StoreStats | None = None
    scored: bool = True


@dataclass(frozen=True)
class EpochReport:
    """A whole epoch.

    Attributes:
        epoch: 0-based.
        train: the training; None with skip_training.
        validation: the validation; None without one.
        total_s: seconds of training, validation and the time between, without saving checkpoints.
        degraded: images loaded with fewer scan groups than asked for, so far, on this rank.
        skipped: images left out so far, on this rank.
        best: whether its validation top-1 is the best so far.
        more: further numbers, by the names that they have in the log behind "e.".
    """

    epoch: int
    train: PhaseReport | None
    validation: PhaseReport | None
    total_s: float
    degraded: int = 0
    skipped: int = 0
    best: bool = False
    more: dict[str, Any] = field(default_factory=dict)


class NoticeKind(StrEnum):
    """What a notice is about."""

    CHECKPOINT = "checkpoint"
    FIDELITY = "fidelity"  # a scan schedule or the tuner changed k; `values` has the scores
    NAN_LOSS = "nan_loss"
    DAMAGE = "damage"
    BOTTLENECK = "bottleneck"  # of a watched loop: what it waits for
    STRAGGLER = "straggler"  # the rank that the others wait for
    INFO = "info"


@dataclass(frozen=True)
class Notice:
    """Something to tell the user at once, and to keep.

    Attributes:
        kind: what it is about.
        text: a sentence.
        epoch: 0-based.
        iteration: 1-based; 0 before the first of the epoch.
        values: the numbers behind the sentence, JSON types only.
    """

    kind: NoticeKind
    text: str
    epoch: int
    iteration: int
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainResult:
    """How a training ended.

    Attributes:
        folder: the run's folder.
        log: the run log, on rank 0.
        checkpoint: the last checkpoint written, if any.
        status: "complete", or "stopped" by a signal or the time budget.
        stopped_by: None, "SIGINT", "SIGTERM" or "time budget".
        epochs_done: number of whole epochs, including those of earlier processes.
        epochs: number of epochs that were asked for.
        best_top1_pct: the best validation top-1 in %; None without validation.
        best_epoch: the epoch that reached it (0-based).
        final: the last epoch.
        history: all epochs of this process.
        train_images: number of images that this process trained on, on all ranks.
        wall_s: seconds of this process's epochs.
        bytes_read: bytes that this process's training epochs read from storage, on all ranks.
        startup_s: seconds from the start of this process to its first step.
    """

    folder: Path
    log: Path
    checkpoint: Path | None
    status: str
    stopped_by: str | None
    epochs_done: int
    epochs: int
    best_top1_pct: float | None
    best_epoch: int | None
    final: EpochReport | None
    history: tuple[EpochReport, ...]
    train_images: int
    wall_s: float
    bytes_read: int
    startup_s: float


class Observer:
    """Is told what happens; each method may be left out."""

    def started(self, info: RunInfo) -> None:
        """Take what is known before the first step."""

    def stepped(self, report: StepReport) -> None:
        """Take an iteration; called for each one, so it must cost microseconds."""

    def window(self, report: PhaseReport) -> None:
        """Take the last `print_freq` iterations."""

    def epoch_ended(self, report: EpochReport) -> None:
        """Take an epoch."""

    def noticed(self, notice: Notice) -> None:
        """Take a notice."""

    def ended(self, result: TrainResult) -> None:
        """Take the end; not called after an error."""

    def close(self) -> None:
        """Release files and screens; always called, also after an error."""

    def state(self) -> dict[str, Any]:
        """Return what this observer needs to go on after a resume: JSON types only.

        It is saved in each checkpoint under the class's name and comes back in `RunInfo.log_state`.
        """
        return {}
