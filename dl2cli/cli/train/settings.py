"""From the options of `dl2 train` and the data that was found to a `TrainConfig`."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli.cli.train.options import SAMPLE, USUAL, Basics, TrainOptions
from dl2cli.cores import usable_cores
from dl2cli.errors import UsageError
from dl2cli.stores.options import StoreOptions, parse_size
from dl2cli.stores.path import dataset_path, is_remote

if TYPE_CHECKING:
    from dl2cli.loaders import OutputConfig
    from dl2cli.training.config import DataConfig, TrainConfig
    from dl2cli.training.data_source import DataChoice
    from dl2cli.training.fidelity.autotune import AutotuneConfig
    from dl2cli.training.fidelity.curriculum import Curriculum

MINIO_CACHE_BYTES: Final = 1_073_742_000
_SECONDS: Final = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def choose_basics(options: TrainOptions, *, sample: bool) -> tuple[Basics, str | None]:
    """Return these options as they apply, and a sentence if the sample set decided some."""
    defaults = SAMPLE if sample else USUAL
    given = {field.name: getattr(options, field.name) for field in fields(Basics)}
    left = {name: getattr(defaults, name) for name, value in given.items() if value is None}
    chosen = Basics(**{**given, **left})
    if not sample or not left:
        return chosen, None
    text = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in left.items())
    return chosen, f"Chosen for the sample set: {text}."


def train_config(
    options: TrainOptions,
    choice: DataChoice,
    basics: Basics,
    chosen: Curriculum | AutotuneConfig | None,
    folder: Path,
    resume: Path | None,
) -> TrainConfig:
    """Return the configuration of a training; `chosen` is its fidelity. Raises UsageError."""
    from dl2cli.training.config import CheckpointConfig, TrainConfig
    from dl2cli.training.models import ModelConfig
    from dl2cli.training.optimization.loss import LossConfig
    from dl2cli.training.optimization.lr_schedule import LrConfig
    from dl2cli.training.optimization.optimizer import OptimizerConfig
    from dl2cli.training.optimization.precision import PrecisionConfig

    return TrainConfig(
        folder=folder,
        data=_data_config(options, choice, basics),
        model=ModelConfig(
            arch=basics.arch,
            num_classes=count_classes(options, choice),
            pretrained_weights=options.pretrained_weights,
            freeze_inner_layers=options.freeze_inner_layers,
            model_config=options.model_config,
            trust_weights=options.trust_checkpoint,
        ),
        optimizer=OptimizerConfig(
            optimizer=options.optimizer,
            momentum=options.momentum,
            nesterov=options.nesterov,
            weight_decay=options.weight_decay,
            bn_weight_decay=options.bn_weight_decay,
            rmsprop_alpha=options.rmsprop_alpha,
            rmsprop_eps=options.rmsprop_eps,
        ),
        lr=LrConfig(basics.lr, basics.lr_policy, options.end_lr, options.warmup, basics.epochs),
        loss=LossConfig(options.label_smoothing, options.mixup),
        precision=PrecisionConfig(
            options.amp, options.amp_dtype, options.static_loss_scale, options.dynamic_loss_scale
        ),
        epochs=basics.epochs,
        run_epochs=positive(options.run_epochs, "--run-epochs"),
        optimizer_batch_size=positive(options.optimizer_batch_size, "--optimizer-batch-size"),
        fidelity=chosen,
        channels_last=options.memory_format == "nhwc",
        compile=options.compile,
        seed=options.seed,
        print_freq=basics.print_freq,
        sync_every_step=options.sync_every_step,
        skip_training=options.skip_training,
        profile_steps=max(options.profile_n, 0),
        checkpoint=CheckpointConfig(
            save=options.save_checkpoints,
            filename=options.checkpoint_filename,
            every_steps=options.checkpoint_every,
            backups=options.backup_checkpoints,
            resume=resume,
            trusted=options.trust_checkpoint,
            on_usr1=options.on_usr1,
        ),
        time_budget_s=seconds(options.time_budget) if options.time_budget else None,
        report_file=options.report_file,
        device=options.device,
        name=options.name,
    )


def _memory_cache(options: TrainOptions) -> int:
    """Return the memory for MinIOFolder in bytes. Raises UsageError."""
    if options.cache_size is None or options.cache_dir is not None:
        return MINIO_CACHE_BYTES
    return parse_size(options.cache_size, "--cache-size")


def _store_options(options: TrainOptions, choice: DataChoice) -> StoreOptions | None:
    """Return how a store is asked; None leaves it as usual. Raises UsageError."""
    remote = any(is_remote(path) for path in (choice.train, choice.val) if path is not None)
    if options.cache_dir is None and not options.hedge:
        return None
    if not remote:
        name = "--hedge" if options.cache_dir is None else "--cache-dir"
        raise UsageError(
            f"{name} is for datasets in a store, and {choice.root} is on this machine."
        )
    if options.cache_dir is None:
        return StoreOptions(hedge=options.hedge)
    if options.cache_size is None:
        raise UsageError("--cache-dir needs --cache-size, such as --cache-size 200GB.")
    size = parse_size(options.cache_size, "--cache-size")
    return StoreOptions(hedge=options.hedge, cache_dir=options.cache_dir, cache_bytes=size)


def _data_config(options: TrainOptions, choice: DataChoice, basics: Basics) -> DataConfig:
    from dl2cli.loaders import LoaderConfig, TransformConfig
    from dl2cli.loaders.registry import SYNTHETIC
    from dl2cli.loaders.throttle import Throttle
    from dl2cli.training.config import DataConfig

    if options.augmentation == "autoaugment" and choice.loader != "pytorch":
        raise UsageError("--augmentation autoaugment needs --loader pytorch.")
    if options.dataset_class == "MinIOFolder" and choice.loader != "pytorch":
        raise UsageError("--dataset-class MinIOFolder needs --loader pytorch.")
    synthetic_images = positive(options.synth_train_samples, "--synth-train-samples")
    train = LoaderConfig(
        data=choice.train,
        batch_size=basics.batch_size,
        transform=TransformConfig(size=basics.image_size),
        output=output_config(options),
        lanes=options.lanes,
        tail=options.tail,
        workers=workers(options),
        prefetch=options.prefetch,
        on_damage=options.on_damage,
        shuffle_window=options.shuffle_window,
        smoothing=options.smoothing,
        exif_orientation=options.exif_orientation,
        codec=options.codec,
        throttle=Throttle.parse(options.throttle) if options.throttle else None,
        scaled_decode=options.scaled_decode,
        dataset_class=options.dataset_class,
        cache_bytes=_memory_cache(options),
        store=_store_options(options, choice),
        auto_augment=options.augmentation == "autoaugment",
        persistent_workers=options.persistent_workers,
        synthetic_images=synthetic_images if choice.loader == SYNTHETIC else None,
    )
    return DataConfig(
        train=train,
        loader=choice.loader,
        val=None if options.skip_validation else choice.val,
        val_scans=options.val_scans,
        val_synthetic_images=_synthetic_val(options, choice),
        root=choice.root,
        dataset="sample" if choice.sample else None,
    )


def _synthetic_val(options: TrainOptions, choice: DataChoice) -> int | None:
    """Return the synthetic validation images: as many as there are real ones, if not given."""
    from dl2cli.loaders.contents import count_images
    from dl2cli.loaders.registry import SYNTHETIC

    if choice.loader != SYNTHETIC or options.skip_validation:
        return None
    given = positive(options.synth_val_samples, "--synth-val-samples")
    return given if given or choice.val is None else count_images(choice.val)


def workers(options: TrainOptions) -> int:
    """Return the workers of a rank: without an option, the ranks of a machine share its cores."""
    if options.workers is not None:
        return options.workers
    from dl2cli.training.launch import read_launch

    return max(usable_cores() // read_launch().local_world_size, 1)


def output_config(options: TrainOptions) -> OutputConfig:
    """Return the constants of normalisation, in 0..1. Raises UsageError."""
    from dl2cli.loaders import OutputConfig

    mean, std = channels(options.data_mean, "--data-mean"), channels(options.data_std, "--data-std")
    if min(std) <= 0:
        raise UsageError("--data-std: a standard deviation is more than 0.")
    red, green, blue = (value / 255 for value in mean)
    red_std, green_std, blue_std = (value / 255 for value in std)
    return OutputConfig(mean=(red, green, blue), std=(red_std, green_std, blue_std))


def channels(text: str, name: str) -> tuple[float, ...]:
    """Return three values in 0..255; where none is above 1, they were meant in 0..1."""
    try:
        values = tuple(float(part) for part in re.split(r"[,\s]+", text.strip(" []")))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise UsageError(f"{name} must be three numbers, such as {USUAL_MEAN}.")
    return tuple(value * 255 for value in values) if max(values) <= 1 else values


USUAL_MEAN: Final = "122.7,116.5,104.0"


def count_classes(options: TrainOptions, choice: DataChoice) -> int:
    """Return the outputs of the network. Raises UsageError."""
    found = len(choice.classes)
    if options.num_classes is None:
        return found or 1000  # without a dataset, as published: ImageNet's
    if options.num_classes < found:
        raise UsageError(
            f"--num-classes {options.num_classes} is fewer than the {found} classes of "
            f"{choice.train}."
        )
    return options.num_classes


def fidelity(
    options: TrainOptions, choice: DataChoice, basics: Basics
) -> Curriculum | AutotuneConfig | None:
    """Return what chooses the fidelity of training images. Raises UsageError."""
    from dl2cli.loaders.registry import SYNTHETIC
    from dl2cli.training.fidelity.autotune import AutotuneConfig
    from dl2cli.training.fidelity.curriculum import Curriculum, parse_scans, parse_sizes
    from dl2cli.training.fidelity.curriculum_file import AUTO

    _check_one_chooser(options)
    tuner = AutotuneConfig(  # checked even where it is not used
        options.autotune_every, options.autotune_batches, options.autotune_threshold
    )
    synthetic = choice.loader == SYNTHETIC
    if options.autotune_scans or options.curriculum == AUTO:
        if synthetic:  # it has no images whose gradients could agree
            return None
        return tuner if options.autotune_scans else _tuner_of_steps(tuner, choice, basics)
    if options.curriculum is not None:
        chosen: Curriculum | None = _named_curriculum(options.curriculum, choice, basics)
    else:
        scans = str(options.scans) if options.scans is not None else options.scan_schedule
        sizes = parse_sizes(options.size_schedule) if options.size_schedule is not None else ()
        chosen = (
            Curriculum.of(parse_scans(scans) if scans else (), sizes) if scans or sizes else None
        )
    # The same command with the synthetic loader shows what the data costs: no scans there.
    return chosen.without_scans() if synthetic and chosen is not None else chosen


def _check_one_chooser(options: TrainOptions) -> None:
    asked = {
        "--scans": options.scans is not None,
        "--scan-schedule": options.scan_schedule is not None,
        "--autotune-scans": options.autotune_scans,
        "--curriculum": options.curriculum is not None,
    }
    names = [name for name, is_asked in asked.items() if is_asked]
    if len(names) > 1:
        raise UsageError(f"{' and '.join(names)} cannot both choose the fidelity.")
    if options.size_schedule is not None and (options.autotune_scans or options.curriculum):
        raise UsageError(
            f"--size-schedule and {names[0]} cannot be combined: --curriculum takes a file that "
            "changes scans and size, or auto, which chooses both."
        )


def _named_curriculum(text: str, choice: DataChoice, basics: Basics) -> Curriculum:
    from dl2cli.loaders.registry import find_loader
    from dl2cli.training.fidelity.curriculum_file import load_curriculum

    return load_curriculum(
        text,
        epochs=basics.epochs,
        image_px=basics.image_size,
        groups=_groups(choice),
        scales=find_loader(choice.loader).can_scale(),
    )


def _tuner_of_steps(tuner: AutotuneConfig, choice: DataChoice, basics: Basics) -> AutotuneConfig:
    from dl2cli.loaders.registry import find_loader
    from dl2cli.training.fidelity.curriculum_file import auto_ladder

    ladder = auto_ladder(
        image_px=basics.image_size,
        groups=_groups(choice),
        scales=find_loader(choice.loader).can_scale(),
    )
    return replace(tuner, ladder=ladder)


def _groups(choice: DataChoice) -> int | None:
    """Return the scan groups of the training images; None where nothing has any."""
    from dl2cli.loaders.contents import scan_groups
    from dl2cli.loaders.registry import SYNTHETIC

    return None if choice.loader == SYNTHETIC else scan_groups(choice.train)


def positive(value: int, name: str) -> int | None:
    """Return the number of an option, or None for the published -1. Raises UsageError."""
    if value == -1:
        return None
    if value < 1:
        raise UsageError(f"{name} must be at least 1, or -1, not {value}.")
    return value


def seconds(text: str) -> float:
    """Return the seconds of "2h", "90m", "1h30m", "45s" or "3600". Raises UsageError."""
    pattern = r"(?:(\d+(?:\.\d+)?)([dhms]))"
    clean = text.replace(" ", "").lower()
    if re.fullmatch(r"\d+(\.\d+)?", clean):
        total = float(clean)
    elif re.fullmatch(f"{pattern}+", clean):
        total = sum(float(number) * _SECONDS[unit] for number, unit in re.findall(pattern, clean))
    else:
        total = 0.0
    if total <= 0:
        raise UsageError(f"--time-budget: {text!r} is not a duration; use 2h, 90m or 1h30m.")
    return total


def stages(options: TrainOptions) -> list[tuple[Path, int]]:
    """Return dataset and first epoch of each stage. Raises UsageError."""
    found: list[tuple[Path, int]] = []
    for text in options.stage or ():
        path, _, epoch = text.rpartition("@")
        if not path or not epoch.isdecimal():
            raise UsageError(f"--stage must be PATH@EPOCH, as in imagenet/jpeg-10@0, not {text!r}.")
        found.append((dataset_path(path), int(epoch)))
    return found
