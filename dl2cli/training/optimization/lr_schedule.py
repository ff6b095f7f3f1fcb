"""The learning rate as a function of the epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dl2cli.errors import UsageError

STEP_EPOCHS = (30, 60, 80)
STEP_FACTOR = 0.1
EXPONENTIAL_END = 0.001


@dataclass(frozen=True)
class LrConfig:
    """How the learning rate changes, epoch by epoch.

    Attributes:
        lr: the rate after warm-up, before decay.
        policy: how the rate decays.
        end_lr: the rate that linear, cosine and exponential approach. The (DL)2 program has the
            option, but none of its policies follows it: they end at its default, 0. Exponential
            cannot approach 0, so it ends at lr / 1000 instead, as in that program.
        warmup_epochs: epochs in which the rate grows to `lr`.
        epochs: length of the whole training.
    """

    lr: float = 0.1
    policy: Literal["step", "linear", "cosine", "exponential"] = "step"
    end_lr: float = 0.0
    warmup_epochs: int = 0
    epochs: int = 90

    def __post_init__(self) -> None:
        if self.policy not in ("step", "linear", "cosine", "exponential"):
            raise UsageError(
                f"There is no learning-rate policy {self.policy!r}: take step, linear, cosine or "
                "exponential."
            )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise UsageError(f"The learning rate must be a number above 0, not {self.lr}.")
        if not 0 <= self.end_lr <= self.lr:
            raise UsageError(
                f"The learning rate must end between 0 and {self.lr}, where it begins, not at "
                f"{self.end_lr}."
            )
        if self.policy == "step" and self.end_lr:
            raise UsageError(
                "The step policy has no end value: leave out the end of the learning rate, or "
                "take the policy linear, cosine or exponential."
            )
        if self.warmup_epochs < 0 or self.epochs < 1:
            raise UsageError(
                f"A training of {self.epochs} epochs, {self.warmup_epochs} of them warm-up, "
                "cannot be: take at least 1 epoch, and 0 or more for warm-up."
            )


def learning_rate(config: LrConfig, epoch: int) -> float:
    """Return the learning rate of an epoch (0-based); it is constant within the epoch.

    With e epochs after warm-up (W epochs) and E = epochs - W:

        warm-up      lr (epoch + 1) / W, for epoch < W
        step         lr 0.1^n, n = how many of the epochs 30, 60, 80 have begun (warm-up counts)
        linear       end_lr + (lr - end_lr) (1 - e / E)
        cosine       end_lr + (lr - end_lr) (1 + cos(pi e / E)) / 2
        exponential  lr (end_lr / lr)^(e / E), with lr / 1000 for an end_lr of 0

    Source: the policies of the image classification program in NVIDIA's DeepLearningExamples
    (PyTorch/Classification/ConvNets), which the published program takes over, and its logs. The
    cosine is Loshchilov and Hutter, "SGDR", ICLR 2017, equation 5, without restarts. A warm-up
    longer than the training, which one published run has, never reaches `lr`; after the last epoch
    the rate stays where it ends.
    """
    if epoch < 0:
        raise ValueError(f"There is no epoch {epoch}.")
    if epoch < config.warmup_epochs:
        return config.lr * (epoch + 1) / config.warmup_epochs
    if config.policy == "step":
        return config.lr * STEP_FACTOR ** sum(epoch >= first for first in STEP_EPOCHS)
    decay_epochs = config.epochs - config.warmup_epochs
    share = min((epoch - config.warmup_epochs) / decay_epochs, 1.0) if decay_epochs > 0 else 1.0
    if config.policy == "exponential":
        end = config.end_lr / config.lr or EXPONENTIAL_END
        return float(config.lr * end**share)
    left = 1 - share if config.policy == "linear" else 0.5 * (1 + math.cos(math.pi * share))
    return config.end_lr + left * (config.lr - config.end_lr)
