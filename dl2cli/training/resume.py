"""Resuming from a checkpoint: what must agree with its run, what may differ, and what is told.

A changed option is applied and told, or refused where it cannot be applied: never neither.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dl2cli.errors import DataError, UsageError
from dl2cli.loaders import Loader
from dl2cli.training.checkpoint.write import plain
from dl2cli.training.optimization.optimizer import OptimizerConfig, load_state
from dl2cli.training.optimization.precision import Precision

if TYPE_CHECKING:
    import torch

# What decides steps, their order or the scores, by its name in the P record. The number of ranks
# that share a batch is not among them: `images a step` is, below.
_COMPARED: Final = (
    "epochs", "lr", "lr_policy", "end_lr", "warmup", "optimizer", "momentum", "nesterov",
    "weight_decay", "bn_weight_decay", "rmsprop_alpha", "rmsprop_eps", "optimizer_batch_size",
    "label_smoothing", "mixup", "image_size", "augmentation", "data_mean", "data_std", "scans",
    "size_schedule", "curriculum", "data_loader", "data", "val_data", "val_scans",
    "skip_validation", "on_damage", "smoothing", "exif_orientation", "scaled_decode",
    "amp", "amp_dtype", "static_loss_scale", "dynamic_loss_scale", "freeze_inner_layers", "seed",
    "train_images", "val_images",
)  # fmt: skip
# The same, from the state of the training loader.
_ORDER: Final = {
    "global_batch": "images a step on all ranks",
    "lanes": "lanes",
    "shuffle": "shuffle",
    "shuffle_window": "shuffle window",
    "drop": "tail",
}
_TAILS: Final = ("pad", "drop")


def check_classes(checkpoint: Mapping[str, Any], loader: Loader) -> None:
    """Raise UsageError if the checkpoint has learnt to tell other classes apart."""
    before, now = checkpoint["classes"], list(loader.classes)
    if before != now:
        some = ", ".join([*now[:3], *(["..."] if len(now) > 3 else [])])
        raise UsageError(
            f"The checkpoint has {len(before)} classes, and the data has {len(now)} other "
            f"classes ({some}): give the --data of its run, or begin another run from its weights "
            "with --pretrained-weights."
        )


def restore_optimizer(
    checkpoint: Mapping[str, Any], optimizer: torch.optim.Optimizer, config: OptimizerConfig
) -> None:
    """Give an optimiser the state of a checkpoint, and keep the options of this run.

    Raises:
        UsageError: the state is that of another optimiser or of other trainable parameters.
        DataError: it is damaged.
    """
    saved = checkpoint["optimizer"]
    groups = saved.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        raise DataError("The checkpoint is damaged: its optimiser has no groups of parameters.")
    before = "rmsprop" if any("alpha" in group for group in groups) else "sgd"
    if before != config.optimizer:
        raise UsageError(
            f"The checkpoint was trained with --optimizer {before}, whose state {config.optimizer} "
            f"cannot go on from: give --optimizer {before}, or begin another run from its weights "
            "with --pretrained-weights."
        )
    try:
        load_state(optimizer, dict(saved))
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise UsageError(
            "The checkpoint's optimiser has other parameters than this model trains "
            f"({str(error).splitlines()[0].rstrip('.')}). --freeze-inner-layers must be given in "
            "both runs or in neither."
        ) from error


def restore_precision(checkpoint: Mapping[str, Any], precision: Precision) -> None:
    """Continue with the loss scale of a checkpoint. Raises DataError."""
    try:
        precision.load_state_dict(checkpoint["precision"])
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(f"The checkpoint's loss scale cannot be read: {error}.") from error


def changes(
    checkpoint: Mapping[str, Any], parameters: Mapping[str, Any], loader: Loader
) -> list[str]:
    """Return a sentence on the options that differ from those of the interrupted run, if any do.

    Args:
        checkpoint: of the run that goes on.
        parameters: the P record of now.
        loader: the training loader of now.
    """
    before, now = comparable(checkpoint.get("parameters", {})), comparable(parameters)
    changed = [
        f"{name} {now[name]} (was {before[name]})"
        for name in _COMPARED
        if name in now and name in before and now[name] != before[name]
    ]
    saved, order = checkpoint["loader"], loader.order.identity()
    changed += [
        f"{words} {_shown(key, order[key])} (was {_shown(key, saved[key])})"
        for key, words in _ORDER.items()
        if key in saved and key in order and order[key] != saved[key]
    ]
    return [f"Changed since the run was interrupted: {', '.join(changed)}."] if changed else []


def comparable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as a checkpoint keeps them: JSON types, and paths that stand alone."""
    kept = plain(parameters)
    for name in ("data", "val_data"):
        if isinstance(kept.get(name), str):
            kept[name] = str(Path(kept[name]).absolute())
    return kept


def _shown(key: str, value: Any) -> Any:  # noqa: ANN401 - a number of any key
    if key == "drop":
        return _TAILS[bool(value)]
    return bool(value) if key == "shuffle" else value
