"""All that a training is told: the options of its parts, together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dl2cli.loaders import OutputConfig, TransformConfig
from dl2cli.loaders.base import DamagePolicy
from dl2cli.loaders.throttle import Throttle
from dl2cli.training.fidelity.autotune import AutotuneConfig
from dl2cli.training.fidelity.scan_schedule import ScanSchedule
from dl2cli.training.models import ModelConfig
from dl2cli.training.optimization.loss import LossConfig
from dl2cli.training.optimization.lr_schedule import LrConfig
from dl2cli.training.optimization.optimizer import OptimizerConfig
from dl2cli.training.optimization.precision import PrecisionConfig


@dataclass(frozen=True)
class DataConfig:
    """Where images come from; the meaning of most is in `LoaderConfig`.

    Attributes:
        train: an ImageFolder or a PCR dataset, of training images alone.
        val: likewise of validation images; None skips validation.
        loader: a name in `LOADERS`.
        batch_size: images a step on each rank.
        workers: threads or processes that decode, on each rank.
        val_scans: fidelity of validation images of a PCR dataset; None is full.
        transform: of training images; validation takes the centre at the same size.
        output: normalisation constants; type and layout are the loop's business.
        prefetch: batches prepared ahead.
        on_damage: what to do with damaged images.
        tail: "drop" or "pad" the rest of an epoch that is no full batch.
        shuffle_window: of the loaders of PCR datasets.
        smoothing: of the pcr loader.
        dataset_class: of the pytorch loader.
        cache_bytes: of MinIOFolder.
        auto_augment: AutoAugment, of the pytorch loader.
        synthetic_train: images of a synthetic training set that has no data behind it.
        synthetic_val: likewise of validation.
        lanes: see `LoaderConfig.lanes`.
        persistent_workers: the pytorch loader keeps its workers from epoch to epoch.
        throttle: read training data as slowly as from a slower storage.
    """

    train: Path
    val: Path | None = None
    loader: str = "pcr"
    batch_size: int = 256
    workers: int = 2
    val_scans: int | None = None
    transform: TransformConfig = field(default_factory=TransformConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    prefetch: int = 3
    on_damage: DamagePolicy = "fail"
    tail: Literal["drop", "pad"] = "drop"
    shuffle_window: int = 2
    smoothing: bool = False
    dataset_class: Literal["ImageFolder", "MinIOFolder"] = "ImageFolder"
    cache_bytes: int = 0
    auto_augment: bool = False
    synthetic_train: int | None = None
    synthetic_val: int | None = None
    lanes: int | None = None
    persistent_workers: bool = False
    throttle: Throttle | None = None


@dataclass(frozen=True)
class CheckpointConfig:
    """When the state of a training is saved, and from where it goes on.

    Attributes:
        save: at the end of each epoch, and the best one; a stopped run always saves.
        filename: of the last state, in the run's folder.
        every_steps: also within epochs, each so many steps; 0 never.
        backups: keep the state of each epoch under a name of its own.
        resume: a checkpoint to go on from.
    """

    save: bool = True
    filename: str = "checkpoint.pth.tar"
    every_steps: int = 0
    backups: bool = False
    resume: Path | None = None


@dataclass(frozen=True)
class TrainConfig:
    """A training.

    Attributes:
        folder: the run's folder.
        data: where images come from.
        model: which network; 0 classes means as many as the dataset has.
        optimizer: how it learns.
        lr: how fast.
        loss: of what.
        precision: in which numbers.
        epochs: of the whole training; the learning rate depends on it.
        run_epochs: stop after so many epochs in this process; None goes on to the end.
        optimizer_batch_size: images a step of the optimiser on all ranks; gradients are
            accumulated over as many batches; None is one batch a rank.
        scans: fidelity from epoch on; None is full fidelity throughout.
        autotune: let the tuner choose the fidelity.
        channels_last: memory format nhwc.
        compile: use torch.compile.
        seed: of everything random; None draws one.
        print_freq: iterations a window of the log.
        sync_every_step: wait for the device in each iteration, as the published program does.
        skip_training: only validate.
        profile_steps: write a torch.profiler trace of the first so many steps; 0 does not.
        checkpoint: when to save.
        time_budget_s: stop, as by a signal, after so many seconds.
        report_file: name of the run log in the folder.
        device: "cpu" or "cuda"; None takes a GPU if there is one.
        parameters: further entries of the P record.
        replaces: files of an earlier run in the folder, removed when nothing can be refused any
            more.
    """

    folder: Path
    data: DataConfig
    model: ModelConfig
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lr: LrConfig = field(default_factory=LrConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    precision: PrecisionConfig = field(default_factory=PrecisionConfig)
    epochs: int = 90
    run_epochs: int | None = None
    optimizer_batch_size: int | None = None
    scans: ScanSchedule | None = None
    autotune: AutotuneConfig | None = None
    channels_last: bool = False
    compile: bool = False
    seed: int | None = None
    print_freq: int = 100
    sync_every_step: bool = False
    skip_training: bool = False
    profile_steps: int = 0
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    time_budget_s: float | None = None
    report_file: str = "experiment_report.json"
    device: str | None = None
    parameters: dict[str, object] = field(default_factory=dict)
    replaces: tuple[Path, ...] = ()
