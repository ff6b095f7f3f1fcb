"""What several subcommands share: default workers, sizes as text, a progress display of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from dl2cli.cli.output import Output

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON document on stdout.")
]


WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Number of threads.", show_default="all cores"),
]


def help_text(text: str) -> str:
    """Join the lines of each paragraph, so that the help fills the terminal's width."""
    return "\n\n".join(" ".join(part.split()) for part in text.strip().split("\n\n"))


def size(count: float) -> str:
    """Return a number of bytes in decimal units ("1.2 MB")."""
    return decimal(int(count))


@contextmanager
def image_progress(output: Output, title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of images on stderr; yields the function that moves it to (done, of)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images"),
        TimeRemainingColumn(),
    )
    with output.progress(*columns) as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
