"""`dl2 analyze-images`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 analyze-images` to the program."""
    app.command("analyze-images", hidden=True)(analyze_images)


def analyze_images() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 analyze-images` is not part of this version yet.")
