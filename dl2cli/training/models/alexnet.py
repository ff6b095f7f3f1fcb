"""AlexNet, with torchvision's parameter names.

The single-column network of Krizhevsky 2014 ("One weird trick for parallelizing convolutional
neural networks"), without local response normalisation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import nn

POOLED: Final = 6  # pixels a side of the last feature map, whatever the image's size


class AlexNet(nn.Module):
    """Five convolutions and three linear layers."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(POOLED)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * POOLED * POOLED, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images (N, 3, H, W) of 63 pixels a side or more to logits (N, classes)."""
        x = torch.flatten(self.avgpool(self.features(x)), 1)
        logits: torch.Tensor = self.classifier(x)
        return logits


NETWORKS: Final[dict[str, Callable[[int], nn.Module]]] = {"alexnet": AlexNet}
