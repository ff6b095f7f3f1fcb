"""Finds run logs under folders by their content, and reads each with the right reader."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from dl2cli.errors import DataError, UsageError
from dl2cli.report.model import (
    Corpus,
    DiskTrace,
    Kind,
    LogFile,
    LogNote,
    MemInfo,
    QualityList,
    RegimenLog,
    Run,
    RunSource,
    Severity,
)
from dl2cli.report.read import (
    bench_log,
    documents,
    quality_list,
    text_file,
    training_log,
)
from dl2cli.report.read.assemble import assemble
from dl2cli.report.read.disks import disk_statistics
from dl2cli.report.read.naming import stem_of
from dl2cli.report.read.runs import training_run
from dl2cli.report.read.values import natural_key, parse_json
from dl2cli.text import clean_text

LEGACY_TEXT = "Its text is not UTF-8, and was read as Windows-1252."
Content = Run | DiskTrace | MemInfo | QualityList | RegimenLog
Progress = Callable[[str, int, int], None]

_STAGE_FILE = re.compile(r".*_stage_\d{1,3}")
# Only of these an unreadable or empty file is worth a word: a log may be lost in it.
_LOG_SUFFIXES = (".json", ".log", ".jsonl", ".gz")


@dataclass(frozen=True, slots=True)
class FileResult:
    """What one file holds; `known` tells whether any reader took it."""

    contents: tuple[Content, ...] = ()
    notes: tuple[LogNote, ...] = ()
    known: bool = True
    log: LogFile | None = None


@dataclass(slots=True)
class Finder:
    """Reads folders; a file that did not change since the last call is not read again.

    `skip` names files and folders that are not input, such as the report's own page.
    """

    roots: Sequence[Path]
    skip: Sequence[Path] = ()
    _cache: dict[str, tuple[tuple[int, int], FileResult]] = field(default_factory=dict)

    def load(self, on_file: Progress | None = None) -> Corpus:
        """Read everything under the roots into one corpus.

        Raises:
            UsageError: a root does not exist.
        """
        notes: list[LogNote] = []
        files = list(self._files(notes))
        results: list[FileResult] = []
        for index, (file, path) in enumerate(files):
            if on_file is not None:
                on_file(file, index, len(files))
            results.append(self._read_cached(file, path))
        for result in results:
            notes += result.notes
        contents = [content for result in results for content in result.contents]
        known = sum(result.known for result in results)
        corpus = assemble(contents, notes, files_read=known, files_ignored=len(results) - known)
        return replace(
            corpus,
            roots=tuple(clean_text(str(root.absolute()), 1000) for root in self.roots),
            files=tuple(result.log for result in results if result.log is not None),
        )

    def signature(self) -> int:
        """Return a number that changes when a file under the roots appears, goes or changes."""
        return hash(tuple((file, *_stamp(path)) for file, path in self._files([])))

    def _files(self, notes: list[LogNote]) -> Iterator[tuple[str, Path]]:
        """Yield (relative name, path) in natural order, each path once."""
        seen = {_real(path) for path in self.skip}
        found: list[tuple[str, Path]] = []
        for root, label in zip(self.roots, _root_labels(self.roots), strict=True):
            for path in _walk(root, notes, seen):
                real = _real(path)
                if real in seen:
                    continue
                seen.add(real)
                found.append((_relative_name(path, root, label), path))
        yield from sorted(found, key=lambda item: natural_key(item[0]))

    def _read_cached(self, file: str, path: Path) -> FileResult:
        stamp = _stamp(path)
        cached = self._cache.get(str(path))
        if cached is None or cached[0] != stamp:
            result = _read_file(file, path)
            if result.known and result.contents:
                result = replace(result, log=LogFile(file, stamp[1], text_file.sha256_of(path)))
            cached = (stamp, result)
            self._cache[str(path)] = cached
        return cached[1]


def _real(path: Path) -> str:
    """Return a path without links, or with those that lead nowhere or may not be followed."""
    try:
        return os.path.realpath(path)
    except OSError:
        return str(path.absolute())


def _root_labels(roots: Sequence[Path]) -> list[str]:
    """Return what to put before names so that several roots cannot be mixed up."""
    if len(roots) == 1:
        return [""]
    names = [Path(_real(root)).name for root in roots]
    return [
        name if names.count(name) == 1 else str(root).strip("/")
        for name, root in zip(names, roots, strict=True)
    ]


def _relative_name(path: Path, root: Path, label: str) -> str:
    relative = path.relative_to(root) if path != root else Path(path.name)
    if label and path != root:
        relative = label / relative
    elif relative.parent == Path():
        # A log right in the folder given: the folder's name is the name of its run.
        relative = Path(_real(path)).parent.name / relative
    return clean_text(relative.as_posix(), 1000)


def _walk(root: Path, notes: list[LogNote], skip: Set[str]) -> Iterator[Path]:
    if not root.exists():
        reason = "is a link that leads nowhere" if os.path.lexists(root) else "does not exist"
        raise UsageError(f"{clean_text(str(root))} {reason}: name a folder with run logs.")
    if not root.is_dir():
        yield root
        return

    def complain(error: OSError) -> None:
        if isinstance(error, FileNotFoundError):
            return  # it went while the folders were walked
        name = clean_text(str(error.filename))
        notes.append(LogNote(Severity.ERROR, "unreadable", f"{name}: {error.strerror}.", name))

    for directory, subdirs, names in os.walk(root, onerror=complain):
        subdirs[:] = sorted(
            name
            for name in subdirs
            if not name.startswith(".") and _real(Path(directory, name)) not in skip
        )
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(directory) / name


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, -1)
    return (found.st_mtime_ns, found.st_size)


def _read_file(file: str, path: Path) -> FileResult:
    likely = path.suffix.lower() in _LOG_SUFFIXES
    try:
        head, encoding = text_file.read_head(path)
        if not head.strip():
            note = LogNote(Severity.ERROR, "empty", "The file is empty.", file)
            return FileResult((), (note,) if likely else (), known=likely)
        found = _read_by_content(file, path, head)
    except DataError as error:
        reason = clean_text(str(error))
        note = LogNote(Severity.ERROR, "unreadable", reason, file)
        return FileResult((), (note,) if likely else (), known=likely)
    if found.known and encoding is not None:
        text = f"Its text is encoded as {encoding}, and was read so."
        if encoding == "mac":
            text = "Its lines end with CR alone."
        found = replace(found, notes=(*found.notes, LogNote(Severity.INFO, "text", text, file)))
    return found


def _read_by_content(file: str, path: Path, head: bytes) -> FileResult:
    source = _source(file)
    if training_log.looks_like_training_log(head):
        return _read_training_log(path, source)
    if disk_statistics.is_meminfo(head):
        memory = disk_statistics.meminfo(head.decode(errors="replace"), file)
        return FileResult((memory,), memory.notes)
    if quality_list.is_quality_list(head):
        qualities = quality_list.quality_list(path, file)
        return FileResult((qualities,), qualities.notes)
    if head.lstrip()[:1] == b"{":
        return _read_json(path, source)
    return FileResult(known=False)


def _source(file: str) -> RunSource:
    pure = PurePosixPath(file)
    group = pure.parent.parent.as_posix()
    return RunSource(stem_of(file), file, "" if group == "." else group)


def _read_training_log(path: Path, source: RunSource) -> FileResult:
    sessions = training_log.read_sessions(path)
    kind = Kind.STAGE if _STAGE_FILE.fullmatch(PurePosixPath(source.run).name) else Kind.TRAIN
    notes: tuple[LogNote, ...] = ()
    sources = [source]
    if len(sessions) > 1:
        text = f"{len(sessions)} sessions stand in one file; each is a run of its own."
        notes = (LogNote(Severity.ERROR, "several sessions", text, source.file),)
        sources = [
            RunSource(f"{source.run}#{number}", source.file, source.group)
            for number in range(1, len(sessions) + 1)
        ]
    runs = tuple(
        training_run(session, own, kind) for session, own in zip(sessions, sources, strict=True)
    )
    return FileResult(runs, notes)


def _read_json(path: Path, source: RunSource) -> FileResult:
    text, legacy = text_file.decoded(text_file.read_document(path))
    try:
        document = parse_json(text)
    except ValueError as error:
        salvaged = disk_statistics.salvage_iostat(text, source.file)
        if salvaged is not None:
            return FileResult((salvaged,), salvaged.notes)
        words = f"It is not valid JSON: {clean_text(str(error))}."
        note = LogNote(Severity.ERROR, "damaged", words, source.file)
        likely = path.suffix.lower() in _LOG_SUFFIXES
        return FileResult((), (note,) if likely else (), known=likely)
    if not isinstance(document, dict):
        return FileResult(known=False)
    result = _read_document(document, source)
    if legacy and result.known:
        note = LogNote(Severity.WARNING, "text", LEGACY_TEXT, source.file)
        result = replace(result, notes=(*result.notes, note))
    return result


def _read_document(document: dict[str, object], source: RunSource) -> FileResult:
    if documents.is_standalone(document):
        return FileResult((documents.standalone_run(document, source),))
    if documents.is_codec(document):
        return FileResult((documents.codec_run(document, source),))
    if documents.is_regimen_log(document):
        return FileResult((documents.regimen_log(document, source.file),))
    if disk_statistics.is_iostat(document):
        trace = disk_statistics.iostat_trace(document, source.file)
        return FileResult((trace,), trace.notes)
    if bench_log.is_bench(document):
        runs, notes = bench_log.bench_runs(document, source)
        return FileResult(tuple(runs), notes)
    return FileResult(known=False)
