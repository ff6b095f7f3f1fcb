"""The reference of all commands and options, REFERENCE.md, written from their declarations.

    python -m dl2cli.cli.reference

writes it anew; a test checks that it is current.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.help import paragraphs
from dl2cli.cli.framework.options import Parameter

FILE: Final = Path(__file__).with_name("REFERENCE.md")

_HEAD: Final = """\
# All commands and options of dl2

Written by `python -m dl2cli.cli.reference` from the declarations of the options; do not edit it.
`dl2 COMMAND --help` shows the same. Every command also takes `-h, --help`; `dl2` itself takes
`-V, --version`, `--install-completion` and `--show-completion`.
"""


def reference(commands: Sequence[Command]) -> str:
    """Return the reference in Markdown."""
    names = [f"- [`dl2 {each.name}`](#dl2-{each.name}): {each.about}" for each in commands]
    parts = [_HEAD, *names]
    for each in commands:
        parts += ["", *_command(each)]
    return "\n".join(parts) + "\n"


def _command(command: Command) -> Iterator[str]:
    yield f"## dl2 {command.name}"
    yield f"\n    {command.usage}\n"
    yield command.about
    for paragraph in paragraphs(command.text):
        yield f"\n{paragraph}"
    yield f"\nExample{'s' if len(command.examples) > 1 else ''}:\n"
    for example in command.examples:
        yield f"    dl2 {command.name} {example}".rstrip()
    panel = ""
    for parameter in command.options.parameters():
        if parameter.panel != panel:
            panel = parameter.panel
            yield f"\n### {panel}\n"
        yield _parameter(parameter)


def _parameter(parameter: Parameter) -> str:
    names = [*parameter.names[1:], parameter.names[0]]
    name = " ".join(filter(None, (", ".join(names), parameter.metavar)))
    text = f"- `{name}`: {parameter.declared.text}"
    if known := parameter.known():
        text += f" One of {', '.join(f'`{word}`' for word in known)}."
    if parameter.default_text:
        text += f" Default: {parameter.default_text}."
    return text


def main() -> None:
    """Write REFERENCE.md."""
    from dl2cli.cli.main import COMMANDS

    FILE.write_text(reference(COMMANDS), encoding="utf-8")


if __name__ == "__main__":
    main()
