"""The networks, with the parameter names of torchvision's checkpoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        arch: its name.
        num_classes: of its last layer.
        pretrained_weights: a file of weights to begin with.
        freeze_inner_layers: train only the last layer.
        model_config: how weights are initialised.
    """

    arch: str = "resnet50"
    num_classes: int = 1000
    pretrained_weights: Path | None = None
    freeze_inner_layers: bool = False
    model_config: str = "classic"


def create_model(config: ModelConfig) -> torch.nn.Module:
    """Make a network, with its first weights from torch's default generator."""
    raise NotImplementedError
