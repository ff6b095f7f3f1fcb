"""The options of `dl2 train`: name, default and help of each, by panels of the help.

Names and defaults are those of the (DL)2 program. Where its logs show that every run set an option,
the default is that of the program it was derived from (NVIDIA's ResNet-50 example). Some options
are ours alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from dl2cli.cli.framework.options import Options, flag, no, option
from dl2cli.cli.framework.shared import CODEC, EXIF_ORIENTATION, JSON, arch_names, loader_names

MEAN: Final = "122.655,116.535,104.04"
STD: Final = "59.415,58.395,58.65"


@dataclass(frozen=True)
class Basics:
    """The options whose default depends on the data."""

    arch: str
    image_size: int
    batch_size: int
    epochs: int
    lr: float
    lr_policy: Literal["step", "linear", "cosine", "exponential"]
    print_freq: int


USUAL: Final = Basics("resnet50", 224, 256, 90, 0.1, "step", 100)
# What the sample set is learned with in about a minute on two cores.
SAMPLE: Final = Basics("small_cnn", 64, 8, 30, 0.03, "cosine", 20)


def _both(name: str) -> str:
    return f"{getattr(USUAL, name)}; sample set: {getattr(SAMPLE, name)}"


class DataOptions(Options):
    """Which images, and how they are loaded."""

    panel = "Data"

    data: Path | None = option(
        "Train on an ImageFolder, a PCR dataset, or a folder with train/ and val/ of either kind. "
        "PCR datasets may be in a store (s3://, gs://, az://, https://).",
        "--data", "-d", shown="$DL2_HOME/data or ./data, else the sample set", url=True,
    )  # fmt: skip
    val_data: Path | None = option(
        "Validate on images that are elsewhere.", shown="val/ beside train/", url=True
    )
    loader: str | None = option(
        "Load with this loader: those with pcr in their name read PCR datasets, synthetic makes "
        "its images up, and the others read ImageFolders. Also --data-loader.",
        "--loader", "-l", shown="what fits the data", choices=loader_names,
        aliases=("--data-loader",),
    )  # fmt: skip
    batch_size: int | None = option(
        "Load this many images per step on each rank.",
        "--batch-size", "-b", least=1, shown=_both("batch_size"),
    )  # fmt: skip
    workers: int | None = option(
        "Decode with this many threads or processes on each rank.",
        "--workers", "-w", least=1, shown="all cores",
    )  # fmt: skip
    image_size: int | None = option(
        "Training image size in pixels.", least=1, shown=_both("image_size")
    )
    skip_validation: bool = flag("Only train.")
    augmentation: Literal["null", "none", "autoaugment"] = option(
        "Augment images beyond crop and flip. autoaugment needs the pytorch loader.",
        default="null",
    )
    interpolation: Literal["bilinear", "triangular"] = option(
        "Resize images with this filter: bilinear with antialiasing, of which triangular is "
        "another name.",
        default="bilinear",
    )
    data_mean: str = option(
        "Mean of each colour channel, in 0..255 or 0..1; dl2 analyze-images prints yours.",
        default=MEAN, metavar="R,G,B",
    )  # fmt: skip
    data_std: str = option(
        "Standard deviation of each colour channel, in the same unit.",
        default=STD, metavar="R,G,B",
    )  # fmt: skip
    dataset_class: Literal["ImageFolder", "MinIOFolder"] = option(
        "Read files with this class of the pytorch loader. MinIOFolder keeps files in memory that "
        "all workers share.",
        default="ImageFolder",
    )
    cache_dir: Path | None = option(
        "Keep the first scan groups of every record of a dataset in a store in this folder, as "
        "many as --cache-size holds: later epochs fetch the rest.", metavar="DIR",
    )  # fmt: skip
    cache_size: str | None = option(
        "Size of the cache: of --cache-dir (200GB), or of the memory of MinIOFolder.",
        metavar="BYTES", shown="for MinIOFolder 1GiB",
    )  # fmt: skip
    hedge: bool = flag("Ask a store a second time for what takes longer than 99 of 100 requests.")
    persistent_workers: bool = flag("Keep the workers of the pytorch loader from epoch to epoch.")
    prefetch: int = option("Prepare this many batches ahead.", default=3, least=1)
    shuffle_window: int = option(
        "Mix the images of this many records of a PCR dataset.", default=2, least=1
    )
    lanes: int | None = option(
        "Set this to resume on a different number of ranks: each step takes images from this many "
        "parts of a PCR dataset, so the number of ranks must divide it.",
        least=1, shown="the number of ranks",
    )  # fmt: skip
    tail: Literal["drop", "pad"] = option(
        "Drop the images that do not fill a batch (different ones in each epoch), or load them as "
        "a smaller batch.",
        default="drop",
    )
    on_damage: Literal["fail", "degrade", "skip"] = option(
        "At a damaged image, stop, use the intact scans, or leave the image out.", default="fail"
    )
    codec: Literal["native", "libjpeg"] = CODEC
    throttle: str | None = option(
        "Read training images no faster than this, for real, as in 100MB/s,latency=10ms.",
        metavar="LIMITS",
    )
    exif_orientation: Literal["ignore", "apply"] = EXIF_ORIENTATION
    scaled_decode: bool = flag(
        "Decode photos whose crop is much larger than the image size at a half, a quarter or an "
        "eighth of their size. This is faster, and the pixels differ a little."
    )
    smoothing: bool = flag("Smooth blocks at few scans, as libjpeg can.")
    synth_train_samples: int = option(
        "Make up this many images per epoch with the synthetic loader; -1 takes the dataset's "
        "number.",
        default=-1,
    )
    synth_val_samples: int = option(
        "Make up this many validation images per epoch with the synthetic loader; -1 takes the "
        "dataset's number.",
        default=-1,
    )


class FidelityOptions(Options):
    """How much of each image is loaded; scans are those of a PCR dataset."""

    panel = "Fidelity"

    scans: int | None = option(
        "Load the first K scan groups of each image.", metavar="K", least=1, shown="all"
    )
    scan_schedule: str | None = option(
        "Change the fidelity from epoch to epoch, as in 2@0,5@45,10@80.", metavar="K@EPOCH,..."
    )
    size_schedule: str | None = option(
        "Change the size of training images from epoch to epoch, as in 128@0,176@30,224@60. "
        "Validation images always have --image-size pixels.",
        metavar="PIXELS@EPOCH,...",
    )
    curriculum: str | None = option(
        "Change scans, size and decoding together: progressive begins with few scans of small "
        "images, auto takes the cheapest step whose gradient agrees with full fidelity, and a TOML "
        "file holds steps of your own.",
        metavar="FILE|NAME",
    )
    autotune_scans: bool = flag("Choose the smallest k whose gradient agrees with full fidelity.")
    autotune_every: int = option("Choose anew after this many epochs.", default=5, least=1)
    autotune_batches: int = option(
        "Compare the gradients of this many batches.", default=4, least=1
    )
    autotune_threshold: float = option(
        "Cosine similarity from which gradients count as agreeing.", default=0.9, least=-1, most=1
    )
    val_scans: int | None = option(
        "Load the first K scan groups of validation images.", metavar="K", least=1, shown="all"
    )
    stage: list[str] | None = option(
        "Train on the dataset PATH from EPOCH on. Repeat it to train on one variant of a dataset "
        "after another, as in --stage jpeg-10@0 --stage raw@45.",
        metavar="PATH@EPOCH",
    )


class ModelOptions(Options):
    """Which network is trained, and which loss it minimises."""

    panel = "Model and loss"

    arch: str | None = option(
        "Train this model: alexnet, resnet18, 34, 50, 101 or 152, resnext101_32x4d, "
        "se_resnext101_32x4d, shufflenet_v2_x1_0, mobilenet_v3_small or _large, small_cnn; or "
        "torchvision:NAME.",
        "--arch", "-a", shown=_both("arch"), completes=arch_names,
    )  # fmt: skip
    num_classes: int | None = option(
        "Number of outputs of the model.", least=1, shown="the dataset's classes"
    )
    pretrained_weights: Path | None = option("Start from a file of weights.")
    freeze_inner_layers: bool = flag("Only train the last layer.")
    model_config: Literal["classic", "fanin", "grp-fanin", "grp-fanout"] = option(
        "Initialise weights in this way.", default="classic"
    )
    label_smoothing: float = option(
        "Share of the probability that is spread over all classes.", default=0.0, least=0, most=1
    )
    mixup: float = option("Alpha of mixup; 0 turns it off.", default=0.0, least=0)


class LearningOptions(Options):
    """How parameters follow their gradients."""

    panel = "Optimiser"

    epochs: int | None = option(
        "Length of the whole training.", "--epochs", "-e", least=1, shown=_both("epochs")
    )
    lr: float | None = option("Learning rate after warm-up.", least=0, shown=_both("lr"))
    lr_policy: Literal["step", "linear", "cosine", "exponential"] | None = option(
        "Let the learning rate decay in this way.", shown=_both("lr_policy")
    )
    end_lr: float = option("Learning rate at the end.", default=0.0, least=0)
    warmup: int = option(
        "Let the learning rate rise during the first N epochs.", default=0, least=0
    )
    optimizer: Literal["sgd", "rmsprop"] = option("Optimiser.", default="sgd")
    momentum: float = option(
        "Momentum, for SGD and RMSprop. Also --momentum.",
        "--mom", default=0.9, least=0, aliases=("--momentum",),
    )  # fmt: skip
    nesterov: bool = flag("Use Nesterov momentum.")
    weight_decay: float = option(
        "Weight decay. Also --weight-decay.",
        "--wd", default=1e-4, least=0, aliases=("--weight-decay",),
    )  # fmt: skip
    bn_weight_decay: bool = flag("Apply weight decay to batch norm too.")
    rmsprop_alpha: float = option("Smoothing constant of RMSprop.", default=0.9)
    rmsprop_eps: float = option("Epsilon of RMSprop.", default=1e-3)
    optimizer_batch_size: int = option(
        "Images per optimiser step on all ranks together; gradients of several batches are "
        "accumulated for it. -1 is one batch per rank.",
        default=-1,
    )


class DeviceOptions(Options):
    """The device to compute on, and the number types to compute in."""

    panel = "Device and precision"

    device: Literal["cpu", "cuda"] | None = option(
        "Train on this device.", shown="a GPU if there is one"
    )
    amp: bool = flag("Use mixed precision.")
    amp_dtype: Literal["float16", "bfloat16"] = option(
        "Data type of mixed precision.", default="float16"
    )
    static_loss_scale: float = option("Multiply the loss by this.", default=1.0)
    dynamic_loss_scale: bool = flag("Adjust the loss scale when gradients overflow.")
    memory_format: Literal["nchw", "nhwc"] = option(
        "Memory format of images and weights.", default="nchw"
    )
    compile: bool = flag("Use torch.compile.")
    seed: int | None = option("Random seed.", shown="drawn, and logged")


class RunOptions(Options):
    """The run's folder, how long it runs, and how it continues."""

    panel = "Run and checkpoints"

    name: str | None = option(
        "Name of the run, and of its folder in the workspace. Also --experiment-name.",
        "--name", "-n", shown="model, data, loader, scans and time",
        aliases=("--experiment-name",),
    )  # fmt: skip
    workspace: Path | None = option(
        "Keep the folders of runs here.", metavar="DIR", shown="$DL2_HOME/logs, else ./logs"
    )
    overwrite: bool = flag("Replace an earlier run of this name.")
    resume: str | None = option(
        "Continue from a checkpoint, or from the last one in a run's folder, even in the middle of "
        "an epoch, with the run's own options where none are given. auto continues the run of this "
        "--name, or begins it.",
        metavar="PATH",
    )
    trust_checkpoint: bool = flag(
        "Load checkpoints and weights with torch before 2.6, where a hostile file could "
        "execute code (CVE-2025-32434)."
    )
    run_epochs: int = option(
        "Stop after this many epochs in this process; -1 continues to --epochs.", default=-1
    )
    time_budget: str | None = option(
        "Stop after 2h, 90m or 1h30m, with a checkpoint.", metavar="TIME"
    )
    on_usr1: Literal["save", "stop"] = option(
        "On SIGUSR1, by which clusters warn of a job's end: save and continue, or stop.",
        default="save", metavar="save|stop",
    )  # fmt: skip
    save_checkpoints: bool = no(
        "Do not save after each epoch, nor the best one. A run that is stopped saves all the same. "
        "(--save-checkpoints of the (DL)2 program is the default here.)",
        aliases=("--no-checkpoints",),
    )
    checkpoint_every: int = option(
        "Also save within an epoch, after this many steps; 0 does not.",
        default=0, least=0, metavar="STEPS",
    )  # fmt: skip
    checkpoint_filename: str = option(
        "Name of the checkpoint in the run's folder.", default="checkpoint.pth.tar"
    )
    backup_checkpoints: bool = flag("Keep one checkpoint per epoch.")
    skip_training: bool = flag("Only validate.")


class LogOptions(Options):
    """What is written about the run."""

    panel = "Logs"

    print_freq: int | None = option(
        "Write a line to the log after this many iterations.",
        "--print-freq", "-p", least=1, shown=_both("print_freq"),
    )  # fmt: skip
    report_file: str = option(
        "Name of the run log in the run's folder.", default="experiment_report.json"
    )
    track: list[Literal["tensorboard", "wandb", "mlflow"]] | None = option(
        "Also log to this tracker. Repeatable."
    )
    sync_every_step: bool = flag("Wait for the GPU in every step, as the (DL)2 program does.")
    profile_n: int = option(
        "Write a torch.profiler trace of the first N steps; -1 does not.", default=-1, least=-1
    )
    json: bool = JSON


class TrainOptions(
    DataOptions, FidelityOptions, ModelOptions, LearningOptions, DeviceOptions, RunOptions,
    LogOptions,
):  # fmt: skip
    """All options of `dl2 train`."""
