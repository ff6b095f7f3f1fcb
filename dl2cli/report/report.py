"""The report as one result object: what every rendering (terminal, CSV, HTML) shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dl2cli.report.compare import Clock, baselines, clocks, unused_options
from dl2cli.report.config import ReportConfig
from dl2cli.report.entries import Entry, build_entries, compared
from dl2cli.report.findings import findings
from dl2cli.report.io_stats import DiskStats, disk_stats
from dl2cli.report.model import Corpus, LogNote, QualityList, Severity
from dl2cli.report.tables import answer, context, learning, overview, speed, waits
from dl2cli.report.tables.table import Table, check_sort

TABLE_NAMES = (
    "answer",
    "overview",
    "throughput",
    "groups",
    "waits",
    "accuracy",
    "budget",
    "regimens",
    "codecs",
    "disk_io",
    "parameters",
    "warnings",
)


@dataclass(frozen=True, slots=True)
class Report:
    """Tables, findings in words and notes, and what they were made from."""

    tables: tuple[Table, ...]
    findings: tuple[str, ...]
    notes: tuple[LogNote, ...]
    entries: tuple[Entry, ...]
    baselines: Mapping[str, Entry]
    clocks: Mapping[str, Clock]
    disks: tuple[DiskStats, ...]
    corpus: Corpus
    config: ReportConfig

    @property
    def compared(self) -> list[Entry]:
        """The runs that plots and findings compare: no duplicates, no merged stages."""
        return compared(self.entries)

    @property
    def qualities(self) -> tuple[QualityList, ...]:
        """The quality histograms."""
        return self.corpus.qualities

    @property
    def damaged(self) -> bool:
        """Whether a file could not be read as what it claims to be."""
        return any(note.severity is Severity.ERROR for note in self.notes)

    def table(self, name: str) -> Table | None:
        """Return a table by its name, or None."""
        return next((table for table in self.tables if table.name == name), None)


def build_report(corpus: Corpus, config: ReportConfig) -> Report:
    """Compute everything from what was read.

    Raises:
        UsageError: a sort column, or a run to borrow an epoch time of, is not there.
    """
    entries, extra = build_entries(corpus, config)
    files = {entry.run.source.file for entry in entries}
    unrelated = {run.source.file for run in corpus.runs} - files
    extra += unused_options(entries, config) if entries else []
    notes = tuple(n for n in (*corpus.notes, *extra) if n.file not in unrelated)
    base = baselines(entries, config.baseline)
    times = clocks(entries, config)
    disks = tuple(
        d for d in disk_stats(corpus, config.drop_first) if d.run is None or _has(entries, d.run)
    )
    tables = [
        answer.answer(entries, base, times, config),
        overview.overview(entries),
        speed.throughput(entries, base, config.drop_first),
        *([speed.groups(entries, config.group_by)] if config.group_by else []),
        waits.waits(entries),
        learning.accuracy(entries, base, times, config),
        learning.budget(entries, times, config),
        learning.regimens(entries),
        speed.codecs(entries),
        speed.disk_io(disks),
        context.parameters(entries),
        context.warnings(notes),
    ]
    check_sort([t for t in tables if not config.tables or t.name in config.tables], config.sort)
    if config.sort:
        tables = [table.sorted_by(config.sort) for table in tables]
    return Report(
        tables=tuple(table for table in tables if table.rows),
        findings=tuple(findings(compared(entries), base, disks, notes)),
        notes=notes,
        entries=tuple(entries),
        baselines=base,
        clocks=times,
        disks=disks,
        corpus=corpus,
        config=config,
    )


def _has(entries: list[Entry], run: str) -> bool:
    return any(entry.name == run for entry in entries)
