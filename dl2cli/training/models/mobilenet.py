"""MobileNetV3, small and large, with torchvision's parameter names.

Howard et al. 2019, "Searching for MobileNetV3"; the designs are its tables 1 and 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import nn

from dl2cli.training.models.blocks import (
    SqueezeExcitation,
    initialise_convolutions,
    make_divisible,
)

_norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


def _conv(
    inputs: int,
    outputs: int,
    kernel: int,
    activation: Callable[..., nn.Module] | None,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    padding = kernel // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    layers = [conv, _norm(outputs)]
    if activation is not None:
        layers.append(activation(inplace=True))
    return nn.Sequential(*layers)


@dataclass(frozen=True)
class _Row:
    """A row of the paper's tables: one inverted residual block."""

    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    activation: Callable[..., nn.Module]
    stride: int


@dataclass(frozen=True)
class _MobileNetDesign:
    """The blocks of a network, and the width of its last hidden layer."""

    rows: tuple[_Row, ...]
    hidden: int


class InvertedResidual(nn.Module):
    """Widen, convolve each channel alone, narrow; with a shortcut where the shape stays."""

    def __init__(self, inputs: int, row: _Row) -> None:
        super().__init__()
        self.shortcut = row.stride == 1 and inputs == row.outputs
        width = row.expanded
        layers: list[nn.Module] = []
        if width != inputs:
            layers.append(_conv(inputs, width, 1, row.activation))
        depthwise = _conv(width, width, row.kernel, row.activation, stride=row.stride, groups=width)
        layers.append(depthwise)
        if row.squeeze:
            layers.append(SqueezeExcitation(width, make_divisible(width / 4), nn.Hardsigmoid))
        layers.append(_conv(width, row.outputs, 1, None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        y: torch.Tensor = self.block(x)
        return x + y if self.shortcut else y


class MobileNetV3(nn.Module):
    """A stem, the blocks of a table, a last convolution, and two linear layers."""

    def __init__(self, design: _MobileNetDesign, num_classes: int) -> None:
        super().__init__()
        channels = 16
        layers: list[nn.Module] = [_conv(3, channels, 3, nn.Hardswish, stride=2)]
        for row in design.rows:
            layers.append(InvertedResidual(channels, row))
            channels = row.outputs
        last = 6 * channels
        layers.append(_conv(channels, last, 1, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(last, design.hidden),
            nn.Hardswish(inplace=True),
            nn.Dropout(0.2, inplace=True),
            nn.Linear(design.hidden, num_classes),
        )
        initialise_convolutions(self, "fan_out")
        for module in self.classifier:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, H, W) to logits (N, classes)."""
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        logits: torch.Tensor = self.classifier(x)
        return logits


_RE, _HS = nn.ReLU, nn.Hardswish
_SMALL: Final = _MobileNetDesign(
    (
        _Row(3, 16, 16, True, _RE, 2),
        _Row(3, 72, 24, False, _RE, 2),
        _Row(3, 88, 24, False, _RE, 1),
        _Row(5, 96, 40, True, _HS, 2),
        _Row(5, 240, 40, True, _HS, 1),
        _Row(5, 240, 40, True, _HS, 1),
        _Row(5, 120, 48, True, _HS, 1),
        _Row(5, 144, 48, True, _HS, 1),
        _Row(5, 288, 96, True, _HS, 2),
        _Row(5, 576, 96, True, _HS, 1),
        _Row(5, 576, 96, True, _HS, 1),
    ),
    hidden=1024,
)
_LARGE: Final = _MobileNetDesign(
    (
        _Row(3, 16, 16, False, _RE, 1),
        _Row(3, 64, 24, False, _RE, 2),
        _Row(3, 72, 24, False, _RE, 1),
        _Row(5, 72, 40, True, _RE, 2),
        _Row(5, 120, 40, True, _RE, 1),
        _Row(5, 120, 40, True, _RE, 1),
        _Row(3, 240, 80, False, _HS, 2),
        _Row(3, 200, 80, False, _HS, 1),
        _Row(3, 184, 80, False, _HS, 1),
        _Row(3, 184, 80, False, _HS, 1),
        _Row(3, 480, 112, True, _HS, 1),
        _Row(3, 672, 112, True, _HS, 1),
        _Row(5, 672, 160, True, _HS, 2),
        _Row(5, 960, 160, True, _HS, 1),
        _Row(5, 960, 160, True, _HS, 1),
    ),
    hidden=1280,
)
NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {
    "mobilenet_v3_small": partial(MobileNetV3, _SMALL),
    "mobilenet_v3_large": partial(MobileNetV3, _LARGE),
}
