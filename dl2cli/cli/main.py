"""The `dl2` program: its commands, and the one table from exception to message and exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Final, NoReturn

import typer

from dl2cli.cli.commands import (
    analyze_images,
    bench_io,
    cache,
    convert,
    copy,
    env,
    extract,
    import_dataset,
    inspect,
    report,
    sample,
)
from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.interrupt import answer_interrupts
from dl2cli.cli.framework.output import Output, flush_or_give_up, give_up, prepare_streams
from dl2cli.cli.framework.program import HELP_NAMES, Program, version_flag
from dl2cli.cli.train import command as train
from dl2cli.errors import Dl2Error, ExitCode

COMMANDS: Final[tuple[Command, ...]] = (
    import_dataset.COMMAND,
    convert.COMMAND,
    inspect.COMMAND,
    extract.COMMAND,
    copy.COMMAND,
    analyze_images.COMMAND,
    train.COMMAND,
    bench_io.COMMAND,
    report.COMMAND,
    sample.COMMAND,
    env.COMMAND,
    cache.COMMAND,
)

Program.commands_by_name.update({command.name: command for command in COMMANDS})

app = typer.Typer(
    name="dl2",
    cls=Program,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP_NAMES},
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=version_flag, is_eager=True)
    ] = False,
) -> None:
    pass


def main() -> NoReturn:
    """Run the program, and turn each kind of error into one sentence and an exit code."""
    prepare_streams()
    _take_names_for_utf8()
    answer_interrupts(Output.tell_heard)
    code: int | str | None = ExitCode.DONE
    try:
        app()
    except SystemExit as end:
        code = end.code
    except BrokenPipeError:
        give_up(sys.stdout)
    except Exception as error:
        code = _fail(error)
    flush_or_give_up()  # or a failure when Python ends would change the exit code
    sys.exit(code)


def _take_names_for_utf8() -> None:
    """Start again in Python's UTF-8 mode if the locale has another encoding for names of files.

    Names are bytes, which almost everybody writes in UTF-8. In a locale such as POSIX or
    en_US.ISO-8859-1, class names would be stored in a dataset as the wrong characters, or could
    not be written at all. What is printed keeps the terminal's encoding.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8":
        return
    os.environ["PYTHONIOENCODING"] = f"{sys.stdout.encoding}:backslashreplace"
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _fail(error: Exception) -> ExitCode:
    """Say what went wrong in a sentence, and return the exit code."""
    if os.environ.get("DL2_DEBUG") == "1":
        raise error
    flush_or_give_up()
    output = Output()
    if isinstance(error, Dl2Error):
        output.message(f"dl2: {error}")
        return error.exit_code
    output.message(
        f"dl2: unexpected {type(error).__name__}: {error}. "
        "Set DL2_DEBUG=1 for the traceback, and please report it with the output of `dl2 env`."
    )
    return ExitCode.UNEXPECTED
