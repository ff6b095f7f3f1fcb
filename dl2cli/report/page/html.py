"""The report as one HTML page without external resources.

Every text from a log goes through Jinja2's autoescape, or through JSON whose `<` are escaped; a
Content-Security-Policy lets nothing run but the page's own script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import dl2cli
from dl2cli.errors import MissingDependency
from dl2cli.output_file import write_output
from dl2cli.report.model import Severity
from dl2cli.report.plots.canvas import InlineSvg
from dl2cli.report.plots.inline import inline_plots
from dl2cli.report.report import Report
from dl2cli.report.tables.answer import families
from dl2cli.report.tables.table import Cell, Column, Table, shown
from dl2cli.text import clean_text

LONG_TEXT = 32  # longer texts may be broken over lines
_ALERTS = {"error": "error", "cut": "error", "warning": "warning", "no summary": "warning"}


@dataclass(frozen=True, slots=True)
class Origin:
    """How a page was made; it stands at its foot."""

    command: str
    made: datetime  # with its zone


def this_run() -> Origin:
    """Return the command of this process and the time, which SOURCE_DATE_EPOCH may set."""
    name = Path(sys.argv[0]).name
    command = shlex.join(["dl2" if name in ("dl2", "__main__.py") else name, *sys.argv[1:]])
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    seconds = int(fixed) if fixed.isdecimal() else None
    made = datetime.now().astimezone() if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return Origin(clean_text(command, 2000), made)


def write_html(
    report: Report, path: Path, *, refresh_s: float | None = None, origin: Origin | None = None
) -> None:
    """Write the page; `refresh_s` makes it load itself again so often.

    Raises:
        MissingDependency: matplotlib or Jinja2 is not installed.
        UsageError, StorageError: the file cannot be written (`dl2cli.output_file`).
    """
    page = render_html(report, refresh_s=refresh_s, origin=origin)
    write_output(path, page.encode("utf-8", "replace"))


def render_html(
    report: Report, *, refresh_s: float | None = None, origin: Origin | None = None
) -> str:
    """Return the page.

    Raises:
        MissingDependency: matplotlib or Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError:
        raise MissingDependency("Jinja2", "plots") from None
    origin = origin or this_run()
    script = _template("report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_template("report.html.j2"))
    answer = report.table("answer")
    return template.render(
        title=_title(report),
        style=Markup(_template("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        refresh_s=max(1, round(refresh_s)) if refresh_s else None,
        answer_about=answer.about if answer else "",
        answers=[_table(table) for table in families(answer)] if answer else [],
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
        tables=[_table(table) for table in report.tables if table.name != "answer"],
        version=dl2cli.__version__,
        drop_first=report.config.drop_first,
        command=origin.command,
        made=origin.made.isoformat(sep=" ", timespec="seconds"),
        roots=report.corpus.roots,
        logs=[(log.name, f"{log.size_bytes:,}", log.sha256) for log in report.corpus.files],
    )


def _template(name: str) -> str:
    return (files("dl2cli.report.page") / "templates" / name).read_text(encoding="utf-8")


def _title(report: Report) -> str:
    count = len(report.entries)
    return f"{count} run" if count == 1 else f"{count} runs"


def _points(plot: InlineSvg) -> str:
    names = list(dict.fromkeys(name for _, _, name, _ in plot.points))
    places = {name: index for index, name in enumerate(names)}
    points = [(x, y, places[name], text) for x, y, name, text in plot.points]
    document = {"names": names, "points": points}
    text = json.dumps(document, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


def _table(table: Table) -> dict[str, Any]:
    visible = table.visible()
    return {
        "name": table.name,
        "title": table.title,
        "about": table.about,
        "more": any(column.rank > 1 for column in visible.columns),
        "columns": [
            {"heading": c.heading, "about": c.about, "classes": _classes(c)}
            for c in visible.columns
        ],
        "rows": [_row(visible.columns, row) for row in visible.rows],
    }


def _row(columns: Sequence[Column], row: Sequence[Cell]) -> list[dict[str, str]]:
    return [
        {
            "shown": (text := shown(cell, column)),
            "value": _value(cell, text),
            "classes": " ".join(filter(None, _cell_classes(cell, column))),
        }
        for cell, column in zip(row, columns, strict=True)
    ]


def _cell_classes(cell: Cell, column: Column) -> Iterator[str | None]:
    yield _classes(column)
    if isinstance(cell, str):
        yield _ALERTS.get(cell)
        yield "l" if len(cell) > LONG_TEXT else None


def _value(cell: Cell, text: str) -> str:
    """Return the number behind a text with all its digits, where the text has not all."""
    if isinstance(cell, bool) or not isinstance(cell, int | float) or repr(cell) == text:
        return ""
    return repr(cell)


def _classes(column: Column) -> str:
    """Return short names, for they stand in every cell: n for a number, m for more columns."""
    return " ".join(word for word, on in (("n", column.is_number), ("m", column.rank > 1)) if on)
