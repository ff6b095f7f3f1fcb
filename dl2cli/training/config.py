"""The configuration of a training, which holds that of each of its parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from dl2cli.errors import UsageError
from dl2cli.loaders import LoaderConfig
from dl2cli.training.fidelity.autotune import AutotuneConfig
from dl2cli.training.fidelity.curriculum import Curriculum, Fidelity
from dl2cli.training.models import ModelConfig
from dl2cli.training.optimization.loss import LossConfig
from dl2cli.training.optimization.lr_schedule import LrConfig
from dl2cli.training.optimization.optimizer import OptimizerConfig
from dl2cli.training.optimization.precision import PrecisionConfig

# The run's folder has files of these names already, and folders.
_OWN_FILES: Final = (
    "checkpoint_epoch_", "model_", "profile_trace", "regimen_log", "tensorboard", "train_data_",
    "wandb",
)  # fmt: skip


@dataclass(frozen=True)
class DataConfig:
    """Where images come from.

    Attributes:
        train: which training images are loaded (`LoaderConfig.data`), and how. The loop puts in
            what it alone knows: seed, rank, world_size, device_id, and the type and layout of
            `output`.
        loader: the loader of training images, a name in `LOADERS`.
        val: an ImageFolder or a PCR dataset of validation images; None skips validation.
        val_scans: fidelity k of validation images of a PCR dataset; None is full fidelity.
        val_synthetic_images: the number of synthetic validation images; None makes none.
        root: the folder that holds the data, as the user named it; None is `train.data`.
        dataset: the dataset's name in the run log; None derives it from `root`.
    """

    train: LoaderConfig
    loader: str = "pcr"
    val: Path | None = None
    val_scans: int | None = None
    val_synthetic_images: int | None = None
    root: Path | None = None
    dataset: str | None = None


@dataclass(frozen=True)
class CheckpointConfig:
    """When a training is saved, and which checkpoint it continues from.

    Attributes:
        save: save after each epoch, and keep the best one; a stopped run always saves.
        filename: name of the last checkpoint in the run's folder.
        every_steps: also save within epochs, after this many steps; 0 does not.
        backups: keep the checkpoint of each epoch under a name of its own.
        resume: the checkpoint to continue from.
        trusted: read that checkpoint even with a torch before 2.6, which a hostile file could make
            execute code (CVE-2025-32434).
        on_usr1: on SIGUSR1, save and continue, or save and stop.
    """

    save: bool = True
    filename: str = "checkpoint.pth.tar"
    every_steps: int = 0
    backups: bool = False
    resume: Path | None = None
    trusted: bool = False
    on_usr1: Literal["save", "stop"] = "save"


@dataclass(frozen=True)
class TrainConfig:
    """A training.

    Attributes:
        folder: the run's folder.
        data: where images come from.
        model: which network; 0 classes means as many as the dataset has.
        optimizer: the optimiser and its options.
        lr: the learning rate over the epochs.
        loss: the loss that is minimised.
        precision: the number types to compute in.
        epochs: length of the whole training; the learning rate depends on it.
        run_epochs: stop after this many epochs in this process; None continues to the end.
        optimizer_batch_size: images per step of the optimiser on all ranks together; gradients
            are accumulated over as many batches as that takes. None is one batch on each rank.
        fidelity: what chooses scans, size and decoding of training images: a curriculum over the
            epochs, or the tuner; None is full fidelity throughout. Validation images always have
            full size, and `DataConfig.val_scans`.
        channels_last: memory format nhwc.
        compile: use torch.compile.
        seed: random seed; None draws one.
        print_freq: iterations per window of the log.
        sync_every_step: wait for the device in each iteration, as the (DL)2 program does.
        skip_training: only validate.
        profile_steps: write a torch.profiler trace of the first N steps; 0 does not.
        checkpoint: when to save, and where to continue from.
        time_budget_s: stop after this many seconds, as after a signal.
        report_file: name of the run log in the folder.
        device: "cpu" or "cuda"; None takes a GPU if there is one.
        name: the run's name in its log and in trackers; None is the name of its folder.
        parameters: entries of the P record that replace those made from this configuration.
        options: the options of the command line by name; checkpoints keep them for a resume.
        replaces: files of an earlier run in the folder; they are removed once nothing can be
            refused any more.
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
    fidelity: Curriculum | AutotuneConfig | None = None
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
    name: str | None = None
    parameters: dict[str, object] = field(default_factory=dict)
    options: dict[str, str | bool | list[str]] = field(default_factory=dict)
    replaces: tuple[Path, ...] = ()

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """The fidelities that this training may load, besides what the tuner finds by itself."""
        if isinstance(self.fidelity, Curriculum):
            return self.fidelity.fidelities
        return (self.fidelity.ladder or ()) if self.fidelity is not None else ()

    @property
    def val_fidelity(self) -> Fidelity:
        """The fidelity of validation images, always at full size."""
        return Fidelity(self.data.val_scans, self.data.train.transform.size)

    @property
    def sizes_px(self) -> tuple[int, ...]:
        """The sizes of training images that occur, and the one of validation images."""
        sizes = {each.size_px for each in self.fidelities if each.size_px is not None}
        return tuple(sorted(sizes | {self.data.train.transform.size}))

    def __post_init__(self) -> None:
        names = {
            "--checkpoint-filename": self.checkpoint.filename,
            "--report-file": self.report_file,
        }
        for option, name in names.items():
            if name in ("", ".", "..") or Path(name).name != name or name.startswith("."):
                raise UsageError(
                    f"{option} must be a file name in the run's folder, without folders, not "
                    f"{name!r}."
                )
            if name.startswith(_OWN_FILES):
                raise UsageError(
                    f"{option} {name} begins like another file of the run's folder: choose "
                    "another name."
                )
        if self.checkpoint.filename == self.report_file:
            raise UsageError(
                f"--checkpoint-filename and --report-file are both {self.report_file}: the "
                "checkpoint would replace the run log."
            )
