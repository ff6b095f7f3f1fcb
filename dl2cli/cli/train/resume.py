"""Continuing a run of `dl2 train`: find its checkpoint and options, and print the command for it.

Each checkpoint keeps the options of its command, so that `--resume RUN` alone goes on with them;
what is given beside it has precedence.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dl2cli.cli.train.options import Basics, TrainOptions
from dl2cli.errors import UsageError
from dl2cli.stores.path import dataset_path
from dl2cli.training.launch import Launch

if TYPE_CHECKING:
    from dl2cli.training.data_source import DataChoice

AUTO: Final = "auto"
# These say what one process does; the next may do something else.
_OF_ONE_PROCESS: Final = {
    "resume", "overwrite", "name", "workspace", "run_epochs", "time_budget", "json",
    "skip_training", "profile_n", "trust_checkpoint",
}  # fmt: skip
_PATHS: Final = ("data", "val_data", "pretrained_weights")
# Giving one of a set replaces whichever the run had.
_EITHER: Final = (
    ("scans", "scan_schedule", "autotune_scans", "curriculum"),
    ("size_schedule", "curriculum"),
    ("size_schedule", "autotune_scans"),
    ("data", "stage"),
)


def options_to_keep(options: TrainOptions, choice: DataChoice, basics: Basics) -> dict[str, Any]:
    """Return what a resume needs to know of a command: its options, as the command line has them.

    The basics and the loader are kept as they apply, because their defaults depend on what the
    machine has; paths are kept absolute.
    """
    kept: dict[str, Any] = {
        name: value for name, value in options.given.items() if name not in _OF_ONE_PROCESS
    }
    kept |= {name: str(value) for name, value in asdict(basics).items()}
    kept["loader"] = choice.loader
    if options.stage:
        kept["stage"] = [_absolute_stage(text) for text in options.stage]
    elif not choice.sample:
        kept["data"] = str(choice.root)
    if Path(str(kept.get("curriculum"))).is_file():  # a name needs no path
        kept["curriculum"] = str(Path(kept["curriculum"]).absolute())
    paths = [name for name in _PATHS if name in kept]
    return kept | {name: str(dataset_path(kept[name]).absolute()) for name in paths}


def _absolute_stage(text: str) -> str:
    path, _, epoch = text.rpartition("@")
    return f"{dataset_path(path).absolute()}@{epoch}"


def with_saved_options(options: TrainOptions) -> tuple[TrainOptions, str | None]:
    """Return the options with those of the resumed run, and a sentence that lists the latter.

    Raises:
        UsageError: there is no such checkpoint.
        DataError: it cannot be read.
    """
    if options.resume == AUTO:
        options = _choose_automatically(options)
    checkpoint = find_checkpoint(options)
    if checkpoint is None:
        return options, None
    from dl2cli.training.checkpoint.read import saved_options

    saved = {
        name: value
        for name, value in saved_options(checkpoint).items()
        if name not in options.given and name not in _OF_ONE_PROCESS
    }
    known = {parameter.attribute for parameter in options.parameters()}
    for names in _EITHER:
        if any(name in options.given for name in names):
            known -= set(names)
    saved = {name: value for name, value in saved.items() if name in known}
    if not saved:
        return options, None
    shown = " ".join(_words(name, value) for name, value in saved.items())
    merged = TrainOptions(**{**saved, **options.given})
    return merged, f"Options taken from the run: {shown}."


def _choose_automatically(options: TrainOptions) -> TrainOptions:
    """Turn `--resume auto` into the folder of the run, or into a run that begins."""
    if options.name is None:
        raise UsageError("--resume auto needs --name, which says whose checkpoint is looked for.")
    folder = workspace(options.workspace) / options.name
    if last_checkpoint(folder, options.checkpoint_filename) is None:
        # What has saved nothing is begun anew.
        return TrainOptions(**{**options.given, "resume": None, "overwrite": True})
    return TrainOptions(**{**options.given, "resume": str(folder)})


def workspace(given: Path | None) -> Path:
    """Return the folder that holds the runs' folders."""
    if given is not None:
        return given
    home = os.environ.get("DL2_HOME")
    return Path(home) / "logs" if home else Path("logs")


def _words(name: str, value: str | bool | list[str]) -> str:
    option = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return option if value else f"--no-{option[2:]}"
    values = value if isinstance(value, list) else [value]
    return " ".join(f"{option} {shlex.quote(each)}" for each in values)


def find_checkpoint(options: TrainOptions) -> Path | None:
    """Return the checkpoint that --resume means: a file, or the last one in a run's folder.

    Raises:
        UsageError: there is none.
    """
    if not options.resume:
        return None
    path = Path(options.resume)
    if not path.exists():
        raise UsageError(f"There is no checkpoint {path}.")
    if not path.is_dir():
        return path
    found = last_checkpoint(path, options.checkpoint_filename)
    if found is not None:
        return found
    others = ", ".join(sorted(each.name for each in path.glob("*.pth.tar")))
    raise UsageError(
        f"{path} holds no {options.checkpoint_filename}"
        + (f"; it holds {others}: name one of them." if others else ": nothing was saved yet.")
        + " --overwrite starts the run again."
    )


def last_checkpoint(folder: Path, filename: str) -> Path | None:
    """Return the last checkpoint of a run, or of the last stage of a regimen; None without one."""
    from dl2cli.training.regimen import STAGE_CHECKPOINT

    if (folder / filename).is_file():
        return folder / filename
    stages = []
    number = 0
    while (folder / STAGE_CHECKPOINT.format(number)).is_file():
        stages.append(folder / STAGE_CHECKPOINT.format(number))
        number += 1
    return stages[-1] if stages else None


def resume_command(options: TrainOptions, launch: Launch, checkpoint: Path) -> str:
    """Return the command that goes on from a checkpoint; its options are in there."""
    words = ["train", "--resume", str(checkpoint)]
    if options.time_budget:
        words += ["--time-budget", options.time_budget]
    if options.trust_checkpoint or _needs_trust():
        words.append("--trust-checkpoint")
    if launch.world_size == 1:
        return f"dl2 {shlex.join(words)}"
    ranks = launch.local_world_size
    return f"torchrun --nproc-per-node {ranks} -m dl2cli {shlex.join(words)}"


def _needs_trust() -> bool:
    from dl2cli.training.checkpoint.torch_file import is_safe_torch

    return not is_safe_torch()


def resume_after_restart(options: TrainOptions, launch: Launch, folder: Path) -> Path | None:
    """Return the checkpoint from which ranks go on that torchrun has restarted, if there is one."""
    found = last_checkpoint(folder, options.checkpoint_filename)
    return found if found is not None and is_of_this_torchrun(launch, found) else None


def is_of_this_torchrun(launch: Launch, file: Path) -> bool:
    """Tell whether an earlier attempt of a torchrun that restarts its ranks has written a file.

    Files of an earlier run do not count: the first attempt may not have been allowed to replace it.
    """
    if not launch.restarts or not file.is_file():
        return False
    return file.stat().st_mtime >= torchrun_start()


def torchrun_start() -> float:
    """Return when torchrun began, the parent of all ranks of this machine: Unix seconds."""
    import psutil

    return float(psutil.Process(os.getppid()).create_time())
