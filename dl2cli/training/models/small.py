"""A small network of our own, for CPUs and for tests.

It has no batch norm and no dropout: what it makes of an image depends on no other image, so its
gradients do not depend on how a batch is divided over ranks. In place of activations, weights are
normalised (Brock et al. 2021, "Characterizing signal propagation to close the performance gap in
unnormalized ResNets"): on the built-in sample set, group norm kept networks of this size from
learning structure, and without any norm they learned slowly, or diverged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

from dl2cli.training.models.blocks import initialise_convolutions


class StandardizedConv2d(nn.Conv2d):
    """A convolution whose weights have mean 0 and He's deviation, times a gain for each output.

    Weight standardisation of Qiao et al. 2019 with the scaling of Brock et al. 2021.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.gain = nn.Parameter(torch.ones(outputs, 1, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        fan_in = self.weight[0].numel()
        variance, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        weight = (self.weight - mean) * torch.rsqrt(variance * fan_in / 2 + 1e-4) * self.gain
        return nn.functional.conv2d(x, weight, self.bias, self.stride, self.padding)


def _stage(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    return [StandardizedConv2d(inputs, outputs, kernel, stride), nn.ReLU(inplace=True)]


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
        initialise_convolutions(self, "fan_in")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, H, W) of 15 pixels a side or more to logits (N, classes)."""
        logits: torch.Tensor = self.fc(self.features(x).mean((2, 3)))
        return logits


NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {"small_cnn": SmallCnn}
