"""What is known of a run before its first step, for the observers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group
from dl2cli.training.log.events import RunInfo
from dl2cli.training.parts import Parts


def run_info(
    config: TrainConfig, parts: Parts, group: Group, states: Sequence[dict[str, Any]]
) -> RunInfo:
    """Return what is known of a run that begins at epoch 0.

    Args:
        config: the configuration.
        parts: the parts of the training.
        group: this process among its ranks.
        states: the saved states of each rank's observers, where a run is resumed.
    """
    loader, validation = parts.loader, parts.validation
    return RunInfo(
        folder=config.folder,
        parameters=parts.parameters,
        rank=group.rank,
        world_size=group.world_size,
        device=str(group.device),
        epochs=config.epochs,
        first_epoch=0,
        first_iteration=0,
        steps_per_epoch=len(loader),
        val_steps=len(validation) if validation else 0,
        train_images=loader.image_count,
        val_images=validation.image_count if validation else 0,
        classes=loader.classes,
        model_parameters=sum(p.numel() for p in parts.model.parameters() if p.requires_grad),
        log_state=states[group.rank] if group.rank < len(states) else {},
    )
