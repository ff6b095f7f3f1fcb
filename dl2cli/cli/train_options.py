"""The options of `dl2 train`: name, default and help of each, by panels of the help.

The names and defaults are those of the published program, but where its logs show that every run
set an option: there, the defaults are those of the program that it grew from. What is ours has no
counterpart there. An option that is None takes its value from `train_settings`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, get_args, get_type_hints

import typer

from dl2cli.errors import UsageError

MEAN = "122.655,116.535,104.04"
STD = "59.415,58.395,58.65"

# Other names of options: those of the published program that have two.
ALIASES: Final = {
    "data-loader": "loader",
    "experiment-name": "name",
    "momentum": "mom",
    "weight-decay": "wd",
    "no-checkpoints": "no-save-checkpoints",
}


@dataclass(frozen=True)
class Declared:
    """An option: what Typer is told of it, its default and its bounds.

    The bounds are ours to check: Typer would print each of them in the help, where they take the
    place of words.
    """

    info: Any
    default: Any
    least: float | None
    most: float | None

    def check(self, name: str, value: Any) -> None:  # noqa: ANN401
        """Refuse a number out of bounds. Raises UsageError."""
        if value is None:
            return
        if self.least is not None and not value >= self.least:  # a NaN, too
            raise UsageError(f"{name} must be at least {self.least:g}, not {value}.")
        if self.most is not None and value > self.most:
            raise UsageError(f"{name} must be at most {self.most:g}, not {value}.")


def option(
    text: str,
    *names: str,
    default: Any = None,  # noqa: ANN401 - the type is the field's
    shown: str | bool = True,
    metavar: str | None = None,
    least: float | None = None,
    most: float | None = None,
    hidden: bool = False,
) -> Any:  # noqa: ANN401
    """Declare an option: its help, names (else the attribute's), default and bounds."""
    info = typer.Option(*names, help=text, show_default=shown, metavar=metavar, hidden=hidden)
    return Declared(info, default, least, most)


class DataOptions:
    """Which images, and how they are loaded."""

    panel: ClassVar[str] = "Data"

    data: Path | None = option(
        "An ImageFolder, a PCR dataset, or a folder with train/ and val/ of either kind.",
        "--data", "-d", shown="$DL2_HOME/data or ./data, else the sample set",
    )  # fmt: skip
    val_data: Path | None = option(
        "Validation images that lie elsewhere.", shown="val/ beside train/"
    )
    loader: str | None = option(
        "Of PCR datasets: pcr, pcr-dali, pcr-dali-gpu; of ImageFolders: dali-cpu, dali-gpu, "
        "pytorch; of nothing: synthetic. (Also --data-loader.)",
        "--loader", "-l", shown="what fits the data",
    )  # fmt: skip
    batch_size: int | None = option("Images a step on each rank.", "--batch-size", "-b", least=1)
    workers: int | None = option(
        "Threads or processes that decode, on each rank.",
        "--workers", "-w", least=1, shown="all cores",
    )  # fmt: skip
    image_size: int | None = option("Width and height that the model sees.", least=1)
    skip_validation: bool = option("Only train.", "--skip-validation", default=False)
    augmentation: Literal["null", "none", "autoaugment"] = option(
        "Beside crop and flip: null, or autoaugment (pytorch loader).", default="null"
    )
    interpolation: str = option("Of resizing: bilinear, with antialiasing.", default="bilinear")
    data_mean: str = option(
        "Of the channels, in 0..255 or in 0..1; dl2 analyze-images prints yours.",
        default=MEAN, metavar="R,G,B",
    )  # fmt: skip
    data_std: str = option("Likewise, the standard deviations.", default=STD, metavar="R,G,B")
    dataset_class: Literal["ImageFolder", "MinIOFolder"] = option(
        "Of the pytorch loader: ImageFolder, or MinIOFolder, which keeps files in memory that all "
        "workers share.",
        default="ImageFolder",
    )
    cache_size: int = option(
        "Bytes of that memory.", default=1_073_742_000, metavar="BYTES", least=0
    )
    persistent_workers: bool = option(
        "The pytorch loader keeps its workers from epoch to epoch.",
        "--persistent-workers", default=False,
    )  # fmt: skip
    prefetch: int = option("Batches that are prepared ahead.", default=3, least=1)
    shuffle_window: int = option(
        "Records whose images are mixed, of a PCR dataset.", default=2, least=1
    )
    lanes: int | None = option(
        "Parts of a PCR dataset that each step takes images from; for runs that shall have the "
        "same steps on other numbers of ranks.",
        least=1, shown="the number of ranks",
    )  # fmt: skip
    tail: Literal["drop", "pad"] = option(
        "Images that fill no batch: drop them (others each epoch), or pad to a smaller batch.",
        default="drop",
    )
    on_damage: Literal["fail", "degrade", "skip"] = option(
        "At a damaged image: fail; degrade, to its intact scans; or skip it.", default="fail"
    )
    smoothing: bool = option(
        "libjpeg's smoothing of blocks at few scans.", "--smoothing", default=False
    )
    synth_train_samples: int = option(
        "Images an epoch of the synthetic loader without a dataset; -1 takes the dataset's number.",
        default=-1,
    )  # fmt: skip
    synth_val_samples: int = option("Likewise of validation.", default=-1)


class FidelityOptions:
    """How much of each image is loaded."""

    panel: ClassVar[str] = "Fidelity (PCR datasets)"

    scans: int | None = option(
        "Load the first K scan groups of each image.", metavar="K", least=1, shown="all"
    )
    scan_schedule: str | None = option(
        "Scans from epoch on: 2@0,5@45,10@80.", metavar="K@EPOCH,...", shown=False
    )
    autotune_scans: bool = option(
        "Take the fewest scans whose gradient points where that of full fidelity does.",
        "--autotune-scans", default=False,
    )  # fmt: skip
    autotune_every: int = option("Epochs between two such choices.", default=5, least=1)
    autotune_batches: int = option("Batches compared for one.", default=4, least=1)
    autotune_threshold: float = option(
        "Cosine similarity that is enough.", default=0.9, least=-1, most=1
    )
    val_scans: int | None = option("Scans of validation images.", metavar="K", least=1, shown="all")
    stage: list[str] | None = option(
        "Train on the dataset PATH from EPOCH on; repeat it: a regimen over variants of a dataset, "
        "as in --stage jpeg-10@0 --stage raw@45.",
        metavar="PATH@EPOCH", shown=False,
    )  # fmt: skip


class ModelOptions:
    """Which network, and what it minimises."""

    panel: ClassVar[str] = "Model and loss"

    arch: str | None = option(
        "alexnet, resnet18, 34, 50, 101 or 152, resnext101_32x4d, se_resnext101_32x4d, "
        "shufflenet_v2_x1_0, mobilenet_v3_small or _large, small_cnn; or torchvision:NAME.",
        "--arch", "-a",
    )  # fmt: skip
    num_classes: int | None = option(
        "Outputs of the network.", least=1, shown="the dataset's classes"
    )
    pretrained_weights: Path | None = option("A file of weights to begin with.", shown=False)
    freeze_inner_layers: bool = option(
        "Train only the last layer.", "--freeze-inner-layers", default=False
    )
    model_config: str = option("How weights are initialised.", default="classic")
    label_smoothing: float = option(
        "Share of probability spread over all classes.", default=0.0, least=0, most=1
    )
    mixup: float = option("Alpha of mixup; 0 is off.", default=0.0, least=0)


class LearningOptions:
    """How parameters follow their gradients."""

    panel: ClassVar[str] = "Optimiser"

    epochs: int | None = option("Of the whole training.", "--epochs", "-e", least=1)
    lr: float | None = option("Learning rate after warm-up.", least=0)
    lr_policy: Literal["step", "linear", "cosine", "exponential"] | None = option(
        "Its decay: step, linear, cosine or exponential."
    )
    end_lr: float = option("Learning rate at the end.", default=0.0, least=0)
    warmup: int = option("Epochs in which it grows.", default=0, least=0)
    optimizer: Literal["sgd", "rmsprop"] = option("sgd or rmsprop.", default="sgd")
    momentum: float = option("Of either. (Also --momentum.)", "--mom", default=0.9, least=0)
    nesterov: bool = option("Nesterov's momentum.", "--nesterov", default=False)
    weight_decay: float = option(
        "Weight decay. (Also --weight-decay.)", "--wd", default=1e-4, least=0
    )
    bn_weight_decay: bool = option("Also of batch norm.", "--bn-weight-decay", default=False)
    rmsprop_alpha: float = option("Smoothing of RMSprop.", default=0.9)
    rmsprop_eps: float = option("Epsilon of RMSprop.", default=1e-3)
    optimizer_batch_size: int = option(
        "Images a step of the optimiser on all ranks, for which gradients of several batches are "
        "gathered; -1 is one batch a rank.",
        default=-1,
    )  # fmt: skip


class DeviceOptions:
    """Where and in which numbers is computed."""

    panel: ClassVar[str] = "Device and numbers"

    device: Literal["cpu", "cuda"] | None = option("cpu or cuda.", shown="a GPU if there is")
    amp: bool = option("Mixed precision.", "--amp", default=False)
    amp_dtype: Literal["float16", "bfloat16"] = option(
        "Of mixed precision: float16 or bfloat16.", default="float16"
    )
    static_loss_scale: float = option("The loss is multiplied by it.", default=1.0)
    dynamic_loss_scale: bool = option(
        "A scale that follows overflows.", "--dynamic-loss-scale", default=False
    )
    memory_format: Literal["nchw", "nhwc"] = option(
        "Of images and weights: nchw or nhwc.", default="nchw"
    )
    compile: bool = option("Use torch.compile.", "--compile", default=False)
    seed: int | None = option("Of everything random.", shown="drawn, and logged")


class RunOptions:
    """The run: its folder, how long it goes, how it goes on."""

    panel: ClassVar[str] = "Run and checkpoints"

    name: str | None = option(
        "The run, and its folder in the workspace. (Also --experiment-name.)",
        "--name", "-n", shown="model, data, loader, scans and time",
    )  # fmt: skip
    workspace: Path | None = option(
        "Where runs have their folders.", metavar="DIR", shown="$DL2_HOME/logs, else ./logs"
    )
    overwrite: bool = option("Replace an earlier run of this name.", "--overwrite", default=False)
    resume: str | None = option(
        "Go on from a checkpoint, or from the last one of a run's folder, with the other options "
        "that it had; exactly, also in the middle of an epoch.",
        metavar="PATH", shown=False,
    )  # fmt: skip
    run_epochs: int = option(
        "End after so many epochs in this process; -1 goes on to --epochs.",
        default=-1,
    )  # fmt: skip
    time_budget: str | None = option(
        "Stop after 2h, 90m or 1h30m, with a checkpoint.", metavar="TIME", shown=False
    )
    no_save_checkpoints: bool = option(
        "Do not save after each epoch, nor the best; a stopped run saves all the same. (Saving, "
        "the published --save-checkpoints, is the default here.)",
        "--no-save-checkpoints", default=False,
    )  # fmt: skip
    save_checkpoints: bool = option(
        "The default.", "--save-checkpoints", default=False, hidden=True
    )
    checkpoint_every: int = option(
        "Also after so many steps of an epoch; 0 does not.", default=0, least=0, metavar="STEPS"
    )
    checkpoint_filename: str = option("In the run's folder.", default="checkpoint.pth.tar")
    backup_checkpoints: bool = option(
        "Keep that of each epoch.", "--backup-checkpoints", default=False
    )
    skip_training: bool = option("Only validate.", "--skip-training", default=False)


class LogOptions:
    """What is written about the run."""

    panel: ClassVar[str] = "Logs"

    print_freq: int | None = option(
        "Iterations between two lines of the log.", "--print-freq", "-p", least=1
    )
    report_file: str = option("The run log, in the run's folder.", default="experiment_report.json")
    track: list[str] | None = option(
        "Log to tensorboard, wandb or mlflow, too; repeatable.", shown=False
    )
    sync_every_step: bool = option(
        "Wait for the GPU in every step, as the published program does.",
        "--sync-every-step", default=False,
    )  # fmt: skip
    profile_n: int = option(
        "Write a torch.profiler trace of the first N steps; -1 does not.",
        default=-1, least=-1,
    )  # fmt: skip
    json: bool = option("Print the result as one JSON document on stdout.", "--json", default=False)


PANELS = (
    DataOptions, FidelityOptions, ModelOptions, LearningOptions, DeviceOptions, RunOptions,
    LogOptions,
)  # fmt: skip


class TrainOptions(
    DataOptions, FidelityOptions, ModelOptions, LearningOptions, DeviceOptions, RunOptions,
    LogOptions,
):  # fmt: skip
    """All options, as they were given, with their defaults where they were not.

    This is no dataclass because making one of so many fields costs more time than all of
    `dl2 --help` may take.
    """

    def __init__(self, **given: Any) -> None:  # noqa: ANN401
        for panel in PANELS:
            for name, declared in _declared(panel):
                value = given.pop(name, declared.default)
                declared.check(f"--{name.replace('_', '-')}", value)
                setattr(self, name, value)
        assert not given, f"no options: {', '.join(given)}"


def _declared(panel: type) -> list[tuple[str, Declared]]:
    return [(name, value) for name, value in vars(panel).items() if isinstance(value, Declared)]


def command(run: Callable[[TrainOptions], None], defaults: dict[str, str]) -> Callable[..., None]:
    """Return a function for Typer, with a parameter for each option, that calls `run`.

    Args:
        run: gets the options.
        defaults: text for the help, by option, of values that are decided later.
    """

    def entry(**given: Any) -> None:  # noqa: ANN401
        run(TrainOptions(**given))

    entry.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [parameter for panel in PANELS for parameter in _parameters(panel, defaults)]
    )
    return entry


def _parameters(panel: Any, defaults: dict[str, str]) -> Iterator[inspect.Parameter]:  # noqa: ANN401
    types = get_type_hints(panel)
    for name, declared in _declared(panel):
        declared.info.rich_help_panel = panel.panel
        declared.info.metavar = declared.info.metavar or _metavar(types[name])
        if name in defaults:
            declared.info.show_default = defaults[name]
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=declared.default,
            annotation=Annotated[types[name], declared.info],
        )


def _metavar(kind: Any) -> str | None:  # noqa: ANN401
    """Return what stands for a value in the help; a flag has none."""
    kinds = [each for each in get_args(kind) if each is not type(None)] or [kind]
    return {bool: " ", int: "N", float: "X", Path: "PATH"}.get(kinds[0], "NAME")
