"""ShuffleNetV2, with torchvision's parameter names.

Ma et al. 2018, "ShuffleNet V2: practical guidelines for efficient CNN architecture design".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import nn


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
    return [conv, nn.BatchNorm2d(channels)]


def shuffle_halves(x: torch.Tensor) -> torch.Tensor:
    """Interleave the two halves of the channels of x (N, C, H, W), so that both mix later on."""
    n, channels, height, width = x.shape
    return x.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)


class Unit(nn.Module):
    """Two branches of half the output channels each; with stride 1, the first is the identity."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        branch1 = [] if stride == 1 else [*_depthwise(inputs, stride), *_pointwise(inputs, half)]
        self.branch1 = nn.Sequential(*branch1)
        self.branch2 = nn.Sequential(
            *_pointwise(half if stride == 1 else inputs, half),
            *_depthwise(half, stride),
            *_pointwise(half, half),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        if len(self.branch1):
            first, second = self.branch1(x), self.branch2(x)
        else:
            first, second = x.chunk(2, dim=1)
            second = self.branch2(second)
        return shuffle_halves(torch.cat((first, second), dim=1))


def _stage(inputs: int, outputs: int, depth: int) -> nn.Sequential:
    first = Unit(inputs, outputs, stride=2)
    return nn.Sequential(first, *(Unit(outputs, outputs, stride=1) for _ in range(depth - 1)))


class ShuffleNetV2(nn.Module):
    """A stem, three stages of units, a last convolution, and one linear layer.

    Args:
        channels: after the stem, after each stage, and of the last convolution.
        num_classes: of the last layer.
    """

    def __init__(self, channels: tuple[int, int, int, int, int], num_classes: int) -> None:
        super().__init__()
        stem, second, third, fourth, last = channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, stem, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(inplace=True),
        )
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage2 = _stage(stem, second, depth=4)
        self.stage3 = _stage(second, third, depth=8)
        self.stage4 = _stage(third, fourth, depth=4)
        self.conv5 = nn.Sequential(*_pointwise(fourth, last))
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, H, W) to logits (N, classes)."""
        x = self.stage4(self.stage3(self.stage2(self.maxpool(self.conv1(x)))))
        logits: torch.Tensor = self.fc(self.conv5(x).mean((2, 3)))
        return logits


NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {
    "shufflenet_v2_x1_0": partial(ShuffleNetV2, (24, 116, 232, 464, 1024))
}
