"""A small network of our own, for CPUs and for tests.

It has no batch norm and no dropout: what it makes of an image depends on no other image, so its
gradients do not depend on how a batch is divided over ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

from dl2cli.training.models.blocks import initialise_convolutions

WIDTHS: Final = (24, 48, 96)
GROUP: Final = 8  # channels that are normalised together


def _stage(inputs: int, outputs: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
    return [conv, nn.GroupNorm(outputs // GROUP, outputs), nn.ReLU(inplace=True)]


class SmallCnn(nn.Module):
    """Convolutions of stride 2 with group norm (Wu and He 2018), the mean, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in WIDTHS:
            layers += _stage(inputs, outputs)
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(inputs, num_classes)
        initialise_convolutions(self, "fan_out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, H, W) to logits (N, classes)."""
        logits: torch.Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {"small_cnn": SmallCnn}
