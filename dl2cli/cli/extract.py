"""`dl2 extract`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 extract` to the program."""
    app.command("extract", hidden=True)(extract)


def extract() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 extract` is not part of this version yet.")
