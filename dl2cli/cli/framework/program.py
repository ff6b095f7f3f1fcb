"""Run the commands: Typer parses the command line, and help and messages are ours.

Only the command that is called is built, so that `dl2 --help` does not load the options of all.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

import dl2cli
from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.help import command_help, program_help
from dl2cli.cli.framework.output import give_up, writing_stdout
from dl2cli.errors import ExitCode, Interrupted, UsageError
from dl2cli.text import suggestion

HELP_NAMES = ["-h", "--help"]


def build(command: Command) -> TyperCommand:
    """Return a command as Typer runs it."""

    def entry(**given: Any) -> None:  # noqa: ANN401
        for each in command.options.parameters():
            missing = given[each.attribute] is None and not each.optional
            if each.declared.is_argument and missing:
                raise UsageError(f"{each.names[0]} is missing. Usage: {command.usage}")
        command.run(command.options(**given))

    entry.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [each.for_typer() for each in command.options.parameters()]
    )
    program = typer.Typer(add_completion=False)
    settings = {"help_option_names": HELP_NAMES}
    program.command(command.name, cls=_TyperCommand, context_settings=settings)(entry)
    built = typer.main.get_command(program)
    assert isinstance(built, _TyperCommand)
    built.command = command
    return built


class _TyperCommand(TyperCommand):
    """Typer's command, with our help and our words."""

    command: Command

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401
        return command_help(self.command)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        with _our_words(ctx):
            return super().parse_args(ctx, args)


class Program(TyperGroup):
    """The group of all commands: lists them, builds the one that is called, explains its errors."""

    commands_by_name: ClassVar[dict[str, Command]] = {}

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401
        """Return the names of all commands, as completion needs them."""
        return list(self.commands_by_name)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | None:  # noqa: ANN401
        """Return a command for Typer."""
        command = self.commands_by_name.get(cmd_name)
        return None if command is None else build(command)

    def get_help(self, ctx: Any) -> str:  # noqa: ANN401
        """Return what `dl2 --help` shows."""
        return program_help(tuple(self.commands_by_name.values()))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401
        """Take `dl2 help COMMAND` for `dl2 COMMAND --help`; without arguments, show the help."""
        if not args and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx), err=True)
            raise typer.Exit(ExitCode.USAGE)
        if args[:1] == ["help"]:
            args = [*args[1:2], "--help"]
        with _our_words(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401
        """Find the command that is meant. Raises UsageError."""
        if args and args[0] not in self.commands_by_name and not args[0].startswith("-"):
            hint = suggestion(args[0], self.commands_by_name)
            raise UsageError(f"There is no command {args[0]!r}.{hint} See dl2 --help.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run the command; turn Ctrl-C into an error of ours, and ignore a closed pipe."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader of our stdout (head, less) has seen enough
            give_up(sys.stdout)
            raise typer.Exit from None
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted.") from error

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Run the program; unlike Typer, leave all errors to the caller."""
        code = super().main(args, "dl2", complete_var, standalone_mode=False, **extra)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code


@contextlib.contextmanager
def _our_words(ctx: Any) -> Iterator[None]:  # noqa: ANN401 - of the click inside Typer
    """Let what Typer refuses become a UsageError in the style of all our messages."""
    try:
        with writing_stdout():  # the help and the version are printed while arguments are parsed
            yield
    except BrokenPipeError:
        give_up(sys.stdout)
        raise typer.Exit from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # not an error of Typer itself
            raise
        text = _sentence(error, [name for each in ctx.command.params for name in each.opts])
        raise UsageError(f"{text} See {ctx.command_path} --help.") from None


def _sentence(error: Any, known: Sequence[str]) -> str:  # noqa: ANN401
    name = str(getattr(error, "option_name", ""))
    text = str(error.format_message())
    match type(error).__name__:
        case "NoSuchOption":
            return f"There is no option {name}.{suggestion(name, known)}"
        case "BadOptionUsage" if "does not take" in text:
            return f"{name} takes no value."
        case "BadOptionUsage":
            return f"{name} needs a value."
    if extra := re.search(r"unexpected extra arguments? ?(?:\(s\))? ?\((.*)\)", text):
        return f"There is no place for {extra[1]!r} on this command line."
    return text


def version_flag(value: bool) -> None:
    """Print the version, and end."""
    if value:
        typer.echo(f"dl2 {dl2cli.__version__}")
        raise typer.Exit
