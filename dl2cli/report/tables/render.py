"""Tables as CSV, Markdown and LaTeX text; CSV has full precision and every column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence

from dl2cli.report.tables.table import Cell, Table, shown

FORMATS = ("table", "csv", "json", "markdown", "latex")

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "µ": r"\textmu{}",
    "…": r"\dots{}",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def to_csv(tables: Sequence[Table]) -> str:
    """Return CSV (RFC 4180 quoting, LF); several tables each stand under a `# name` line."""
    parts = []
    for table in tables:
        buffer = io.StringIO()
        if len(tables) > 1:
            buffer.write(f"# {table.name}\n")
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(column.key for column in table.columns)
        writer.writerows([_csv_cell(cell) for cell in row] for row in table.rows)
        parts.append(buffer.getvalue())
    return "\n".join(parts)


def _csv_cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return repr(cell) if isinstance(cell, float) else str(cell)


def to_markdown(tables: Iterable[Table]) -> str:
    """Return GitHub's Markdown; columns that are empty are left out."""
    parts = []
    for whole in tables:
        table = whole.visible()
        lines = [f"## {table.title}", ""]
        lines.append(_markdown_row(column.heading for column in table.columns))
        lines.append(_markdown_row("---:" if c.is_number else "---" for c in table.columns))
        lines += [_markdown_row(_shown_row(table, row)) for row in table.rows]
        if table.about:
            lines += ["", table.about]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _shown_row(table: Table, row: Sequence[Cell]) -> list[str]:
    return [shown(cell, column) for cell, column in zip(row, table.columns, strict=True)]


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(_markdown_text(cell) for cell in cells) + " |"


def _markdown_text(text: str) -> str:
    text = "".join(f"\\{char}" if char in "\\`*_[]|~$" else char for char in text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def to_latex(tables: Iterable[Table]) -> str:
    """Return one LaTeX tabular a table, with booktabs rules."""
    parts = ["% Needs \\usepackage{booktabs}"]
    for whole in tables:
        table = whole.visible(max_rank=1)
        spec = "".join("r" if column.is_number else "l" for column in table.columns)
        body = [_latex_row(column.heading for column in table.columns), r"\midrule"]
        body += [_latex_row(_shown_row(table, row)) for row in table.rows]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_latex_text(table.title)}}}",
                    rf"\begin{{tabular}}{{{spec}}}",
                    r"\toprule",
                    *body,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts) + "\n"


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(_latex_text(cell) for cell in cells) + r" \\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(char, char) for char in text)
