"""`dl2 train`: train a model, and know what every step waited for."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dl2cli.cli import train_settings as settings
from dl2cli.cli.options import help_text
from dl2cli.cli.output import Output
from dl2cli.cli.train_options import TrainOptions, command
from dl2cli.errors import Dl2Error, UsageError

if TYPE_CHECKING:
    from dl2cli.training.config import TrainConfig
    from dl2cli.training.events import TrainResult

_HELP = """\
Train a model, and know what every step waited for.

Without --data, it takes $DL2_HOME/data or ./data where that exists, else the built-in sample set.
The run's folder gets its log in the published format (experiment_report.json), each rank's
train_data_RANK.csv, and checkpoints. Ctrl-C and SIGTERM end the step, save, and say how to resume.
Exit codes: 0 done, 2 usage, 3 bad data, 4 a missing part, 130 and 143 stopped by a signal.

On several GPUs or machines, torchrun starts it: torchrun --nproc-per-node 4 -m dl2cli train ...

Example: [bold]dl2 train --loader pcr --scans 10[/bold]
"""

_OTHER_RANKS_WAIT_S = 5.0


def register(app: typer.Typer) -> None:
    """Add `dl2 train` to the program."""
    entry = command(train, settings.shown_defaults())
    app.command("train", help=help_text(_HELP))(entry)


def train(options: TrainOptions) -> None:
    """Find the data, train, and show the result (the help text is `_HELP`)."""
    output = Output(json_mode=options.json)
    with _told_once():
        config = _prepare(options, output)
        from dl2cli.training.trainer import train as run

    from dl2cli.cli.train_view import TrainView, result_tables

    observers = _observers(options, config, TrainView(output.err) if _is_first() else None)
    result = run(config, observers)
    if _is_first():
        output.result(result, *result_tables(result))
        if result.stopped_by is not None:
            output.message(_how_to_resume(result))
    _exit(result.stopped_by)


def _prepare(options: TrainOptions, output: Output) -> TrainConfig:
    """Decide everything, say what was decided for the user, and refuse what cannot be."""
    from dl2cli.cli.train_parameters import parameters
    from dl2cli.training.data_source import find_data

    choice = find_data(
        options.data,
        options.loader,
        val_data=options.val_data,
        synthetic_images=settings.positive(options.synth_train_samples),
    )
    basics, sentence = settings.choose_basics(options, sample=choice.sample)
    folder = settings.run_folder(options, choice, basics)
    config = settings.train_config(options, choice, basics, folder)
    if _is_first():
        _check_is_new(config, options)
        output.message(choice.why)
        if sentence:
            output.message(sentence)
    return replace(config, parameters=parameters(options, choice, basics, config))


def _check_is_new(config: TrainConfig, options: TrainOptions) -> None:
    """Refuse to write over an earlier run's log, unless asked."""
    log = config.folder / config.report_file
    if config.checkpoint.resume is not None or not log.exists():
        return
    if not options.overwrite:
        folder = shlex.quote(str(config.folder))
        raise UsageError(
            f"{config.folder} holds a run already. Go on with it: --resume {folder}; replace it: "
            "--overwrite; or give this one another --name."
        )
    log.unlink()


def _observers(options: TrainOptions, config: TrainConfig, view: Any) -> list[Any]:  # noqa: ANN401
    if view is None:
        return []
    if not options.track:
        return [view]
    from dl2cli.training.sinks import create_sinks

    return [view, *create_sinks(options.track, config.folder)]


def _is_first() -> bool:
    """Tell whether this is rank 0, the only one that prints and writes the run log."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def _told_once() -> Iterator[None]:
    """Let rank 0 tell an error that all ranks meet alike.

    The others wait for torchrun to end them, which it does when rank 0 has left; one that is still
    there afterwards has met an error of its own, and tells it.
    """
    try:
        yield
    except Dl2Error:
        if not _is_first():
            time.sleep(_OTHER_RANKS_WAIT_S)
        raise


def _how_to_resume(result: TrainResult) -> str:
    if result.checkpoint is None:
        return f"Stopped by {result.stopped_by}, before there was anything to save."
    return f"Stopped by {result.stopped_by}. To go on:\n{resume_command(result.checkpoint)}"


def resume_command(checkpoint: Path) -> str:
    """Return this process's command line, so that it goes on from a checkpoint."""
    arguments = sys.argv[1:]
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if not skip and argument != "--overwrite" and not argument.startswith("--resume"):
            kept.append(argument)
        skip = argument == "--resume"
    world = os.environ.get("LOCAL_WORLD_SIZE")
    program = f"torchrun --nproc-per-node {world} -m dl2cli" if world else "dl2"
    return f"{program} {shlex.join([*kept, '--resume', str(checkpoint)])}"


def _exit(stopped_by: str | None) -> None:
    """End with the exit code of the signal that stopped the run, if one did."""
    if stopped_by is not None and stopped_by.startswith("SIG"):
        raise typer.Exit(128 + signal.Signals[stopped_by])
