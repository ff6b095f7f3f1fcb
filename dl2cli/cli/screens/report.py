"""The report on a terminal: as many columns as fit, the most telling first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from dl2cli.report.tables.answer import families
from dl2cli.report.tables.table import Cell, Column, Table, shown

if TYPE_CHECKING:
    from dl2cli.report.report import Report

SUMMARY_ROWS, SUMMARY_FINDINGS = 24, 8
MAX_TEXT_WIDTH = 22
MIN_NAME_WIDTH = 14
NAME_SHARE = 0.36
GAP = 2
EDGES = 1
_COLOURS = {"error": "red", "cut": "red", "warning": "yellow", "no summary": "yellow"}


def print_report(
    console: Console, report: Report, tables: Sequence[Table], *, findings: bool
) -> None:
    """Print the answer, the findings and the tables; parameters only when they are asked for."""
    if findings:
        _print_answer(console, report)
        _print_findings(console, report, len(report.findings))
    for table in tables:
        if table.name in ("answer", "parameters") and findings:
            continue
        if table.name == "warnings" and findings:
            table = _without_remarks(table)  # noqa: PLW2901
        if table.rows:
            console.print(rich_table(table, console.width))
            console.print()
        else:
            console.print(Text(table.about, style="dim"))
    ignored = report.corpus.files_ignored
    if ignored and findings:
        files = "1 other file is not a run log" if ignored == 1 else ""
        files = files or f"{ignored} other files are not run logs"
        console.print(Text(f"{files}.", style="dim"))


def print_summary(console: Console, report: Report, page: str) -> None:
    """Print the most important findings of a report; the page has all."""
    _print_answer(console, report, SUMMARY_ROWS)
    _print_findings(console, report, SUMMARY_FINDINGS)
    counts = Counter(note.severity.value for note in report.notes)
    words = [_plural(counts[level], level) for level in ("error", "warning") if counts[level]]
    told = f"; {' and '.join(words)}: --table warnings" if words else ""
    files = report.corpus.files_read
    runs = _plural(len(report.entries), "run")
    text = f"{runs} of {_plural(files, 'log file')}{told}. Everything is in {page}."
    console.print(Text(text, style="dim"))


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _print_answer(console: Console, report: Report, rows: int | None = None) -> None:
    """Print the answer, a table for each model and data set, up to a number of rows in all."""
    answer = report.table("answer")
    if answer is None:
        return
    left = rows if rows is not None else len(answer.rows)
    for table in families(answer):
        if left <= 0:
            break
        part = replace(table, rows=table.rows[:left])
        left -= len(part.rows)
        console.print(rich_table(part, console.width, name_dropped=False))
    hidden = len(answer.rows) - rows if rows is not None else 0
    more = f" {hidden} more rows are on the page." if hidden > 0 else ""
    if rows is None:
        more += " --table answer has all columns."
    console.print(Text(answer.about + more, style="dim"))
    console.print()


def _print_findings(console: Console, report: Report, most: int) -> None:
    for sentence in report.findings[:most]:
        console.print(Text(f"• {sentence}"))
    console.print()


def _without_remarks(table: Table) -> Table:
    """Keep warnings and errors; say how to see the rest."""
    rows = tuple(row for row in table.rows if row[0] != "info")
    hidden = len(table.rows) - len(rows)
    remarks = "is 1 remark" if hidden == 1 else f"are {hidden} remarks"
    about = f"There {remarks} more: --table warnings." if hidden else table.about
    return replace(table, rows=rows, about=about)


def rich_table(table: Table, width: int, *, name_dropped: bool = True) -> RichTable:
    """Return a table that fits the width; columns that do not are named below it."""
    visible = table.visible()
    kept = _fitting(visible, width)
    dropped = [c for i, c in enumerate(visible.columns) if i not in kept and name_dropped]
    rich = RichTable(
        title=Text(table.title, style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        caption=_caption(table, dropped),
        caption_justify="left",
    )
    for index, column_width in kept.items():
        column = visible.columns[index]
        rich.add_column(
            Text(column.heading),
            justify="right" if column.is_number else "left",
            overflow="fold",
            width=column_width if column.is_number or index == 0 else None,
        )
    for row in visible.rows:
        rich.add_row(*(_text(row[index], visible.columns[index]) for index in kept))
    return rich


def _caption(table: Table, dropped: Sequence[Column]) -> Text | None:
    parts = [table.about] if table.about else []
    if dropped:
        names = ", ".join(column.title for column in dropped)
        parts.append(f"Too wide to show: {names} (--format csv has all).")
    return Text(" ".join(parts), style="dim") if parts else None


def _text(cell: Cell, column: Column) -> Text:
    string = shown(cell, column)
    return Text(string, style=_COLOURS.get(string, ""))


def _fitting(table: Table, width: int) -> dict[int, int]:
    """Choose columns by rank, then from left to right, while the table fits: index to width.

    The first column, a name, is folded to what the others leave it, but not below MIN_NAME_WIDTH.
    Of rank 0, texts are kept in any case and folded; a number that is folded would mislead.
    """
    needs = [_need(table, index) for index in range(len(table.columns))]
    names = max([len(table.columns[0].heading), *(len(str(row[0])) for row in table.rows)])
    left = width - EDGES - GAP
    kept = {0: 0}
    for index in sorted(range(1, len(needs)), key=lambda i: (table.columns[i].rank, i)):
        column = table.columns[index]
        name_width = min(names, int(width * NAME_SHARE) if column.rank else MIN_NAME_WIDTH)
        if (column.rank or column.is_number) and needs[index] + GAP > left - name_width:
            continue
        kept[index] = needs[index]
        left -= needs[index] + GAP
    kept[0] = min(names, max(MIN_NAME_WIDTH, left))
    return dict(sorted(kept.items()))


def _need(table: Table, index: int) -> int:
    column = table.columns[index]
    cells = [len(shown(row[index], column)) for row in table.rows]
    if column.is_number:
        return max([len(word) for word in column.heading.split()] + cells)
    return min(max([len(column.heading), *cells]), MAX_TEXT_WIDTH)
