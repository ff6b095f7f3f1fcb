"""The loss: cross-entropy with label smoothing and mixup."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LossConfig:
    """What is minimised.

    Attributes:
        label_smoothing: the share of probability spread over all classes.
        mixup: alpha of mixup's beta distribution; 0 is off.
    """

    label_smoothing: float = 0.0
    mixup: float = 0.0


class Criterion:
    """Mixes training batches and measures the loss."""

    def __init__(self, config: LossConfig) -> None:
        """Raises UsageError for options that make no sense."""
        self.config = config

    def mix(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (N, 3, H, W) and targets: labels (N,), or probabilities (N, classes).

        Random numbers come from torch's default generator, which the loop seeds for each step.
        """
        raise NotImplementedError

    def __call__(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits (N, classes), a scalar of float32."""
        raise NotImplementedError
