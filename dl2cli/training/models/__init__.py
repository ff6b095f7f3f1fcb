"""The networks, with the parameter names of torchvision's checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli.errors import UsageError
from dl2cli.text import suggestion

if TYPE_CHECKING:
    from torch import nn

ARCHITECTURES: Final = (
    "alexnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext101_32x4d",
    "se_resnext101_32x4d",
    "shufflenet_v2_x1_0",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "small_cnn",
)
TORCHVISION: Final = "torchvision:"
INITIALISATIONS: Final = ("classic", "fanin", "grp-fanin", "grp-fanout")
# The pooling layers of these two have no padding; all others make do with a pixel.
SMALLEST_IMAGE_PX: Final = {"alexnet": 63, "small_cnn": 15}


@dataclass(frozen=True)
class ModelConfig:
    """Which network.

    Attributes:
        arch: a name in `ARCHITECTURES`, with `-` or `_`, or `torchvision:NAME`.
        num_classes: number of outputs of its last layer.
        pretrained_weights: a file of weights to begin with (see `weights.load_weights`).
        freeze_inner_layers: train only the last layer.
        model_config: how convolutions are initialised, by NVIDIA's published names. "classic" is
            each network's own way: He's normal distribution by fan-out in ResNets and MobileNets,
            PyTorch's default in AlexNet and ShuffleNet. "fanin" is He's by fan-in in all, and what
            small_cnn always has. The published "grp-fanout" and "grp-fanin" are the same as these.
            None of them sets the last batch norm of residual blocks to zero.
        trust_weights: read the file of weights even with a torch before 2.6, which a hostile file
            could make execute code (CVE-2025-32434).
    """

    arch: str = "resnet50"
    num_classes: int = 1000
    pretrained_weights: Path | None = None
    freeze_inner_layers: bool = False
    model_config: str = "classic"
    trust_weights: bool = False


def canonical_arch(name: str) -> str:
    """Return the name in `ARCHITECTURES`, or `torchvision:NAME`, that is meant.

    Raises UsageError: there is no such network.
    """
    if name.startswith(TORCHVISION):
        return name
    canonical = name.strip().lower().replace("-", "_")
    if canonical not in ARCHITECTURES:
        raise UsageError(
            f"There is no network {name!r}; there are {', '.join(ARCHITECTURES)}, and "
            f"{TORCHVISION}NAME where torchvision is installed."
            f"{suggestion(canonical, ARCHITECTURES)}"
        )
    return canonical


def check_image_size(arch: str, image_px: int) -> None:
    """Raise UsageError for images that are too small for a network of `ARCHITECTURES`."""
    smallest = SMALLEST_IMAGE_PX.get(canonical_arch(arch), 1)
    if image_px < smallest:
        raise UsageError(f"{arch} needs images of {smallest} pixels or more, not {image_px}.")


def create_model(
    config: ModelConfig, tell: Callable[[str], None] = lambda sentence: None
) -> nn.Module:
    """Make a network on the CPU, with its first weights from torch's default generator.

    Args:
        config: which network.
        tell: is told, in a sentence, what was taken from a file of weights.

    Raises:
        UsageError: there is no such network, initialisation or file.
        DataError: the file holds no weights of this network.
        StorageError: the file cannot be read.
        MissingDependency: torch, torchvision or safetensors is needed and not usable.
    """
    arch = canonical_arch(config.arch)
    if config.num_classes < 1:
        raise UsageError(f"num_classes must be at least 1, not {config.num_classes}.")
    if config.model_config not in INITIALISATIONS:
        raise UsageError(
            f"There is no model_config {config.model_config!r}; there are "
            f"{', '.join(INITIALISATIONS)}."
        )
    from dl2cli.training.models import registry, weights

    model = registry.build(arch, config.num_classes, config.model_config)
    if config.pretrained_weights is not None:
        path, trusted = config.pretrained_weights, config.trust_weights
        tell(str(weights.load_weights(model, path, trusted=trusted)))
    if config.freeze_inner_layers:
        registry.freeze_inner_layers(model)
    return model


def set_training_mode(model: nn.Module) -> None:
    """Do what model.train() does, but leave frozen batch norms alone: use it in its place.

    Statistics of a batch norm whose parameters are frozen would otherwise follow the new data,
    and the frozen layers would not compute what they did when their weights were made.
    """
    from torch import nn

    norms = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    model.train()
    for module in model.modules():
        if isinstance(module, norms) and module.affine and not module.weight.requires_grad:
            module.eval()
