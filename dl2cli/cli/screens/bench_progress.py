"""What `dl2 bench-io` shows while it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from dl2cli.cli.framework.output import Output

if TYPE_CHECKING:
    from dl2cli.bench.run import BenchProgress


@contextmanager
def show_progress(output: Output) -> Iterator[Callable[[BenchProgress], None]]:
    """Show what is running, and how long all of it will take, on stderr."""
    columns: tuple[Any, ...] = (
        # The times are whole at 80 columns; what is running is cut where it must be.
        BarColumn(bar_width=8, table_column=Column(min_width=8)),
        TimeElapsedColumn(table_column=Column(min_width=7)),
        TextColumn("of about", markup=False, table_column=Column(min_width=8)),
        TextColumn("{task.fields[total_text]}", markup=False, table_column=Column(min_width=4)),
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis"),
        ),
    )
    with output.progress(*columns) as display:
        task = display.add_task("starting", total=None, total_text="…")

        def tell(state: BenchProgress) -> None:
            elapsed = display.tasks[task].elapsed or 0.0
            # The plan's seconds, stretched by how much longer the part that is done took.
            pace = max(elapsed / state.done_s, 1.0) if state.done_s > 5 else 1.0
            left = (state.total_s - state.done_s) * pace
            minutes, rest = divmod(round(elapsed + left), 60)
            display.update(
                task, completed=state.done_s, total=state.total_s, description=state.doing,
                total_text=f"{minutes}:{rest:02d}",
            )  # fmt: skip

        yield tell
