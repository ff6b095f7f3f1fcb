"""The help on a screen of any width: panels of options, with names at the left and text beside.

Drawn by rich from the declarations themselves (`options.py`), as the reference is (`reference.py`).
Typer's own renderer gives types and ranges columns of their own, which leaves words 18 columns of
80, and cuts the names of options.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.highlighter import RegexHighlighter
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Parameter
from dl2cli.cli.framework.output import Screen

MAX_WIDTH = 100
_NAME_WIDTH = 28  # a value's name that does not fit goes to the next line
_THEME = Theme({"help.option": "cyan", "help.value": "yellow"})

ABOUT = "Find out what your data path costs, and train with as few bytes as you can."
ABOUT_HELP = "dl2 COMMAND --help, or dl2 help COMMAND, shows what a command does and its options."
EXAMPLE = "dl2 convert training_set out/"
ROOT_OPTIONS = (
    ("-V, --version", "Show the version."),
    ("    --install-completion", "Let your shell complete commands, options and values."),
    ("    --show-completion", "Print the script that does so."),
    ("-h, --help", "Show this help."),
)
HELP_ROW = ("-h, --help", "Show this help.")


class _Options(RegexHighlighter):
    base_style = "help."
    highlights = (r"(?<![\w-])(?P<option>--?[a-z][\w-]*)",)


def command_help(command: Command) -> str:
    """Return the help of a command for the terminal at hand."""
    screen = _screen()
    with screen.capture() as capture:
        _print_head(screen, command.usage, (command.about, *paragraphs(command.text)))
        for example in command.examples:
            screen.print(Text(f"  Example: dl2 {command.name} {example}\n"), soft_wrap=True)
        found = panels(command)
        width = max(name.cell_len for _, rows in found for row in rows for name in row[0].split())
        for panel, rows in found:
            _print_panel(screen, panel, rows, width)
    return _trimmed(capture.get())


def program_help(commands: Sequence[Command]) -> str:
    """Return the help of the program."""
    screen = _screen()
    with screen.capture() as capture:
        _print_head(screen, "dl2 COMMAND [OPTIONS]", (ABOUT, ABOUT_HELP))
        screen.print(Text(f"  Example: {EXAMPLE}\n"), soft_wrap=True)
        for group in dict.fromkeys(command.group for command in commands):
            rows = [(Text(c.name, "cyan"), Text(c.about)) for c in commands if c.group == group]
            _print_panel(screen, group, rows, width=max(len(c.name) for c in commands))
        rows = [(Text(name, "cyan"), Text(about)) for name, about in ROOT_OPTIONS]
        _print_panel(screen, "Options", rows)
    return _trimmed(capture.get())


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip("\n").split("\n"))


def panels(command: Command) -> list[tuple[str, list[tuple[Text, Text]]]]:
    """Return each panel of a command's help: its name, and rows of two texts."""
    found: dict[str, list[tuple[Text, Text]]] = {}
    for each in command.options.parameters():
        found.setdefault(each.panel, []).append((name_of(each), words_of(each)))
    found[list(found)[-1]].append((Text(HELP_ROW[0], "cyan"), Text(HELP_ROW[1])))
    return list(found.items())


def name_of(parameter: Parameter) -> Text:
    """Return the left column: the names, and the placeholder of the value."""
    if parameter.declared.is_argument:
        return Text(parameter.names[0], "yellow")
    long, *short = parameter.names
    text = Text(f"{short[0]}, " if short else "    ", "cyan").append(long)
    if parameter.metavar:
        fits = text.cell_len + 1 + len(parameter.metavar) <= _NAME_WIDTH
        text.append(" " if fits else "\n      ").append(parameter.metavar, "yellow")
    return text


def words_of(parameter: Parameter) -> Text:
    """Return the right column: the help, the words to choose from, and the default."""
    text = _Options()(Text(parameter.declared.text))
    if known := parameter.known():
        text.append(f" [{' | '.join(known)}]", "yellow")
    if parameter.default_text:
        text.append(f" [default: {parameter.default_text}]", "dim")
    return text


def paragraphs(text: str) -> Iterable[str]:
    """Yield the paragraphs of a text, each in one line."""
    return (" ".join(part.split()) for part in text.strip().split("\n\n") if part.strip())


def _screen() -> Screen:
    screen = Screen(theme=_THEME)
    screen.width = min(screen.width, MAX_WIDTH)
    return screen


def _print_head(screen: Screen, usage: str, texts: Iterable[str]) -> None:
    screen.print(Text(f"\nUsage: {usage}\n", "bold"))
    for text in texts:
        screen.print(_Options()(Text(text)).append("\n"))


def _print_panel(
    screen: Screen, title: str, rows: Sequence[tuple[Text, Text]], width: int | None = None
) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    table.add_column(no_wrap=True, width=width)
    table.add_column(ratio=1)
    for row in rows:
        table.add_row(*row)
    screen.print(Panel(table, title=title, title_align="left", border_style="dim", box=box.ROUNDED))
