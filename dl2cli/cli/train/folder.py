"""The folder of a run of `dl2 train`: where it is, whether it is free, and how to go on with it."""

from __future__ import annotations

import glob
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli.cli.train.options import Basics, TrainOptions
from dl2cli.cli.train.resume import torchrun_start, workspace
from dl2cli.errors import StorageError, UsageError
from dl2cli.training.launch import Launch

if TYPE_CHECKING:
    from dl2cli.training.config import TrainConfig
    from dl2cli.training.data_source import DataChoice
    from dl2cli.training.fidelity.autotune import AutotuneConfig
    from dl2cli.training.fidelity.curriculum import Curriculum

_TIME: Final = "%Y%m%d-%H%M%S"
# What a run leaves beside its log: no more than this is ever removed. (TensorBoard would draw the
# events of an earlier run into the curves of the next.)
_FILES: Final = (
    "train_data_*.csv", "model_best.*", "model_last.*", "regimen_log.json",
    "checkpoint_[0-9]*.pth.tar", "checkpoint_epoch_*.pth.tar",
    "profile_trace.json", "tensorboard/events.out.tfevents.*",
)  # fmt: skip


def choose(
    options: TrainOptions,
    choice: DataChoice,
    basics: Basics,
    fidelity: Curriculum | AutotuneConfig | None,
    launch: Launch,
) -> Path:
    """Return the run's folder: that of --resume, else the run's name in the workspace.

    Validation alone is a run of its own: it adds nothing to the log of the one that it validates.

    Raises:
        UsageError: the name leaves the workspace.
    """
    if options.name is None and options.resume and not options.skip_training:
        return _of_checkpoint(Path(options.resume))
    name = options.name or _new_name(choice, basics, fidelity, launch)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UsageError(
            f"--name must be a name within the workspace, not {name!r}; --workspace says where "
            "runs are kept."
        )
    return workspace(options.workspace) / name


def _of_checkpoint(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _new_name(
    choice: DataChoice,
    basics: Basics,
    fidelity: Curriculum | AutotuneConfig | None,
    launch: Launch,
) -> str:
    parts = [
        basics.arch,
        "sample" if choice.sample else choice.root.resolve().name,
        choice.loader,
        *([_of_fidelity(fidelity)] if fidelity else []),
        _moment(launch),
    ]
    return re.sub(r"[^\w.@,+-]+", "-", "-".join(parts))


def _of_fidelity(fidelity: Curriculum | AutotuneConfig) -> str:
    label = fidelity.label()
    return f"{label}scans" if label[0].isdigit() and not label.endswith("px") else label


def _moment(launch: Launch) -> str:
    """Return a time, and what all ranks agree on: when torchrun was started, and as which process.

    Raises:
        UsageError: the ranks are on several machines, so that nothing is known to all.
    """
    if launch.world_size == 1 and not launch.by_torchrun:
        return time.strftime(_TIME)
    if launch.world_size > launch.local_world_size:
        raise UsageError("On several machines, --name must say what the run is called.")
    begun = time.strftime(_TIME, time.localtime(torchrun_start()))
    return f"{begun}-{os.getppid()}"


def make_new(folder: Path) -> Path:
    """Make the folder of a run that has no name of its own, or one beside it if it is taken.

    Raises StorageError.
    """
    free, number = folder, 1
    while True:
        try:
            free.mkdir(parents=True)
        except FileExistsError:
            number += 1
            free = folder.with_name(f"{folder.name}-{number}")
        except OSError as error:
            raise StorageError(f"{free} cannot be made: {error.strerror}.") from error
        else:
            return free


def check_free(config: TrainConfig, *, overwrite: bool) -> list[Path]:
    """Return the files of an earlier run in the folder, which may be there only if asked for.

    Raises:
        UsageError: there is one; the sentence names the ways out.
    """
    resume = config.checkpoint.resume
    goes_on = resume is not None and _of_checkpoint(resume).resolve() == config.folder.resolve()
    earlier = list(_logs(config))
    if goes_on and config.skip_training:
        raise UsageError(
            f"{config.folder} holds the run that --skip-training validates: give this one another "
            "--name."
        )
    if goes_on or not earlier:
        return []
    if not overwrite:
        folder = shlex.quote(str(config.folder))
        raise UsageError(
            f"{config.folder} already holds a run. Continue it with --resume {folder}, replace it "
            "with --overwrite, or give this run another --name."
        )
    patterns = (*_FILES, glob.escape(config.checkpoint.filename))
    return earlier + [path for pattern in patterns for path in config.folder.glob(pattern)]


def _logs(config: TrainConfig) -> Iterator[Path]:
    """Yield the logs of an earlier run: the one, or one a stage, and any that made way for it."""
    name = Path(config.report_file)
    stem, suffix = glob.escape(name.stem), glob.escape(name.suffix)
    for pattern in (stem, f"{stem}_stage_*", f"{stem}_old_[0-9]*"):
        yield from config.folder.glob(pattern + suffix)
