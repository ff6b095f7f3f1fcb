"""Building blocks that several networks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn


def make_divisible(channels: float, divisor: int = 8) -> int:
    """Return the multiple of `divisor` nearest to `channels`, but at least 90 % of them.

    The rule of the MobileNet papers (Howard et al. 2019) for the width of a layer.
    """
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * channels else rounded + divisor


def initialise_convolutions(model: nn.Module, mode: Literal["fan_in", "fan_out"]) -> None:
    """Draw the weights of all convolutions anew from He's normal distribution; biases are 0.

    The deviation is sqrt(2 / fan) (He et al. 2015, "Delving deep into rectifiers"). As in PyTorch,
    the fan-out of a grouped convolution counts the channels of all groups.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the mean of all channels suggests (Hu et al. 2018).

    Args:
        channels: of input and output.
        squeezed: channels between the two layers.
        gate: the last activation, with values from 0 to 1.
    """

    def __init__(
        self, channels: int, squeezed: int, gate: Callable[[], nn.Module] = nn.Sigmoid
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU(inplace=True)
        self.gate = gate()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to the same shape."""
        scale: torch.Tensor = self.gate(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x
