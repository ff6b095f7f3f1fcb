"""The optimiser, and which parameters it decays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters follow their gradients.

    Attributes:
        optimizer: "sgd" or "rmsprop".
        momentum: of either.
        nesterov: Nesterov's momentum, of SGD.
        weight_decay: of all parameters but those of batch norm and (with it) biases as published.
        bn_weight_decay: also of batch norm.
        rmsprop_alpha: smoothing of RMSprop.
        rmsprop_eps: of RMSprop.
    """

    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    bn_weight_decay: bool = False
    rmsprop_alpha: float = 0.9
    rmsprop_eps: float = 1e-3


def create_optimizer(
    model: torch.nn.Module, config: OptimizerConfig, lr: float
) -> torch.optim.Optimizer:
    """Make the optimiser of a model's trainable parameters. Raises UsageError."""
    raise NotImplementedError
