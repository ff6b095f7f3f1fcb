"""Checkpoints: written at once or not at all, and read without executing anything in them.

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
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dl2cli.errors import DataError, MissingDependency, StorageError, UsageError

if TYPE_CHECKING:
    import torch

FORMAT: Final = "dl2-checkpoint"
VERSION: Final = 1
_REQUIRED: Final = {
    "arch": str,
    "classes": list,
    "model": dict,
    "optimizer": dict,
    "precision": dict,
    "epoch": int,
    "iteration": int,
    "loader": dict,
    "fidelity": dict,
    "recorders": list,
    "seed": int,
    "world_size": int,
    "epochs_done": int,
    "observers": list,
}


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


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint, to the CPU; nothing in it is executed.

    Args:
        path: the file, or the folder of a run, whose `checkpoint.pth.tar` it is then.

    Raises:
        UsageError: there is no such file.
        DataError: it is no checkpoint of dl2, or damaged.
    """
    import torch

    if path.is_dir():
        path = path / "checkpoint.pth.tar"
    if not path.is_file():
        raise UsageError(f"There is no checkpoint {path}.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of files that others made; ours says what is wrong
            state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).split("\n", maxsplit=1)[0][:200]
        raise DataError(f"{path} is no checkpoint that can be read: {reason}") from error
    _check(path, state)
    return dict(state)


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON types: others are not loaded, nor stored by trackers."""
    converted: dict[str, Any] = json.loads(json.dumps(values, default=str))
    return converted


def _check(path: Path, state: object) -> None:
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(
            f"{path} is no checkpoint of dl2 train. To begin with its weights, use "
            "--pretrained-weights."
        )
    if state.get("version") != VERSION:
        raise DataError(f"{path} has version {state.get('version')!r}, this dl2 reads {VERSION}.")
    for name, kind in _REQUIRED.items():
        if not isinstance(state.get(name), kind):
            raise DataError(f"{path} is damaged: its entry {name!r} is no {kind.__name__}.")


def _write(path: Path, write: Callable[[Path], None]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:
        # torch.save raises a RuntimeError of its own behind what the system refused.
        system = error if isinstance(error, OSError) else error.__context__
        reason = getattr(system, "strerror", None) or str(error).split("\n", maxsplit=1)[0]
        raise StorageError(f"{path} cannot be written: {reason}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
