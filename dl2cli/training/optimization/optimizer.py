"""Makes the optimiser, and decides which parameters have weight decay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dl2cli.errors import UsageError

if TYPE_CHECKING:
    import torch

_NORMS = (
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "SyncBatchNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",  # since torch 2.4
)


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters follow their gradients.

    Attributes:
        optimizer: "sgd" or "rmsprop".
        momentum: momentum, for SGD and RMSprop.
        nesterov: use Nesterov's momentum, with SGD.
        weight_decay: weight decay of all parameters outside normalisation layers. The (DL)2 program
            goes by names with "bn" in them, so it decays the norm on a ResNet's shortcuts, which
            is called downsample.1; here the kind of the layer decides. Biases of other layers are
            decayed, as in that program.
        bn_weight_decay: apply weight decay to normalisation layers too.
        rmsprop_alpha: smoothing constant of RMSprop.
        rmsprop_eps: epsilon of RMSprop.
    """

    optimizer: Literal["sgd", "rmsprop"] = "sgd"
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    bn_weight_decay: bool = False
    rmsprop_alpha: float = 0.9
    rmsprop_eps: float = 1e-3

    def __post_init__(self) -> None:
        if self.optimizer not in ("sgd", "rmsprop"):
            raise UsageError(f"There is no optimiser {self.optimizer!r}: take sgd or rmsprop.")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"Momentum must be at least 0 and below 1, not {self.momentum}.")
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise UsageError("Nesterov's momentum is for sgd with a momentum above 0.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UsageError(f"Weight decay must be 0 or more, not {self.weight_decay}.")
        if not 0 <= self.rmsprop_alpha < 1:
            raise UsageError(f"RMSprop's alpha must be in [0, 1), not {self.rmsprop_alpha}.")
        if not (math.isfinite(self.rmsprop_eps) and self.rmsprop_eps > 0):
            raise UsageError(f"RMSprop's epsilon must be above 0, not {self.rmsprop_eps}.")


def create_optimizer(
    model: torch.nn.Module, config: OptimizerConfig, lr: float
) -> torch.optim.Optimizer:
    """Make the optimiser of a model's trainable parameters, on the device where they are.

    It always has two groups: first what is decayed, then the parameters of normalisation layers.

    Raises:
        UsageError: no parameter is trainable.
    """
    import torch

    decayed, norms = split_parameters(model)
    if not decayed and not norms:
        raise UsageError("All parameters of the model are frozen: there is nothing to train.")
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": norms, "weight_decay": config.weight_decay if config.bn_weight_decay else 0.0},
    ]
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop(
            groups,
            lr=lr,
            alpha=config.rmsprop_alpha,
            eps=config.rmsprop_eps,
            momentum=config.momentum,
        )
    return _sgd(groups, lr, config)


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of the same kind of optimiser, but keep the options that this one has.

    A state brings the options of its own run along: weight decay, momentum and the others.

    Raises:
        ValueError: it is the state of other parameters, or damaged.
    """
    import torch

    options = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, options, strict=True):
        parameters = group["params"]
        group.clear()
        group.update(own, params=parameters)
        for parameter in parameters:
            entries = optimizer.state.get(parameter, {})
            needed = ("step", "square_avg") if entries and "alpha" in own else ()
            _check_entries(entries, parameter, needed)
            # Where momentum comes anew, zeros are what its first step begins with. Fused kernels
            # want it of all parameters or of none, RMSprop makes it in its very first step alone.
            if own["momentum"] and (entries or "nesterov" in own):
                buffer = entries.get("momentum_buffer")
                fresh = torch.zeros_like(parameter) if buffer is None else buffer
                optimizer.state[parameter]["momentum_buffer"] = fresh


def _check_entries(
    entries: dict[str, Any], parameter: torch.Tensor, needed: tuple[str, ...]
) -> None:
    """Refuse what would fail in the next step, or much later. Raises ValueError."""
    import torch

    for name in needed:
        if name not in entries:
            raise ValueError(f"{name} is missing")
    for name, value in entries.items():
        if name == "step" or (value is None and name not in needed):
            continue
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            raise ValueError(f"{name} is not a tensor of numbers")
        if value.shape != parameter.shape:
            shapes = f"{tuple(value.shape)}, its parameter {tuple(parameter.shape)}"
            raise ValueError(f"{name} has the shape {shapes}")


def _sgd(groups: list[dict[str, Any]], lr: float, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Make SGD with fused kernels, if this torch has them for the device.

    They go through memory once, not once for each operation. On a GPU they also leave out a step
    that overflowed by themselves, where others make the host wait for the device in each step of
    mixed precision, to learn whether there was an overflow.
    """
    import torch

    def make(**options: bool) -> torch.optim.Optimizer:
        fresh = [dict(group) for group in groups]  # the optimiser writes its options into them
        return torch.optim.SGD(
            fresh, lr=lr, momentum=config.momentum, nesterov=config.nesterov, **options
        )

    try:
        return make(fused=True)
    except (TypeError, RuntimeError):  # unknown before torch 2.3, refused for other devices
        return make()


def split_parameters(
    model: torch.nn.Module,
) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Return the trainable parameters outside and inside of normalisation layers, each once."""
    from torch import nn

    kinds = tuple(getattr(nn, name) for name in _NORMS if hasattr(nn, name))
    inside = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, kinds)
        for parameter in module.parameters(recurse=False)
    }
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return (
        [parameter for parameter in trainable if id(parameter) not in inside],
        [parameter for parameter in trainable if id(parameter) in inside],
    )
