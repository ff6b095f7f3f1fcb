"""Trying a network out, without a trace: does it take these images, and batches of one?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dl2cli.errors import UsageError
from dl2cli.training.models import set_training_mode

if TYPE_CHECKING:
    import torch
    from torch import nn


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Put the model into training mode; afterwards restore mode, buffers and random state."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = {tensor.device for tensor in model.parameters() if tensor.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        try:
            set_training_mode(model)
            yield
        finally:
            for module, training in modes:
                module.training = training
            with torch.no_grad():
                for buffer, saved in buffers:
                    buffer.copy_(saved)


def check_takes_images(model: nn.Module, arch: str, image_px: int) -> None:
    """Raise UsageError where a network cannot take images of a size, found by giving it one.

    For networks of torchvision, some of which take one size alone, and some only large images.
    """
    with unchanged(model):
        model.eval()
        try:
            _compute(model, image_px)
        except (RuntimeError, AssertionError, ValueError) as error:
            reason = str(error).split("\n", maxsplit=1)[0]
            raise UsageError(
                f"{arch} cannot take images of {image_px} pixels ({reason}): choose another "
                "--image-size."
            ) from error


def needs_two_images(model: nn.Module, image_px: int) -> bool:
    """Tell whether a network cannot train with a batch of one image of this size.

    Batch norm takes the mean over images and pixels, so where it comes to a single pixel (at the
    end of a ResNet that has 32 pixels to begin with) one image has no variance.
    """
    with unchanged(model):
        try:
            _compute(model, image_px)
        except ValueError as error:  # torch's "Expected more than 1 value per channel"
            return "more than 1 value" in str(error)
    return False


def _compute(model: nn.Module, image_px: int) -> torch.Tensor:
    import torch

    with torch.no_grad():
        device = next(model.parameters()).device
        output: torch.Tensor = model(torch.zeros(1, 3, image_px, image_px, device=device))
    return output
