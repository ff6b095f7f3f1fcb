"""`dl2 convert`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 convert` to the program."""
    app.command("convert", hidden=True)(convert)


def convert() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 convert` is not part of this version yet.")
