"""`dl2 train`: train a model, and know what every step waited for."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import TRAIN, image_progress
from dl2cli.cli.train import folder as train_folder
from dl2cli.cli.train import resume as train_resume
from dl2cli.cli.train import settings
from dl2cli.cli.train.options import Basics, TrainOptions
from dl2cli.cores import usable_cores
from dl2cli.errors import Dl2Error, MissingDependency, UsageError
from dl2cli.training.launch import Launch, read_launch

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

_OTHER_RANKS_WAIT_S = 5.0
_HEARD = (
    "Ctrl-C was heard. The step that is running ends first, then the state is saved; press it "
    "again to end at once."
)


def train(options: TrainOptions) -> None:
    """Find the data, train, and show the result."""
    # Threads of torch that wait would spin, on cores that the loader needs: 5 times slower where
    # two cores are busy. This must be said before torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    launch = read_launch()
    output = Output(json_mode=options.json, heard=_HEARD)
    with _told_once(launch, Dl2Error):
        options, config, stages = _prepare(options, launch, output)
    from dl2cli.training.distributed import StoppedEarly

    try:
        with _told_once(launch, UsageError, MissingDependency):
            results = _run(options, launch, config, stages, output)
    except StoppedEarly as error:
        output.message(str(error))
        raise typer.Exit(128 + signal.Signals[error.signal]) from None
    finally:
        with contextlib.suppress(OSError):  # what nothing was written to is no run
            config.folder.rmdir()
    if results:
        _end(options, launch, results[-1], output)


def _run(
    options: TrainOptions, launch: Launch, config: TrainConfig, stages: list[Stage], output: Output
) -> tuple[TrainResult, ...]:
    """Train, and show the result: one, or one for each stage."""
    from dl2cli.cli.train.view import result_tables

    def observers(stage: int = 0) -> list[Observer]:
        return _observers(options, config.folder, output) if launch.is_first else []

    if not stages:
        from dl2cli.training.trainer import train as train_once

        result = train_once(config, observers())
        if launch.is_first:
            output.result(
                result, *result_tables(result), provenance=lambda: _provenance(config, [])
            )
        return (result,)
    from dl2cli.training.regimen import train_regimen

    regimen = train_regimen(config, stages, observers)
    if launch.is_first:
        output.result(
            regimen,
            *(each for one in regimen.stages for each in result_tables(one)),
            provenance=lambda: _provenance(config, stages),
        )
        _say(output, f"The wall time of each stage: {regimen.log}")
    return regimen.stages


def _provenance(config: TrainConfig, stages: list[Stage]) -> dict[str, object]:
    from dl2cli.provenance import provenance

    data = config.data.root or config.data.train.data
    return provenance((config, stages), data=data if str(data) else None)


def _prepare(
    options: TrainOptions, launch: Launch, output: Output
) -> tuple[TrainOptions, TrainConfig, list[Stage]]:
    """Decide everything, say what was decided for the user, and refuse what cannot be."""
    from dl2cli.loaders.base import require_torch
    from dl2cli.training.models import canonical_arch

    options, from_run = train_resume.with_saved_options(options)
    choices = _find(options, launch, output)
    choice = next(iter(choices))
    basics, sentence = settings.choose_basics(options, sample=choice.sample)
    basics = replace(basics, arch=canonical_arch(basics.arch))
    fidelity = settings.fidelity(options, choice, basics)
    folder = train_folder.choose(options, choice, basics, fidelity, launch)
    resume = train_resume.find_checkpoint(options)
    restart = train_resume.resume_after_restart(options, launch, folder)
    config = settings.train_config(options, choice, basics, fidelity, folder, restart or resume)
    config = replace(config, options=train_resume.options_to_keep(options, choice, basics))
    stages = _stages(options, choices)
    goes_on = resume is not None and not options.skip_training
    alone = launch.world_size == 1 and not launch.by_torchrun
    is_named = options.name is not None or goes_on or not alone
    if launch.is_first:
        overwrite = options.overwrite or train_resume.is_of_this_torchrun(
            launch, folder / config.report_file
        )
        if is_named:
            earlier = train_folder.check_free(config, overwrite=overwrite)
            config = replace(config, replaces=tuple(earlier))
        for text in (from_run, *(each.why for each in choices), sentence):
            _say(output, text)
        if restart is not None:
            _say(output, f"torchrun has restarted the ranks: they go on from {restart}.")
    torch = require_torch()  # late: all that can be refused without it is refused at once
    if launch.is_first:
        on_cpu = config.device == "cpu" or not torch.cuda.is_available()
        if config.precision.amp and on_cpu:
            _say(output, "--amp makes a CPU slower, float16 by far: it is meant for GPUs.")
        if on_cpu and choice.classes:
            _say(output, _cpu_warning(choice, basics))
    if not is_named:
        config = replace(config, folder=train_folder.make_new(folder))
    return options, config, stages


def _cpu_warning(choice: DataChoice, basics: Basics) -> str | None:
    from dl2cli.cli.train.time import cpu_warning
    from dl2cli.loaders.contents import count_images

    images = count_images(choice.train)
    return cpu_warning(basics.arch, basics.image_size, images, basics.epochs, usable_cores())


def _find(options: TrainOptions, launch: Launch, output: Output) -> list[DataChoice]:
    """Find the data: one choice, or one for each stage."""
    from dl2cli.training.data_source import find_data

    stages = settings.stages(options)
    if stages and options.data is not None:
        raise UsageError("--stage names the data of each stage; leave out --data.")
    with image_progress(output, "Making the sample set", at_once=False) as tell:
        return [
            find_data(
                data,
                options.loader,
                val_data=options.val_data,
                synthetic_images=settings.positive(
                    options.synth_train_samples, "--synth-train-samples"
                ),
                on_image=tell if launch.is_first else None,
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
    from dl2cli.cli.train.view import TrainView, UnfailingView

    view = UnfailingView(TrainView(output.err, live=output.redraws))
    if not options.track:
        return [view]
    from dl2cli.training.log.sinks import create_sinks

    return [view, *create_sinks(options.track, folder)]


def _say(output: Output, text: str | None) -> None:
    """Print a sentence for the user, broken between words where there is a terminal."""
    if text:
        terminal = output.err.is_terminal
        output.err.print(text, soft_wrap=not terminal)


@contextmanager
def _told_once(launch: Launch, *kinds: type[Dl2Error]) -> Iterator[None]:
    """Let rank 0 tell an error of such a kind, which all ranks meet alike.

    The others wait for torchrun to end them, which it does when rank 0 has left; one that is still
    there afterwards has met an error of its own, and tells it.
    """
    try:
        yield
    except kinds:
        if not launch.is_first:
            time.sleep(_OTHER_RANKS_WAIT_S)
        raise


def _end(options: TrainOptions, launch: Launch, result: TrainResult, output: Output) -> None:
    """Say how to continue a run that was stopped, and end with its signal's exit code."""
    stopped_by = result.stopped_by
    if stopped_by is None:
        return
    if launch.is_first:
        if result.checkpoint is None:
            output.message(f"Stopped by {stopped_by}, before there was anything to save.")
        else:
            output.message(f"Stopped by {stopped_by}. To continue:")
            output.message(train_resume.resume_command(options, launch, result.checkpoint))
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
