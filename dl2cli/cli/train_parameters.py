"""The P record: what a run was told, under the names and in the order of the published logs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from dl2cli.cli.train_options import TrainOptions
from dl2cli.cli.train_settings import Basics, channels
from dl2cli.dataset.naming import parse_data_path

if TYPE_CHECKING:
    from dl2cli.training.config import TrainConfig
    from dl2cli.training.data_source import DataChoice


def parameters(
    options: TrainOptions, choice: DataChoice, basics: Basics, config: TrainConfig
) -> dict[str, Any]:
    """Return the parameters of a run: the published 55, then ours.

    Where an option was not given, it is the value that applies; the published -1 and null stay.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    return {
        "arch": basics.arch,
        "batch_size": basics.batch_size,
        "data": str(options.data or choice.root),
        "epochs": basics.epochs,
        "data_loader": choice.loader,
        "experiment_name": options.name or config.folder.name,
        "print_freq": basics.print_freq,
        "workers": config.data.workers,
        "amp": options.amp,
        "augmentation": None if options.augmentation in ("null", "none") else options.augmentation,
        "backup_checkpoints": options.backup_checkpoints,
        "bn_weight_decay": options.bn_weight_decay,
        "cache_size": options.cache_size,
        "checkpoint_filename": options.checkpoint_filename,
        "dataset_class": options.dataset_class,
        "data_mean": list(channels(options.data_mean, "--data-mean")),
        "data_std": list(channels(options.data_std, "--data-std")),
        "dynamic_loss_scale": options.dynamic_loss_scale,
        "end_lr": options.end_lr or 0,  # an integer where it is 0, as published
        "freeze_inner_layers": options.freeze_inner_layers,
        "image_size": basics.image_size,
        "interpolation": options.interpolation,
        "label_smoothing": options.label_smoothing,
        "lr": basics.lr,
        "lr_policy": basics.lr_policy,
        "memory_format": options.memory_format,
        "mixup": options.mixup,
        "model_config": options.model_config,
        "momentum": options.momentum,
        "nesterov": options.nesterov,
        "save_checkpoints": not options.no_save_checkpoints,
        "persistent_workers": options.persistent_workers,
        "num_classes": config.model.num_classes,
        "optimizer": options.optimizer,
        "optimizer_batch_size": options.optimizer_batch_size,
        "pretrained_weights": str(options.pretrained_weights)
        if options.pretrained_weights
        else None,
        "profile_n": options.profile_n,
        "report_file": options.report_file,
        "resume": options.resume,
        "rmsprop_alpha": options.rmsprop_alpha,
        "rmsprop_eps": options.rmsprop_eps,
        "run_epochs": options.run_epochs,
        "seed": options.seed,
        "skip_training": options.skip_training,
        "skip_validation": options.skip_validation,
        "static_loss_scale": options.static_loss_scale,
        "synth_train_samples": options.synth_train_samples,
        "synth_val_samples": options.synth_val_samples,
        "warmup": options.warmup,
        "weight_decay": options.weight_decay,
        "workspace": str(config.folder),  # so published: the run's folder
        "distributed": world > 1,
        "world_size": world,
        "gpu": local_rank,
        "local_rank": local_rank,
        **_ours(options, choice),
    }


def _ours(options: TrainOptions, choice: DataChoice) -> dict[str, Any]:
    """Return what published logs lack: fidelity, and the names that a report groups by."""
    from dl2cli.training.data_source import PCR_LOADERS, SYNTHETIC

    path = parse_data_path(str(choice.root.resolve()))
    variant = path.variant.name if path.variant else "raw"
    scans: int | str | None = None
    if choice.loader in PCR_LOADERS:
        scans = "auto" if options.autotune_scans else options.scans or options.scan_schedule
        variant = f"pcr-{scans}" if scans else "pcr"
    elif choice.loader == SYNTHETIC:
        variant = SYNTHETIC
    dataset = "sample" if choice.sample else path.dataset if choice.classes else SYNTHETIC
    if dataset is not None:  # a dataset and its PCR form, as dl2 names it, are compared
        dataset = dataset.removesuffix("-pcr").removesuffix("_pcr") or dataset
    # Of stages, each has a path of its own, which says what it is.
    names = {} if options.stage else {"dataset": dataset, "variant": variant}
    return {
        "scans": scans,
        **names,
        "val_data": str(choice.val) if choice.val and not options.skip_validation else None,
        "val_scans": options.val_scans,
        "lanes": options.lanes,
        "amp_dtype": options.amp_dtype,
        "compile": options.compile,
        "sync_every_step": options.sync_every_step,
    }
