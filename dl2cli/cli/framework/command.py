"""A command of the program: its name, words, options and function. `main.py` lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dl2cli.cli.framework.options import Options


@dataclass(frozen=True)
class Command:
    """A command, as `main.COMMANDS` lists it.

    Attributes:
        name: what the user types after `dl2`.
        options: the class that declares its options.
        run: gets an object of that class, and does the work.
        about: one sentence, verb first: what it does.
        text: further paragraphs of the help.
        examples: command lines without "dl2 NAME"; at least one.
        group: where `dl2 --help` lists it.
    """

    name: str
    options: type[Options]
    run: Callable[[Any], None]
    about: str
    text: str
    examples: Sequence[str]
    group: str

    @property
    def usage(self) -> str:
        """The form of the command line: `dl2 convert [OPTIONS] SOURCE OUT`."""
        words = []
        for each in self.options.parameters():
            if each.declared.is_argument:
                word = each.names[0] + ("..." if each.shape == "repeated" else "")
                words.append(f"[{word}]" if each.optional else word)
        return " ".join(["dl2", self.name, "[OPTIONS]", *words])
