"""`dl2 train`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 train` to the program."""
    app.command("train", hidden=True)(train)


def train() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 train` is not part of this version yet.")
