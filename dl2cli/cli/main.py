"""The `dl2` program: its subcommands, and the one table from exception to message and exit code."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

import dl2cli
from dl2cli.cli import (
    analyze_images,
    bench_io,
    convert,
    env,
    extract,
    inspect,
    report,
    sample,
    train,
)
from dl2cli.errors import Dl2Error, ExitCode, Interrupted


class _Program(TyperGroup):
    """Keeps two exceptions from Typer, which would end the program without a word."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - a context of the click inside Typer
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted.") from error
        except BrokenPipeError:
            # The reader of our stdout (head, less) has left: not an error of ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(128 + signal.SIGPIPE) from None


app = typer.Typer(
    name="dl2",
    cls=_Program,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find out what your data path costs, and train with as few bytes as you can.\n\n"
    "Example: [bold]dl2 convert training_set out/[/bold]",
)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"dl2 {dl2cli.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


convert.register(app)
inspect.register(app)
extract.register(app)
analyze_images.register(app)
train.register(app)
bench_io.register(app)
report.register(app)
sample.register(app)
env.register(app)


def main() -> NoReturn:
    """Run the program, and turn each kind of error into one sentence and an exit code."""
    try:
        app()
    except Dl2Error as error:
        _fail(error, error.exit_code)
    except Exception as error:
        _fail(error, ExitCode.UNEXPECTED)
    sys.exit(ExitCode.DONE)


def _fail(error: BaseException, code: ExitCode) -> NoReturn:
    from dl2cli.cli.output import Output

    if os.environ.get("DL2_DEBUG") == "1":
        raise error
    output = Output()
    if isinstance(error, Dl2Error):
        output.message(f"dl2: {error}")
    else:
        output.message(
            f"dl2: unexpected {type(error).__name__}: {error}. "
            "Set DL2_DEBUG=1 for the traceback, and please report it with the output of `dl2 env`."
        )
    sys.exit(code)
