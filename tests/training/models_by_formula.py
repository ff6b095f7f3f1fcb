"""Weights and images that are the same on every machine and with every version of torch."""

import torch
from torch import nn


def fill(model: nn.Module) -> None:
    """Give each tensor of a state dict values that depend on its name's place and shape alone.

    Weights look random enough, and have the deviation that keeps signals alive (He et al. 2015);
    statistics of batch norms differ from channel to channel.
    """
    for place, (name, tensor) in enumerate(model.state_dict().items()):
        if not tensor.is_floating_point():
            continue
        values = _noise(tensor.numel(), place).reshape(tensor.shape)
        if name.endswith("running_var"):
            values = 1 + 0.5 * values
        elif tensor.dim() == 1:
            values = 0.1 * values + (0.5 if name.endswith("weight") else 0)
        else:
            values = values * (6 / tensor[0].numel()) ** 0.5
        tensor.copy_(values)


def picture(px: int) -> torch.Tensor:
    """An image (1, 3, px, px) of values from -1 to 1."""
    return _noise(3 * px * px, 1000).reshape(1, 3, px, px)


def _noise(count: int, seed: int) -> torch.Tensor:
    """Numbers from -1 to 1: a multiplicative congruential sequence, repeated, begun at `seed`."""
    start = 7919 * seed % PERIOD
    repeats = (start + count) // PERIOD + 1
    return _TABLE.repeat(repeats)[start : start + count]


def _table() -> torch.Tensor:
    index = torch.arange(1, PERIOD + 1, dtype=torch.int64)
    return ((index * 48271 % 2147483647 * 16807 % 2147483647 % 65536) / 32768 - 1).float()


PERIOD = 1_000_003  # a prime: no row of a weight falls together with another
_TABLE = _table()
