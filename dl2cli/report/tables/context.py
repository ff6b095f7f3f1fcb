"""The tables around the figures: parameters that differ between runs, warnings."""

from __future__ import annotations

import json
from collections.abc import Sequence

from dl2cli.report.entries import Entry
from dl2cli.report.model import LogNote, Severity, TrainingRun
from dl2cli.report.tables.table import Field, Table, build, text
from dl2cli.text import clean_text

# These differ in every run by their nature and explain nothing.
_OWN_NAMES = {"experiment_name", "workspace", "report_file", "checkpoint_filename", "resume"}
MAX_PARAMETERS = 60
MAX_SHOWN = 10  # so many fit a screen; the others are among "all columns"


def parameters(entries: Sequence[Entry]) -> Table:
    """The parameters that differ between the trainings, one column a parameter."""
    trainings = [e for e in entries if isinstance(e.run, TrainingRun) and e.run.params]
    values = [(entry.name, _flat(entry)) for entry in trainings]
    names = dict.fromkeys(name for _, flat in values for name in flat)
    differing = [
        name
        for name in names
        if name not in _OWN_NAMES and len({flat.get(name) for _, flat in values}) > 1
    ][:MAX_PARAMETERS]
    fields: list[Field[tuple[str, dict[str, str]]]] = [
        text("run", "Run", lambda item: item[0], 0),
        *(_parameter(name, 1 if place < MAX_SHOWN else 2) for place, name in enumerate(differing)),
    ]
    return build("parameters", "Parameters that differ", fields, values if differing else [])


def _parameter(name: str, rank: int) -> Field[tuple[str, dict[str, str]]]:
    return text(name, name, lambda item: item[1].get(name), rank)


def _flat(entry: Entry) -> dict[str, str]:
    run = entry.run
    assert isinstance(run, TrainingRun)
    return {
        clean_text(str(name), 60): clean_text(_words(value), 200)
        for name, value in list(run.params.items())[:500]
    }


def _words(value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "(nested too deeply)"


def warnings(notes: Sequence[LogNote]) -> Table:
    """Everything that a reader must know about the files, worst first."""
    order = (Severity.ERROR, Severity.WARNING, Severity.INFO)
    ranked = sorted(dict.fromkeys(notes), key=lambda note: order.index(note.severity))
    fields: list[Field[LogNote]] = [
        text("level", "Level", lambda n: n.severity.value, 0),
        text("code", "What", lambda n: n.code, 0),
        text("file", "File", lambda n: n.file, 0),
        text("text", "Explanation", lambda n: n.text, 0),
    ]
    return build("warnings", "Warnings", fields, ranked)
