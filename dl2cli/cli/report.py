"""`dl2 report`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 report` to the program."""
    app.command("report", hidden=True)(report)


def report() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 report` is not part of this version yet.")
