"""The learning rate as a function of the epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LrConfig:
    """How the learning rate changes, epoch by epoch.

    Attributes:
        lr: the rate after warm-up, before decay.
        policy: of the decay.
        end_lr: the rate at the end, of linear, cosine and exponential.
        warmup_epochs: epochs in which the rate grows to `lr`.
        epochs: of the whole training.
    """

    lr: float = 0.1
    policy: Literal["step", "linear", "cosine", "exponential"] = "step"
    end_lr: float = 0.0
    warmup_epochs: int = 0
    epochs: int = 90


def learning_rate(config: LrConfig, epoch: int) -> float:
    """Return the learning rate of an epoch (0-based)."""
    raise NotImplementedError
