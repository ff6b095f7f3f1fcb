"""The report as one HTML page without external resources.

Every text from a log goes through Jinja2's autoescape, or through JSON whose `<` are escaped; a
Content-Security-Policy lets nothing run but the page's own script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import dl2cli
from dl2cli.errors import MissingDependency
from dl2cli.output_file import write_output
from dl2cli.report.model import Severity
from dl2cli.report.plots.canvas import InlineSvg
from dl2cli.report.plots.figures import inline_plots
from dl2cli.report.report import Report
from dl2cli.report.tables.table import Cell, Column, Table, shown

LONG_TEXT = 32  # longer texts may be broken over lines
_ALERTS = {"error": "error", "cut": "error", "warning": "warning", "no summary": "warning"}


def write_html(report: Report, path: Path, *, refresh_s: float | None = None) -> None:
    """Write the page; `refresh_s` makes it load itself again so often.

    Raises:
        MissingDependency: matplotlib or Jinja2 is not installed.
        StorageError: the file cannot be written.
    """
    write_output(path, render_html(report, refresh_s=refresh_s).encode("utf-8", "replace"))


def render_html(report: Report, *, refresh_s: float | None = None) -> str:
    """Return the page.

    Raises:
        MissingDependency: matplotlib or Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingDependency("Jinja2", "plots") from None
    script = _template("report.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    template = environment.from_string(_template("report.html.j2"))
    return template.render(
        title=_title(report),
        style=Markup(_template("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        refresh_s=max(1, round(refresh_s)) if refresh_s else None,
        findings=report.findings,
        errors=sum(note.severity is Severity.ERROR for note in report.notes),
        files_read=report.corpus.files_read,
        files_ignored=report.corpus.files_ignored,
        # The drawing is matplotlib's, which escapes its texts; the JSON has no `<`.
        plots=[
            {
                "name": plot.name,
                "title": plot.title,
                "hover": plot.hover,
                "svg": Markup(plot.svg),
                "points": Markup(_points(plot)),
            }
            for plot in inline_plots(report)
        ],
        tables=[_table(table) for table in report.tables],
        version=dl2cli.__version__,
        drop_first=report.config.drop_first,
    )


def _template(name: str) -> str:
    return (files("dl2cli.report.page") / "templates" / name).read_text(encoding="utf-8")


def _title(report: Report) -> str:
    count = len(report.entries)
    return f"{count} run" if count == 1 else f"{count} runs"


def _points(plot: InlineSvg) -> str:
    text = json.dumps(plot.points, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _table(table: Table) -> dict[str, Any]:
    visible = table.visible()
    more = [column.rank > 1 for column in visible.columns]
    return {
        "name": table.name,
        "title": table.title,
        "about": table.about,
        "more": any(more),
        "columns": [
            {"heading": c.heading, "about": c.about, "classes": _classes(c)}
            for c in visible.columns
        ],
        "rows": [_row(visible.columns, row) for row in visible.rows],
    }


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> list[dict[str, str]]:
    return [
        {
            "shown": shown(cell, column),
            "value": _value(cell),
            "classes": " ".join(filter(None, _cell_classes(cell, column))),
        }
        for cell, column in zip(row, columns, strict=True)
    ]


def _cell_classes(cell: Cell, column: Column) -> Iterator[str | None]:
    yield _classes(column)
    if isinstance(cell, str):
        yield _ALERTS.get(cell)
        yield "long" if len(cell) > LONG_TEXT else None


def _value(cell: Cell) -> str:
    if isinstance(cell, bool) or not isinstance(cell, int | float):
        return ""
    return repr(cell)


def _classes(column: Column) -> str:
    return " ".join(
        word for word, on in (("number", column.is_number), ("more", column.rank > 1)) if on
    )
