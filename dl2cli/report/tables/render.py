"""Tables as CSV, Markdown and LaTeX text; CSV has full precision and every column."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace

from dl2cli.report.tables.table import Cell, Table, shown

FORMATS = ("table", "csv", "json", "markdown", "latex")

LATEX_ROWS = 40  # as many as fit a page
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",
    "`": "{`}",
    "'": "{'}",
    "µ": r"$\mu$",
    "…": r"\dots{}",
    # These would be taken for an option of the line before, or make a dash of two.
    "[": "{[}",
    "*": "{*}",
    "-": "{-}",
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
    if isinstance(cell, str):
        return spreadsheet_safe(cell)
    return repr(cell)


def spreadsheet_safe(text: str) -> str:
    """Return text that a spreadsheet does not take for a formula.

    A program that opens CSV runs a cell that begins with one of `= + - @`; a `'` before it, which
    is how one types such a text by hand, makes it a text.
    """
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


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
    """Return LaTeX tables with booktabs rules, as wide as a page at most and no longer than one.

    Each compiles with any engine, whatever stands in a log: characters that not every engine has
    a glyph for are written as their code point.
    """
    parts = ["% Needs \\usepackage{booktabs,adjustbox}"]
    for whole in tables:
        table = whole.visible(max_rank=1)
        count = max(1, -(-len(table.rows) // LATEX_ROWS))
        for number in range(count):
            rows = table.rows[number * LATEX_ROWS : (number + 1) * LATEX_ROWS]
            part = f" (part {number + 1} of {count})" if count > 1 else ""
            parts.append(_latex_table(replace(table, rows=rows, title=table.title + part)))
    return "\n\n".join(parts) + "\n"


def _latex_table(table: Table) -> str:
    spec = "".join("r" if column.is_number else "l" for column in table.columns)
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex_text(table.title)}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        _latex_row(column.heading for column in table.columns),
        r"\midrule",
        *(_latex_row(_shown_row(table, row)) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{adjustbox}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _latex_row(cells: Iterable[str]) -> str:
    return " & ".join(_latex_text(cell) for cell in cells) + r" \\"


def _latex_text(text: str) -> str:
    return "".join(_LATEX.get(char) or _latex_character(char) for char in text)


def _latex_character(char: str) -> str:
    """Return ASCII and the letters of Latin-1 as they are, the code point of anything else."""
    plain = char.isascii() or (char.isalpha() and ord(char) < 256 and char not in "ªº")
    return char if plain else f"{{[}}U+{ord(char):04X}]"
