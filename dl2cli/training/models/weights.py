"""Weights from files: PyTorch's own, ours, and safetensors. No file is ever executed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from dl2cli.errors import DataError, MissingDependency, StorageError, UsageError
from dl2cli.training.checkpoint.torch_file import read_torch_file
from dl2cli.training.models.registry import last_layer

# torch.compile and DistributedDataParallel put these before the names, in either order.
_WRAPPERS: Final = re.compile(r"^(?:module\.|_orig_mod\.)+")
# Where checkpoints keep the weights: NVIDIA's and many others; ours and torchvision's.
_CONTAINERS: Final = ("state_dict", "model")
_COUNTER: Final = "num_batches_tracked"  # batch norms count batches only since PyTorch 0.4.1


@dataclass(frozen=True)
class LoadedWeights:
    """What was loaded from a file.

    Attributes:
        path: the file.
        loaded: tensors taken from it.
        reinitialised: tensors of the last layer that keep their fresh values, because the file
            has another number of classes.
        file_classes: number of classes in the file; None if it equals the model's.
        missing: batch counters that the file lacks; they stay 0.
    """

    path: Path
    loaded: int
    reinitialised: tuple[str, ...] = ()
    file_classes: int | None = None
    missing: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a sentence for the user."""
        text = f"Took {self.loaded} tensors from {self.path}"
        if self.reinitialised:
            text += f"; its last layer has {self.file_classes} classes, so that one starts afresh"
        return text + "."


def load_weights(model: nn.Module, path: Path, *, trusted: bool = False) -> LoadedWeights:
    """Fill a model with the weights of a file.

    The file is a state dict of PyTorch (alone, or under "state_dict" or "model", as in checkpoints)
    or a .safetensors file. Tensors of other number types are converted. `trusted` reads a file of
    PyTorch with a torch before 2.6, too (see checkpoint/torch_file.py).

    Raises:
        UsageError: there is no such file.
        DataError: the file is damaged, holds anything but weights, or weights of another network.
        StorageError: the file cannot be read.
        MissingDependency: the file needs safetensors, which is not installed.
    """
    found = read_state_dict(path, trusted=trusted)
    own = model.state_dict()
    last, _ = last_layer(model)
    fresh, file_classes = _other_classes(own, found, last)
    missing = tuple(name for name in own if name.endswith(_COUNTER) and name not in found)
    wanted = {name: own[name] for name in own if name not in fresh and name not in missing}
    for name, tensor in wanted.items():
        _check(path, name, found.get(name), tensor)
    unexpected = next((name for name in found if name not in own), None)
    if unexpected is not None:
        raise DataError(_misfit(path, f"this network has no {unexpected}"))
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    return LoadedWeights(path, len(wanted), fresh, file_classes, missing)


def read_state_dict(path: Path, *, trusted: bool = False) -> dict[str, torch.Tensor]:
    """Read the weights in a file, on the CPU, without the prefixes of wrappers.

    Raises as `load_weights` does.
    """
    content: Any = (
        _read_safetensors(path)
        if path.suffix == ".safetensors"
        else read_torch_file(path, "file of weights", trusted=trusted)
    )
    if isinstance(content, Mapping):
        for key in _CONTAINERS:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
    if not isinstance(content, Mapping) or not content:
        raise DataError(f"{path} holds no weights.")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise DataError(f"{path} holds no weights: {str(name)[:80]!r} is not a tensor.")
    return {_WRAPPERS.sub("", name): tensor for name, tensor in content.items()}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingDependency("safetensors", "train") from error
    if not path.is_file():
        raise UsageError(f"There is no file of weights {path}.")
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except MemoryError as error:
        raise StorageError(f"There is not enough memory to read {path}.") from error
    except Exception as error:  # a damaged or hostile file fails in any way
        reason = str(error).split("\n", maxsplit=1)[0][:200].rstrip(".")
        raise DataError(f"{path} is not a readable safetensors file: {reason}.") from error
    return tensors


def _other_classes(
    own: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], last: str
) -> tuple[tuple[str, ...], int | None]:
    """Return the last layer's tensors, and the file's classes, if only the classes differ."""
    names = tuple(name for name in own if name.startswith(f"{last}."))
    if not all(name in found and found[name].dim() == own[name].dim() for name in names):
        return (), None
    if any(found[name].shape[1:] != own[name].shape[1:] for name in names):
        return (), None
    classes = {found[name].shape[0] for name in names}
    if len(classes) != 1 or classes == {own[names[0]].shape[0]}:
        return (), None
    return names, classes.pop()


def _check(path: Path, name: str, found: torch.Tensor | None, own: torch.Tensor) -> None:
    if found is None:
        raise DataError(_misfit(path, f"the file has no {name}"))
    if found.shape != own.shape:
        shapes = f"{tuple(found.shape)} in the file and {tuple(own.shape)} here"
        raise DataError(_misfit(path, f"{name} is {shapes}"))
    if found.is_floating_point() != own.is_floating_point() or found.layout != torch.strided:
        raise DataError(_misfit(path, f"{name} is of type {found.dtype} in the file"))


def _misfit(path: Path, reason: str) -> str:
    return f"The weights in {path} do not fit this network: {reason}."
