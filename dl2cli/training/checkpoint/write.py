"""Writing checkpoints and weights: whole, durable and in place of the older ones, or not at all.

A checkpoint is what `torch.save` makes of a dict of tensors, numbers and text::

    format, version       "dl2-checkpoint", 1
    arch, classes         the model's name; class names by label
    model                 state dict, with torchvision's parameter names
    optimizer, precision  their state dicts
    epoch, iteration      where to go on: iterations done of the epoch (0-based)
    loader                state of the training loader
    fidelity              state of the tuner and what it last decided
    recorders             by rank: the account of the epoch that was left in the middle
    best_top1, best_epoch of validation
    epochs_done           whole epochs
    seed, world_size      of the run
    observers             by rank: what run log and others need to go on
    parameters            of the run (its P record); those of older checkpoints have none
    options               what the command line gave, for a resume that names none of it
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dl2cli.durability import replace_durably
from dl2cli.errors import MissingDependency, StorageError

if TYPE_CHECKING:
    import torch

FORMAT: Final = "dl2-checkpoint"
VERSION: Final = 1
_PREFIX: Final = ".writing-"
# What killed writers leave: ours, those of earlier versions, and those of safetensors.
_LEFTOVERS: Final = (f"{_PREFIX}*", ".*.pth.tar.[0-9]*", ".model_*.[0-9]*", ".tmp??????")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, durably, in place of an older one. Raises StorageError."""
    import torch

    document = {"format": FORMAT, "version": VERSION, **state}

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:  # of a name alone, torch would not tell what went wrong
            torch.save(document, file)

    _write(path, write)


def save_weights(path: Path, model: torch.nn.Module) -> None:
    """Write a model's weights as safetensors, durably. Raises StorageError, MissingDependency."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import save_model
    except ImportError:
        raise MissingDependency("safetensors", "train") from None

    def write(temporary: Path) -> None:
        try:
            save_model(model, str(temporary))
        except SafetensorError as error:
            raise OSError(0, str(error)) from error

    _write(path, write)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON types: others are not loaded, nor stored by trackers."""
    converted: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return converted


def remove_leftovers(folder: Path) -> None:
    """Remove what writers left that were killed; nobody else may be writing there.

    Raises StorageError.
    """
    for path in (path for pattern in _LEFTOVERS for path in folder.glob(pattern)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path} cannot be removed: {error.strerror}.") from error


def _write(path: Path, write: Callable[[Path], None]) -> None:
    temporary = path.with_name(f"{_PREFIX}{path.name}")
    try:
        # What is written anew under a name has the mode of any new file; safetensors would make its
        # own readable to nobody else.
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        write(temporary)
        temporary.chmod(mode)
        replace_durably(temporary, path)
    except (OSError, RuntimeError) as error:
        # torch.save raises a RuntimeError of its own behind what the system refused.
        system = error if isinstance(error, OSError) else error.__context__
        reason = getattr(system, "strerror", None) or str(error).split("\n", maxsplit=1)[0]
        raise StorageError(f"{path} cannot be written: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
