"""A small network of our own, for CPUs and for tests.

It has no batch norm and no dropout: what it makes of an image depends on no other image, so its
gradients do not depend on how a batch is divided over ranks. It has no other norm either: on the
built-in sample set, group norm and layer norm kept networks of this size from learning structure.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

from dl2cli.training.models.blocks import initialise_convolutions


def _stage(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
    return [conv, nn.ReLU(inplace=True)]


class SmallCnn(nn.Module):
    """Four convolutions with pooling between them, the mean over the image, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_stage(3, 16, kernel=5, stride=2),
            nn.MaxPool2d(2),
            *_stage(16, 32),
            nn.MaxPool2d(2),
            *_stage(32, 64),
            nn.MaxPool2d(2),
            *_stage(64, 96),
        )
        self.fc = nn.Linear(96, num_classes)
        initialise_convolutions(self, "fan_in")  # without norms, the forward scale is what counts

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, H, W) of 15 pixels a side or more to logits (N, classes)."""
        logits: torch.Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {"small_cnn": SmallCnn}
