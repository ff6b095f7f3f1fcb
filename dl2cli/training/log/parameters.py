"""The P record: what a run was told, under the names and in the order of the published logs.

A value that was not given is the one that applies; the published -1 and null for "none" stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dl2cli.dataset.location import DatasetKind
from dl2cli.dataset.naming import parse_data_path
from dl2cli.loaders.registry import SYNTHETIC, loaders_for
from dl2cli.training.fidelity.autotune import AutotuneConfig
from dl2cli.training.fidelity.curriculum import Curriculum
from dl2cli.training.fidelity.curriculum_file import AUTO

if TYPE_CHECKING:
    from dl2cli.training.config import DataConfig, TrainConfig
    from dl2cli.training.distributed import Group


def parameters(config: TrainConfig, group: Group, seed: int) -> dict[str, Any]:
    """Return the parameters of a run, JSON types only: the published 55, then ours.

    Args:
        config: what the run was told.
        group: this process among its ranks.
        seed: the random seed that applies, drawn where `config` has none.
    """
    return {**_published(config, group, seed), **_ours(config), **config.parameters}


def _published(config: TrainConfig, group: Group, seed: int) -> dict[str, Any]:
    data, train, resume = config.data, config.data.train, config.checkpoint.resume
    return {
        "arch": config.model.arch,
        "batch_size": train.batch_size,
        "data": str(data.root or train.data),
        "epochs": config.epochs,
        "data_loader": data.loader,
        "experiment_name": config.name or config.folder.name,
        "print_freq": config.print_freq,
        "workers": train.workers,
        "amp": config.precision.amp,
        "augmentation": "autoaugment" if train.auto_augment else None,
        "backup_checkpoints": config.checkpoint.backups,
        "bn_weight_decay": config.optimizer.bn_weight_decay,
        "cache_size": train.cache_bytes,
        "checkpoint_filename": config.checkpoint.filename,
        "dataset_class": train.dataset_class,
        "data_mean": _in_bytes(train.output.mean),
        "data_std": _in_bytes(train.output.std),
        "dynamic_loss_scale": config.precision.dynamic_loss_scale,
        "end_lr": config.lr.end_lr or 0,  # an integer where it is 0, as published
        "freeze_inner_layers": config.model.freeze_inner_layers,
        "image_size": train.transform.size,
        "interpolation": "bilinear",  # there is no other
        "label_smoothing": config.loss.label_smoothing,
        "lr": config.lr.lr,
        "lr_policy": config.lr.policy,
        "memory_format": "nhwc" if config.channels_last else "nchw",
        "mixup": config.loss.mixup,
        "model_config": config.model.model_config,
        "momentum": config.optimizer.momentum,
        "nesterov": config.optimizer.nesterov,
        "save_checkpoints": config.checkpoint.save,
        "persistent_workers": train.persistent_workers,
        "num_classes": config.model.num_classes,
        "optimizer": config.optimizer.optimizer,
        "optimizer_batch_size": config.optimizer_batch_size or -1,
        "pretrained_weights": _text(config.model.pretrained_weights),
        "profile_n": config.profile_steps or -1,
        "report_file": config.report_file,
        "resume": _text(resume),
        "rmsprop_alpha": config.optimizer.rmsprop_alpha,
        "rmsprop_eps": config.optimizer.rmsprop_eps,
        "run_epochs": config.run_epochs or -1,
        "seed": seed,
        "skip_training": config.skip_training,
        "skip_validation": data.val is None and data.val_synthetic_images is None,
        "static_loss_scale": config.precision.static_loss_scale,
        "synth_train_samples": train.synthetic_images or -1,
        "synth_val_samples": data.val_synthetic_images or -1,
        "warmup": config.lr.warmup_epochs,
        "weight_decay": config.optimizer.weight_decay,
        "workspace": str(config.folder),  # so published: the run's folder
        "distributed": group.world_size > 1,
        "world_size": group.world_size,
        "gpu": group.local_rank,
        "local_rank": group.local_rank,
    }


def _ours(config: TrainConfig) -> dict[str, Any]:
    """Return what published logs lack: fidelity, how data is loaded, and names to group by."""
    data, train = config.data, config.data.train
    dataset, variant = _names(data, config.fidelity.label() if config.fidelity else None)
    return {
        **_fidelity(config.fidelity),
        "dataset": dataset,
        "variant": variant,
        "val_data": _text(data.val),
        "val_scans": data.val_scans,
        "lanes": train.lanes,
        "tail": train.tail,
        "shuffle_window": train.shuffle_window,
        "on_damage": train.on_damage,
        "smoothing": train.smoothing,
        "exif_orientation": train.exif_orientation,
        "codec": train.codec,
        "scaled_decode": train.scaled_decode,
        "amp_dtype": config.precision.dtype,
        "compile": config.compile,
        "sync_every_step": config.sync_every_step,
        # Storage is only known here where it was made slower on purpose.
        **({} if train.throttle is None else {"storage": str(train.throttle)}),
    }


def _fidelity(chooser: Curriculum | AutotuneConfig | None) -> dict[str, Any]:
    """Return what chooses the fidelity: numbers where they are constant, else schedules."""
    if isinstance(chooser, AutotuneConfig):
        by_steps = chooser.ladder is not None
        auto = AUTO if by_steps else None
        return {"scans": AUTO, "size_schedule": auto, "curriculum": auto}
    scans = chooser.scans_label() if chooser is not None else None
    return {
        "scans": int(scans) if scans is not None and scans.isdecimal() else scans,
        "size_schedule": chooser.size_label() if chooser is not None else None,
        "curriculum": chooser.name if chooser is not None else None,
    }


def _names(data: DataConfig, label: str | None) -> tuple[str | None, str]:
    """Return the names of the dataset and of its variant, by which a report groups runs."""
    if data.train.synthetic_images is not None:
        return SYNTHETIC, SYNTHETIC
    path = parse_data_path(str((data.root or data.train.data).resolve()))
    dataset = data.dataset or path.dataset
    if dataset is not None:  # a dataset and its PCR form, as dl2 names it, are compared
        dataset = dataset.removesuffix("-pcr").removesuffix("_pcr") or dataset
    if data.loader == SYNTHETIC:
        return dataset, SYNTHETIC
    if data.loader in loaders_for(DatasetKind.PCR):
        return dataset, f"pcr-{label}" if label else "pcr"
    name = path.variant.name if path.variant else "raw"
    return dataset, f"{name}-{label}" if label else name  # without scans, a label is of sizes


def _in_bytes(channels: tuple[float, float, float]) -> list[float]:
    """Return constants of normalisation in 0..255, as published, rid of rounding errors."""
    return [round(255 * value, 9) for value in channels]


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
