"""`dl2 train`: train a model, and know what every step waited for."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dl2cli.cli import train_folder
from dl2cli.cli import train_settings as settings
from dl2cli.cli.command import Command
from dl2cli.cli.output import Output
from dl2cli.cli.shared import TRAIN, image_progress
from dl2cli.cli.train_options import Basics, TrainOptions
from dl2cli.cores import usable_cores
from dl2cli.errors import Dl2Error, MissingDependency, UsageError

if TYPE_CHECKING:
    from dl2cli.training.config import TrainConfig
    from dl2cli.training.data_source import DataChoice
    from dl2cli.training.log.events import Observer, TrainResult
    from dl2cli.training.regimen import Stage

_TEXT = """
Without --data, $DL2_HOME/data or ./data is used where it exists, else the built-in sample set. The
run's folder gets its log in the format of the (DL)2 program (experiment_report.json), a
train_data_RANK.csv for each rank, and checkpoints. Ctrl-C or SIGTERM ends the step, saves a
checkpoint, and says how to continue.

Start it with torchrun on several GPUs or machines: torchrun --nproc-per-node 4 -m dl2cli train ...

Exit codes: 0 done, 2 usage, 3 bad data, 4 a missing part, 130 and 143 stopped by a signal.
"""

_HEARD = (
    "Ctrl-C was heard. The step that is running ends first, then the state is saved; press it "
    "again to end at once."
)
_OTHER_RANKS_WAIT_S = 5.0


def train(options: TrainOptions) -> None:
    """Find the data, train, and show the result."""
    # Threads of torch that wait would spin, on cores that the loader needs: 5 times slower where
    # two cores are busy. This must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    output = Output(json_mode=options.json, heard=_HEARD)
    with _told_once(Dl2Error):
        config, stages = _prepare(options, output)
    if stages:
        _train_stages(options, config, stages, output)
        return
    from dl2cli.cli.train_view import result_tables
    from dl2cli.training.trainer import train as run

    with _told_once(UsageError, MissingDependency):
        result = run(config, _observers(options, config.folder, output))
    if _is_first():
        output.result(result, *result_tables(result))
    _end(result, output)


def _train_stages(
    options: TrainOptions, config: TrainConfig, stages: list[Stage], output: Output
) -> None:
    from dl2cli.cli.train_view import result_tables
    from dl2cli.training.regimen import train_regimen

    with _told_once(UsageError, MissingDependency):
        result = train_regimen(config, stages, lambda _: _observers(options, config.folder, output))
    if _is_first():
        output.result(result, *(table for each in result.stages for table in result_tables(each)))
        _say(output, f"The wall time of each stage: {result.log}")
    if result.stages:
        _end(result.stages[-1], output)


def _prepare(options: TrainOptions, output: Output) -> tuple[TrainConfig, list[Stage]]:
    """Decide everything, say what was decided for the user, and refuse what cannot be."""
    from dl2cli.loaders.base import require_torch
    from dl2cli.training.models import canonical_arch

    choices = _find(options, output)
    choice = next(iter(choices))
    basics, sentence = settings.choose_basics(options, sample=choice.sample)
    basics = replace(basics, arch=canonical_arch(basics.arch))
    fidelity = settings.fidelity(options, choice.loader)
    folder = train_folder.choose(options, choice, basics, fidelity)
    resume = train_folder.find_checkpoint(options)
    config = settings.train_config(options, choice, basics, fidelity, folder, resume)
    stages = _stages(options, choices)
    if _is_first():
        earlier = train_folder.check_free(config, overwrite=options.overwrite)
        config = replace(config, replaces=tuple(earlier))
        for text in (*(each.why for each in choices), sentence):
            _say(output, text)
    torch = require_torch()  # late: all that can be refused without it is refused at once
    if _is_first():
        on_cpu = config.device == "cpu" or not torch.cuda.is_available()
        if config.precision.amp and on_cpu:
            _say(output, "--amp makes a CPU slower, float16 by far: it is meant for GPUs.")
        if on_cpu and choice.classes:
            _say(output, _cpu_warning(choice, basics))
    return config, stages


def _cpu_warning(choice: DataChoice, basics: Basics) -> str | None:
    from dl2cli.cli.train_time import cpu_warning
    from dl2cli.loaders.contents import count_images

    images = count_images(choice.train)
    return cpu_warning(basics.arch, basics.image_size, images, basics.epochs, usable_cores())


def _find(options: TrainOptions, output: Output) -> list[DataChoice]:
    """Find the data: one choice, or one for each stage."""
    from dl2cli.training.data_source import find_data

    stages = settings.stages(options)
    if stages and options.data is not None:
        raise UsageError("--stage names the data of each stage; leave out --data.")
    with image_progress(output, "Making the sample set") as tell:
        return [
            find_data(
                data,
                options.loader,
                val_data=options.val_data,
                synthetic_images=settings.positive(
                    options.synth_train_samples, "--synth-train-samples"
                ),
                on_image=tell if _is_first() else None,
            )
            for data in ([path for path, _ in stages] if stages else [options.data])
        ]


def _stages(options: TrainOptions, choices: list[DataChoice]) -> list[Stage]:
    if not options.stage:
        return []
    from dl2cli.training.regimen import Stage

    if len({choice.loader for choice in choices}) > 1:
        raise UsageError("The stages have datasets of different kinds; --loader reads one kind.")
    skip = options.skip_validation
    return [
        Stage(epoch, choice.train, None if skip else choice.val)
        for (_, epoch), choice in zip(settings.stages(options), choices, strict=True)
    ]


def _observers(options: TrainOptions, folder: Path, output: Output) -> list[Observer]:
    if not _is_first():
        return []
    from dl2cli.cli.train_view import TrainView

    view = TrainView(output.err)
    if not options.track:
        return [view]
    from dl2cli.training.log.sinks import create_sinks

    return [view, *create_sinks(options.track, folder)]


def _say(output: Output, text: str | None) -> None:
    """Print a sentence for the user, broken between words where there is a terminal."""
    if text:
        terminal = output.err.is_terminal
        output.err.print(text, soft_wrap=not terminal)


def _is_first() -> bool:
    """Tell whether this is rank 0, the only one that prints and writes the run log."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _told_once(*kinds: type[Dl2Error]) -> Iterator[None]:
    """Let rank 0 tell an error of such a kind, which all ranks meet alike.

    The others wait for torchrun to end them, which it does when rank 0 has left; one that is still
    there afterwards has met an error of its own, and tells it.
    """
    try:
        yield
    except kinds:
        if not _is_first():
            time.sleep(_OTHER_RANKS_WAIT_S)
        raise


def _end(result: TrainResult, output: Output) -> None:
    """Say how to go on with a run that was stopped, and end with its signal's exit code."""
    stopped_by = result.stopped_by
    if stopped_by is None:
        return
    if _is_first():
        if result.checkpoint is None:
            output.message(f"Stopped by {stopped_by}, before there was anything to save.")
        else:
            output.message(f"Stopped by {stopped_by}. To go on:")
            output.message(train_folder.resume_command(sys.argv[1:], result.checkpoint))
    if stopped_by.startswith("SIG"):
        raise typer.Exit(128 + signal.Signals[stopped_by])


COMMAND = Command(
    name="train",
    options=TrainOptions,
    run=train,
    about="Train a model, and know what every step waited for.",
    text=_TEXT,
    examples=("--data out/ --loader pcr --scans 5",),
    group=TRAIN,
)
