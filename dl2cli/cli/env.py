"""`dl2 env`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 env` to the program."""
    app.command("env", hidden=True)(env)


def env() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 env` is not part of this version yet.")
