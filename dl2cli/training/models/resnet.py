"""ResNet, ResNeXt and SE-ResNeXt, with torchvision's parameter names.

He et al. 2016 ("Deep residual learning for image recognition"), Xie et al. 2017 ("Aggregated
residual transformations for deep neural networks"), Hu et al. 2018 ("Squeeze-and-excitation
networks"). The stride of a bottleneck is in its 3x3 convolution ("v1.5"), not in its first, as it
is in torchvision's and NVIDIA's networks. The weights of the squeeze-and-excitation are
`layerS.B.se.fc1` and `.fc2`, 1x1 convolutions, as in timm's checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
from torch import nn

from dl2cli.training.models.blocks import SqueezeExcitation, initialise_convolutions

SQUEEZE: Final = 16  # channels of a block over channels in its squeeze-and-excitation


def _conv3x3(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, groups=groups, bias=False)


def _conv1x1(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return a projection where the block changes the shape, else None: the identity."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    expansion: Final = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        # The projection is made first, as in torchvision: a seed then gives the same weights.
        downsample = _shortcut(inputs, width, stride)
        self.conv1 = _conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += shortcut
        out: torch.Tensor = self.relu(y)
        return out


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 convolutions, and a shortcut.

    Args:
        inputs: channels.
        width: of the stage; the block has four times as many output channels.
        stride: of the 3x3 convolution.
        groups: of the 3x3 convolution.
        group_width: channels of a group where `width` is 64.
        squeeze_excitation: whether to scale channels before the shortcut is added.
    """

    expansion: Final = 4

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: int,
        *,
        groups: int = 1,
        group_width: int = 64,
        squeeze_excitation: bool = False,
    ) -> None:
        super().__init__()
        inner, outputs = width * group_width // 64 * groups, width * self.expansion
        downsample = _shortcut(inputs, outputs, stride)
        self.conv1 = _conv1x1(inputs, inner)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = _conv3x3(inner, inner, stride, groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = _conv1x1(inner, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs, outputs // SQUEEZE) if squeeze_excitation else None
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, inputs, H, W) to (N, 4 * width, H / stride, W / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        if self.se is not None:
            y = self.se(y)
        y += shortcut
        out: torch.Tensor = self.relu(y)
        return out


@dataclass(frozen=True)
class _ResNetDesign:
    """A block, made by inputs, width and stride; its expansion; and the blocks of each stage."""

    block: Callable[[int, int, int], nn.Module]
    expansion: int
    depths: tuple[int, int, int, int]

    def stage(self, number: int) -> nn.Sequential:
        """Make the blocks of a stage; each stage but the first halves the image."""
        width = 64 << number
        outputs = width * self.expansion
        first = self.block(outputs // 2 if number else 64, width, 2 if number else 1)
        rest = [self.block(outputs, width, 1) for _ in range(self.depths[number] - 1)]
        return nn.Sequential(first, *rest)


class ResNet(nn.Module):
    """A stem, four stages of blocks, the mean over the image, and one linear layer."""

    def __init__(self, design: _ResNetDesign, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = design.stage(0)
        self.layer2 = design.stage(1)
        self.layer3 = design.stage(2)
        self.layer4 = design.stage(3)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * design.expansion, num_classes)
        initialise_convolutions(self, "fan_out")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, H, W) to logits (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: torch.Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


_NEXT = partial(Bottleneck, groups=32, group_width=4)
_SE_NEXT = partial(_NEXT, squeeze_excitation=True)
_DESIGNS: Final = {
    "resnet18": _ResNetDesign(BasicBlock, BasicBlock.expansion, (2, 2, 2, 2)),
    "resnet34": _ResNetDesign(BasicBlock, BasicBlock.expansion, (3, 4, 6, 3)),
    "resnet50": _ResNetDesign(Bottleneck, Bottleneck.expansion, (3, 4, 6, 3)),
    "resnet101": _ResNetDesign(Bottleneck, Bottleneck.expansion, (3, 4, 23, 3)),
    "resnet152": _ResNetDesign(Bottleneck, Bottleneck.expansion, (3, 8, 36, 3)),
    "resnext101_32x4d": _ResNetDesign(_NEXT, Bottleneck.expansion, (3, 4, 23, 3)),
    "se_resnext101_32x4d": _ResNetDesign(_SE_NEXT, Bottleneck.expansion, (3, 4, 23, 3)),
}
NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {
    name: partial(ResNet, design) for name, design in _DESIGNS.items()
}
