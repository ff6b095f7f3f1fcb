"""The folder of a run of `dl2 train`: where it is, whether it is free, and how to go on with it."""

from __future__ import annotations

import glob
import os
import re
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli.cli.train_options import Basics, TrainOptions
from dl2cli.errors import UsageError

if TYPE_CHECKING:
    from dl2cli.training.config import TrainConfig
    from dl2cli.training.data_source import DataChoice
    from dl2cli.training.fidelity.autotune import AutotuneConfig
    from dl2cli.training.fidelity.scan_schedule import ScanSchedule

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
    fidelity: ScanSchedule | AutotuneConfig | None,
) -> Path:
    """Return the run's folder: that of --resume, else the run's name in the workspace.

    Validation alone is a run of its own: it adds nothing to the log of the one that it validates.

    Raises:
        UsageError: the name leaves the workspace.
    """
    if options.name is None and options.resume and not options.skip_training:
        return _of_checkpoint(Path(options.resume))
    name = options.name or _new_name(choice, basics, fidelity)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise UsageError(f"--name: {name!r} is no name; --workspace says where runs lie.")
    return workspace(options) / name


def _of_checkpoint(path: Path) -> Path:
    return path if path.is_dir() else path.parent


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
    names = [options.checkpoint_filename]
    if options.stage:
        from dl2cli.training.regimen import STAGE_CHECKPOINT

        names = [STAGE_CHECKPOINT.format(number) for number in range(len(options.stage))]
    found = [path / name for name in names if (path / name).is_file()]
    if found:
        return found[-1]
    others = ", ".join(sorted(each.name for each in path.glob("*.pth.tar")))
    raise UsageError(
        f"{path} holds no {names[0]}"
        + (f"; it holds {others}: name one of them." if others else ": nothing was saved yet.")
        + " --overwrite begins the run anew."
    )


def workspace(options: TrainOptions) -> Path:
    """Return the folder that holds the runs' folders."""
    if options.workspace is not None:
        return options.workspace
    home = os.environ.get("DL2_HOME")
    return Path(home) / "logs" if home else Path("logs")


def _new_name(
    choice: DataChoice, basics: Basics, fidelity: ScanSchedule | AutotuneConfig | None
) -> str:
    parts = [
        basics.arch,
        "sample" if choice.sample else choice.root.resolve().name,
        choice.loader,
        *([f"{fidelity.label()}scans"] if fidelity else []),
        time.strftime("%Y%m%d-%H%M%S", time.localtime(_run_start())),
    ]
    return re.sub(r"[^\w.@,+-]+", "-", "-".join(parts))


def _run_start() -> float:
    """Return a time that all ranks agree on: when torchrun, the parent of all, was started.

    Raises:
        UsageError: the ranks are on several machines, so that nothing is known to all.
    """
    world, local = (os.environ.get(name, "1") for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if world == "1":
        return time.time()
    if world != local:
        raise UsageError("On several machines, --name must say what the run is called.")
    import psutil

    return float(psutil.Process(os.getppid()).create_time())


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
            f"{config.folder} holds a run already. Go on with it: --resume {folder}; replace it: "
            "--overwrite; or give this one another --name."
        )
    patterns = (*_FILES, glob.escape(config.checkpoint.filename))
    return earlier + [path for pattern in patterns for path in config.folder.glob(pattern)]


def _logs(config: TrainConfig) -> Iterator[Path]:
    """Yield the logs of an earlier run: the one, or one a stage, and any that made way for it."""
    name = Path(config.report_file)
    stem, suffix = glob.escape(name.stem), glob.escape(name.suffix)
    for pattern in (stem, f"{stem}_stage_*", f"{stem}_old_[0-9]*"):
        yield from config.folder.glob(pattern + suffix)


def resume_command(arguments: Sequence[str], checkpoint: Path) -> str:
    """Return the command line of this process, so that it goes on from a checkpoint."""
    kept: list[str] = []
    is_value = False
    for argument in arguments:
        if not is_value and argument != "--overwrite" and not argument.startswith("--resume"):
            kept.append(argument)
        is_value = argument == "--resume"
    ranks = os.environ.get("LOCAL_WORLD_SIZE")
    program = f"torchrun --nproc-per-node {ranks} -m dl2cli" if ranks else "dl2"
    return f"{program} {shlex.join([*kept, '--resume', str(checkpoint)])}"
