"""The progress of a search for scan scripts, which two commands show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn

from dl2cli.cli.framework.output import Output

if TYPE_CHECKING:
    from dl2cli.analysis.scripts.run import SearchProgress


@contextmanager
def search_progress(output: Output) -> Iterator[SearchProgress]:
    """Show the stages of a search on stderr, one bar after the other."""
    from dl2cli.analysis.scripts.run import SearchProgress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with output.progress(*columns) as display:
        task = display.add_task("Searching", total=None, note="")

        class Shown(SearchProgress):
            def begin(self, what: str, total: int) -> None:
                total_or_none = total or None
                display.update(task, description=what, total=total_or_none, completed=0, note="")

            def advance(self, done: int, note: str = "") -> None:
                display.update(task, completed=done, note=note)

            def resumed(self, count: int) -> None:
                output.message(f"Continuing with {count:,} measurements of an earlier run.")

        yield Shown()
