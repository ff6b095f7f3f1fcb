"""`dl2 inspect`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 inspect` to the program."""
    app.command("inspect", hidden=True)(inspect)


def inspect() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 inspect` is not part of this version yet.")
