"""What several commands share: options that are declared once, sizes as text, bars of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.filesize import decimal
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from dl2cli.cli.framework.options import flag, no, option
from dl2cli.cli.framework.output import Output

# The groups of `dl2 --help`.
PREPARE: Final = "Prepare and look at data"
TRAIN: Final = "Train and measure"
HELP: Final = "Start and report problems"

JSON: Final = flag("Print the result as one JSON document on stdout.", "--json")
WORKERS: Final = option("Use this many threads.", "--workers", "-w", least=1, shown="all cores")
CODEC: Final = option(
    "Process JPEGs with dl2's own codec, or with libjpeg-turbo alone. The results are the same.",
    default="native",
)
EXIF_ORIENTATION: Final = option(
    "Show images as they are stored, or turn them as their EXIF orientation says.",
    default="ignore",
)
SCHEDULER: Final = option(
    "Work on a Dask cluster whose workers see all data under the same paths: the address of its "
    "scheduler (tcp://host:8786), or the scheduler's file.",
    metavar="ADDRESS",
)
SEED: Final = option("Random seed.", default=0)
MOST_PIXELS: Final = 1 << 40  # more than any image has
RESUME: Final = no("Start over instead of continuing an interrupted run.")


def loader_names() -> tuple[str, ...]:
    """Return the names of all loaders."""
    from dl2cli.loaders.registry import LOADERS

    return tuple(LOADERS)


def arch_names() -> tuple[str, ...]:
    """Return the names of the models, for completion; other forms of the names exist."""
    from dl2cli.training.models import ARCHITECTURES

    return ARCHITECTURES


def size(count: float) -> str:
    """Return a number of bytes in decimal units ("1.2 MB")."""
    return decimal(int(count))


def facts_table(title: str | None = None) -> Table:
    """Return an empty table of names and values, where a long value (a path) is folded, not cut."""
    table = Table(title=title, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    return table


@contextmanager
def image_progress(
    output: Output, title: str, *, at_once: bool = True
) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of images on stderr; yields the function that moves it to (done, of).

    Unless it is shown at once, it appears with the first image: there may be none to make.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("images", markup=False),
        TimeRemainingColumn(),
    )
    with output.progress(*columns) as progress:
        task = progress.add_task(title, total=None, visible=at_once)
        yield lambda done, total: progress.update(task, completed=done, total=total, visible=True)
