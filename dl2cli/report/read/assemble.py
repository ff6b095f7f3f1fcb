"""From the contents of files to one corpus: names of runs, regimens, duplicates, order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from dl2cli.report.model import (
    CodecRun,
    Corpus,
    DiskTrace,
    Kind,
    LogNote,
    MemInfo,
    QualityList,
    RegimenLog,
    RegimenRun,
    Run,
    Severity,
    StandaloneRun,
    Status,
    TrainingRun,
)
from dl2cli.report.read.naming import stem_of
from dl2cli.report.read.runs import regimen_run
from dl2cli.report.read.values import natural_key


def assemble(
    contents: Sequence[object], notes: Iterable[LogNote], *, files_read: int, files_ignored: int
) -> Corpus:
    """Build the corpus of what was read."""
    runs = _named([content for content in contents if isinstance(content, Run)])
    journals = {c.directory: c for c in contents if isinstance(c, RegimenLog)}
    runs = _with_regimens(runs, journals)
    runs.sort(key=lambda run: (natural_key(run.source.file), natural_key(run.source.run)))
    runs = _mark_duplicates(runs)
    lonely = [
        LogNote(Severity.WARNING, "missing stage", "There are no stages beside it.", journal.file)
        for journal in journals.values()
        if not any(run.kind is Kind.REGIMEN and run.source.run == journal.directory for run in runs)
    ]
    return Corpus(
        runs=tuple(runs),
        traces=tuple(c for c in contents if isinstance(c, DiskTrace)),
        meminfos=tuple(c for c in contents if isinstance(c, MemInfo)),
        qualities=tuple(c for c in contents if isinstance(c, QualityList)),
        notes=(*notes, *lonely, *(note for run in runs for note in run.notes)),
        files_read=files_read,
        files_ignored=files_ignored,
    )


def _named(runs: Sequence[Run]) -> list[Run]:
    """Name runs by directory where it holds one file of runs, else by directory and stem.

    `experiment_report_stage_0` is `stage_0` for short. A measurement of bench-io has its own name,
    after that of its file, whatever folder the file lies in.
    """
    files = {run.source.file for run in runs}
    benches = Counter(
        PurePosixPath(file).name
        for file in {run.source.file for run in runs if run.kind is Kind.BENCH}
    )
    count = Counter(PurePosixPath(file).parent for file in files)
    used: Counter[str] = Counter()
    named: list[Run] = []
    for run in runs:
        stem = stem_of(run.source.file)
        name = str(PurePosixPath(stem).parent)
        # A stage never has its directory's name: that is its regimen's.
        if count[PurePosixPath(stem).parent] > 1 or run.kind is Kind.STAGE:
            name += "/" + PurePosixPath(stem).name.removeprefix("experiment_report_")
        measurement = run.source.run.removeprefix(stem)
        if run.kind is Kind.BENCH:
            file = PurePosixPath(run.source.file)
            name = PurePosixPath(stem).name if benches[file.name] == 1 else stem
            measurement = ": " + measurement.removeprefix("#")
        name += measurement
        used[name] += 1
        if used[name] > 1:
            name += f" ({used[name]})"
        named.append(replace(run, source=replace(run.source, run=name)))
    return named


def _with_regimens(runs: Sequence[Run], journals: Mapping[str, RegimenLog]) -> list[Run]:
    stages: dict[str, list[TrainingRun]] = defaultdict(list)
    for run in runs:
        if isinstance(run, TrainingRun) and run.kind is Kind.STAGE:
            stages[str(PurePosixPath(run.source.file).parent)].append(run)
    result: list[Run] = list(runs)
    for directory, members in stages.items():
        journal = journals.get(directory)
        if len(members) > 1 or journal is not None:
            result.append(regimen_run(directory, members[0].source.group, members, journal))
    return result


def _identity(run: Run) -> Hashable:
    """Return what two copies of an experiment share, or None where that cannot be told.

    A training is known by the microsecond of its start, so that a copy that was cut is found too.
    """
    match run:
        case TrainingRun(start_unix_s=float() as start):
            setup = run.setup
            return ("train", start, setup.experiment_name, setup.arch, setup.data_path)
        case RegimenRun():
            return ("regimen", tuple(_identity(stage) for stage in run.stages))
        case StandaloneRun():
            return ("standalone", run.total_s, run.epoch_times_s)
        case CodecRun():
            return ("codec", run.total_s, run.times_s)
    return None


def _mark_duplicates(runs: Sequence[Run]) -> list[Run]:
    """Mark all but the most complete of each set of copies."""
    groups: dict[Hashable, list[Run]] = defaultdict(list)
    for run in runs:
        if (identity := _identity(run)) is not None:
            groups[identity].append(run)
    result: list[Run] = []
    for run in runs:
        best = max(groups.get(_identity(run)) or [run], key=_completeness)
        if best.source.run != run.source.run:
            text = f"The same experiment as {best.source.run}: left out of comparisons."
            note = LogNote(Severity.WARNING, "duplicate", text, run.source.file)
            run = replace(  # noqa: PLW2901
                run, duplicate_of=best.source.run, notes=(*run.notes, note)
            )
        result.append(run)
    return result


def _completeness(run: Run) -> tuple[int, bool]:
    epochs = len(run.epochs) if isinstance(run, TrainingRun) else 0
    return (epochs, run.status is Status.COMPLETE)
