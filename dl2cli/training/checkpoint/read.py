"""Reading checkpoints: what write.py wrote, checked to the last entry before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from dl2cli.errors import DataError
from dl2cli.training.checkpoint.schema import misfit
from dl2cli.training.checkpoint.torch_file import outline_torch_file, read_torch_file
from dl2cli.training.checkpoint.write import FORMAT, VERSION

FILE: Final = "checkpoint.pth.tar"


def load_checkpoint(path: Path, *, trusted: bool = False) -> dict[str, Any]:
    """Read a checkpoint, to the CPU; nothing in it is executed.

    Args:
        path: the file, or the folder of a run, whose `checkpoint.pth.tar` is read then.
        trusted: read it even with a torch before 2.6 (see torch_file.py).

    Raises:
        UsageError: there is no such file, or it is not trusted and this torch is too old.
        DataError: it is not a checkpoint of dl2, or it is damaged.
        StorageError: the system cannot read it.
    """
    path = path / FILE if path.is_dir() else path
    return _checked(path, read_torch_file(path, "checkpoint", trusted=trusted))


def saved_options(path: Path) -> dict[str, Any]:
    """Return the options of the command that wrote a checkpoint; its tensors are not read.

    Older checkpoints have none. Raises as `load_checkpoint`.
    """
    path = path / FILE if path.is_dir() else path
    state = outline_torch_file(path, "checkpoint")
    _check_format(path, state)
    options = state.get("options", {})
    problem = misfit(options, {str: (str, bool, [str])}, "options")
    if problem:
        raise DataError(f"{path} is damaged: {problem}.")
    return dict(options)


def _check_format(path: Path, state: object) -> None:
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise DataError(
            f"{path} is not a checkpoint of dl2 train. To begin with its weights, use "
            "--pretrained-weights."
        )
    if state.get("version") != VERSION:
        version = repr(state.get("version"))[:40]
        raise DataError(f"{path} has version {version}, this dl2 reads {VERSION}.")


def _checked(path: Path, state: Any) -> dict[str, Any]:  # noqa: ANN401
    from dl2cli.training.checkpoint.schema import checkpoint_schema

    _check_format(path, state)
    problem = misfit(state, checkpoint_schema(), "")
    if problem:
        raise DataError(f"{path} is damaged: {problem}.")
    return dict(state)
