"""From a name to a network, and what its last layer is."""

from __future__ import annotations

from types import ModuleType
from typing import Any, Final

from torch import nn

from dl2cli.errors import MissingDependency, UsageError
from dl2cli.training.models import (
    TORCHVISION,
    alexnet,
    mobilenet,
    resnet,
    shufflenet,
    small,
)
from dl2cli.training.models.blocks import initialise_convolutions

NETWORKS: Final = (
    alexnet.NETWORKS | resnet.NETWORKS | shufflenet.NETWORKS | mobilenet.NETWORKS | small.NETWORKS
)
# Without these, two of torchvision's networks give more than logits in training.
_TORCHVISION_OPTIONS: Final[dict[str, dict[str, bool]]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def build(arch: str, num_classes: int, model_config: str) -> nn.Module:
    """Make the network of a canonical name with fresh weights.

    Raises:
        UsageError: torchvision has no such network.
        MissingDependency: torchvision is needed and cannot be imported.
    """
    if arch.startswith(TORCHVISION):
        model = _torchvision_model(arch.removeprefix(TORCHVISION), num_classes)
    else:
        model = NETWORKS[arch](num_classes)
    if model_config.endswith("fanin"):
        initialise_convolutions(model, "fan_in")
    return model


def last_layer(model: nn.Module) -> tuple[str, nn.Module]:
    """Return name and module of the layer that gives the logits.

    That is the last linear layer, or convolution, that is defined in the model.
    """
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    return layers[-1]


def freeze_inner_layers(model: nn.Module) -> None:
    """Let only the last layer learn; see also `set_training_mode`."""
    model.requires_grad_(False)
    last_layer(model)[1].requires_grad_(True)


def _torchvision_model(name: str, num_classes: int) -> nn.Module:
    models = _import_torchvision().models
    if name not in models.list_models(module=models):
        known = ", ".join(models.list_models(module=models))
        raise UsageError(f"torchvision has no classification network {name!r}; it has {known}.")
    options: dict[str, Any] = {"num_classes": num_classes, **_TORCHVISION_OPTIONS.get(name, {})}
    model: nn.Module = models.get_model(name, weights=None, **options)
    return model


def _import_torchvision() -> ModuleType:
    try:
        import torchvision
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise MissingDependency(
                f"A torchvision that can be imported ({error})", "train"
            ) from error
        raise MissingDependency("torchvision", "train") from error
    except Exception as error:  # one built for another torch fails in many ways
        import torch

        part = f"A torchvision that fits torch {torch.__version__} ({error})"
        raise MissingDependency(part, "train") from error
    module: ModuleType = torchvision
    return module
