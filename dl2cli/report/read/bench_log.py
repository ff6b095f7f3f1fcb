"""The reader of what `dl2 bench-io --json` writes.

The document::

    {"schema_version": 1, "kind": "dl2-bench-io", "runs": [
        {"name": "pcr k=5, cold",      text, unique in the file
         "loader": "pcr",              text
         "dataset": "photos",          text, optional
         "data": "/data/photos_pcr",   text, optional: the path
         "storage": "hdd",             text, optional: mem | ssd | hdd | ...
         "scans": 5,                   whole number or null: scan groups read
         "workers": 8,                 whole number
         "batch_size": 64,             whole number, optional
         "arch": "resnet50",           text, optional: the model that computes
         "images": 20000,              whole number, optional: images measured
         "rate_img_s": 812.4,          images a second, total over total
         "bytes_per_image": 41230.5,   bytes read from storage an image
         "fetch_stall_s": 0.0004,      s an image that compute waited for storage
         "prep_stall_s": 0.0001,       s an image that compute waited for decode
         "compute_s": 0.0007,          s an image of compute
         "bound": "storage"}]}         text, optional: what bounds it, by bench-io's own model

Further keys are passed over. A number that is absent or null is shown as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dl2cli.dataset.naming import parse_data_path
from dl2cli.report.model import BenchIoRun, Kind, LogNote, RunSource, Setup, Severity, Status
from dl2cli.report.read.values import finite, float_of, int_of, number, text_of
from dl2cli.text import clean_text

KIND = "dl2-bench-io"
SCHEMA_VERSION = 1
MAX_RUNS = 10_000
_MEASURES = ("rate_img_s", "bytes_per_image", "fetch_stall_s", "prep_stall_s", "compute_s")


def is_bench(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is bench-io's."""
    return document.get("kind") == KIND


def bench_runs(
    document: Mapping[str, Any], source: RunSource
) -> tuple[list[BenchIoRun], tuple[LogNote, ...]]:
    """Read the measurements and notes on the file; a run is named after file and measurement."""
    notes: list[LogNote] = []
    version = document.get("schema_version")
    if version != SCHEMA_VERSION:
        text = f"Its schema version is {clean_text(str(version), 20)}, not {SCHEMA_VERSION}."
        notes.append(LogNote(Severity.WARNING, "version", text, source.file))
    runs = document.get("runs")
    entries = [e for e in runs if isinstance(e, dict)] if isinstance(runs, list) else []
    if not isinstance(runs, list) or len(entries) != len(runs) or len(entries) > MAX_RUNS:
        text = "Its list of runs is damaged."
        notes.append(LogNote(Severity.ERROR, "damaged", text, source.file))
    read = [_bench_io_run(entry, i, source) for i, entry in enumerate(entries[:MAX_RUNS])]
    return read, tuple(notes)


def _absurd_notes(entry: Mapping[str, Any], source: RunSource) -> tuple[LogNote, ...]:
    numbers = (entry.get(key) for key in _MEASURES)
    count = sum(isinstance(n, int | float) and finite(number(n)) is None for n in numbers)
    text = f"Values that are NaN, infinite or absurd: {count}."
    return (LogNote(Severity.WARNING, "nonfinite", text, source.file),) if count else ()


def _bench_io_run(entry: Mapping[str, Any], index: int, source: RunSource) -> BenchIoRun:
    name = text_of(entry, "name") or str(index)
    scans = int_of(entry, "scans")
    loader = text_of(entry, "loader")
    path = parse_data_path(text_of(entry, "data") or "")
    variant = path.variant.name if path.variant else "raw"
    dataset = text_of(entry, "dataset") or path.dataset
    if loader == "synthetic":
        variant = dataset = "synthetic"
    elif scans is not None or (loader or "").startswith("pcr"):
        variant = f"pcr-{scans}" if scans else "pcr"
    rate = finite(float_of(entry, "rate_img_s"))
    notes = _absurd_notes(entry, source)
    return BenchIoRun(
        source=replace(source, run=f"{source.run}#{name}"),
        kind=Kind.BENCH,
        setup=Setup(
            experiment_name=name,
            dataset=dataset,
            variant=variant,
            codec=variant.split("-", maxsplit=1)[0],
            quality=str(scans) if scans is not None else None,
            storage=text_of(entry, "storage"),
            storage_path=path.storage,
            data_path=text_of(entry, "data"),
            loader=loader,
            arch=text_of(entry, "arch"),
            workers=int_of(entry, "workers"),
            batch_size=int_of(entry, "batch_size"),
        ),
        status=Status.COMPLETE if rate is not None else Status.NO_SUMMARY,
        notes=notes,
        duplicate_of=None,
        rate_img_s=rate,
        bytes_per_image=finite(float_of(entry, "bytes_per_image")),
        fetch_stall_s=finite(float_of(entry, "fetch_stall_s")),
        prep_stall_s=finite(float_of(entry, "prep_stall_s")),
        compute_s=finite(float_of(entry, "compute_s")),
        images=int_of(entry, "images"),
        bound=text_of(entry, "bound"),
    )
