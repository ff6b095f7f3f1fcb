"""`dl2 bench-io`: registered, and hidden until it works."""

from __future__ import annotations

import typer

from dl2cli.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `dl2 bench-io` to the program."""
    app.command("bench-io", hidden=True)(bench_io)


def bench_io() -> None:
    """Say that the command is not there yet."""
    raise UsageError("`dl2 bench-io` is not part of this version yet.")
