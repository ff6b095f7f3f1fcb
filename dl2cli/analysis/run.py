"""The analysis of a dataset, from its folder to the result."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from dl2cli.analysis.fidelity.images import Comparison
from dl2cli.analysis.image.quality import Engine, magick
from dl2cli.analysis.pool import OrderedPool
from dl2cli.analysis.scan_prefixes import GROUPS
from dl2cli.analysis.sources import Source, open_source
from dl2cli.analysis.summary.tally import Summary, Tally
from dl2cli.analysis.table.rows import CHEAP, Analysis, ImageRow, columns, row_from_line
from dl2cli.analysis.table.store import PART_SUFFIX, PartFile, check_result_path, write_result
from dl2cli.analysis.worker import CRASHED, Task, WorkerConfig, analyse, crashed, start
from dl2cli.cores import usable_cores
from dl2cli.errors import Interrupted, UsageError

_FORMAT = 2  # of the part file: count up when the rows' meaning changes
# How much work a chunk may hold, counted in images of which only the header is read: about 20 ms.
_CHUNK_WEIGHT = 256
_DECODED_WEIGHT = 8
_FIDELITY_WEIGHT = 256
_PCR_CHUNK_WEIGHT = 2048  # more, as a record is read by each worker that has images of it


@dataclass(frozen=True, slots=True)
class AnalysisConfig:
    """What to analyse, and how."""

    root: Path
    analyses: frozenset[Analysis] = CHEAP
    output: Path | None = None  # .csv, .jsonl or .parquet
    engine: Engine = Engine.NATIVE
    scans: int | None = None  # fidelity k of a PCR dataset; None is full fidelity
    max_pixels: int | None = None  # larger images are not decoded; None is the default limit
    sample: int | None = None  # images, None for all
    fidelity_samples: int = 64
    comparisons: tuple[Comparison, ...] = ()
    target_ms_ssim: float = 0.95
    seed: int = 0
    workers: int = field(default_factory=usable_cores)
    fresh: bool = False  # do not resume

    def __post_init__(self) -> None:
        counts = {
            "--workers": self.workers,
            "--sample": 1 if self.sample is None else self.sample,
            "--fidelity-samples": self.fidelity_samples,
        }
        for name, count in counts.items():
            if count < 1:
                raise UsageError(f"{name} must be at least 1, not {count}.")
        if not 0 < self.target_ms_ssim <= 1:
            raise UsageError("--target-msssim must be above 0 and at most 1.")


@dataclass(frozen=True, slots=True)
class AnalysisResult:
    """What a dataset is made of, and what it took to find out."""

    root: Path
    kind: str
    splits: tuple[str, ...]
    classes: int
    images_found: int
    ignored: int
    scans: int | None
    analyses: tuple[Analysis, ...]
    engine: Engine
    summary: Summary
    saved_bytes: float | None  # by the recommended k, of the whole dataset, by the sample's mean
    output: Path | None
    resumed: int  # images whose rows came from an interrupted run
    elapsed_s: float
    rate_img_s: float  # of the images that this run looked at


class Progress:
    """Is told how far an analysis has come; does nothing by itself."""

    def begin(self, total: int, resumed: int) -> None:
        """Begin with `total` images, of which an earlier run finished `resumed`."""

    def advance(self, row: ImageRow) -> None:
        """One more image is done."""


class Pool(Protocol):
    """Analyses images elsewhere: in processes of this machine, or on a cluster."""

    def map(self, chunks: Iterable[Sequence[Task]]) -> Iterator[str]:
        """Yield the line of each image, in order."""


def analyse_dataset(
    config: AnalysisConfig,
    progress: Progress | None = None,
    make_pool: Callable[[WorkerConfig], Pool] | None = None,
) -> AnalysisResult:
    """Analyse the images of a dataset in worker processes, or wherever `make_pool`'s pool does it.

    With an output, rows go to a part file beside it as they come, from which an interrupted run
    resumes; the output itself is written at the end, atomically.

    Raises:
        UsageError: The folder or an option is not one that can be used.
        DataError: There are no images; damage of single images is in the result instead.
        StorageError: The folder cannot be read, or the output cannot be written.
        MissingDependency: An optional part is not installed.
        Interrupted: The user pressed Ctrl-C.
    """
    began = time.perf_counter()
    _check(config)
    source = open_source(config.root, config.scans, config.max_pixels)
    run = _AnalysisRun(config, source, progress or Progress(), make_pool)
    try:
        summary = run.go()
    except KeyboardInterrupt:
        raise Interrupted(run.how_to_resume()) from None
    elapsed_s = time.perf_counter() - began
    return AnalysisResult(
        root=config.root,
        kind=source.kind,
        splits=source.splits,
        classes=len(source.classes),
        images_found=len(source.items),
        ignored=source.ignored,
        scans=config.scans,
        analyses=tuple(a for a in Analysis if a in config.analyses),
        engine=config.engine,
        summary=summary,
        saved_bytes=_saved_bytes(summary, len(source.items)),
        output=config.output,
        resumed=run.resumed,
        elapsed_s=elapsed_s,
        rate_img_s=(summary.images - run.resumed) / elapsed_s,
    )


def _saved_bytes(summary: Summary, images: int) -> float | None:
    report = summary.fidelity
    if report is None:
        return None
    return report.levels[report.groups - 1].mean_bytes * report.saved_share * images


def _check(config: AnalysisConfig) -> None:
    """Check for missing packages and folders before the work begins."""
    if config.output is not None:
        check_result_path(config.output)
    if config.engine is Engine.MAGICK and Analysis.QUALITY in config.analyses:
        magick()


class _AnalysisRun:
    def __init__(
        self,
        config: AnalysisConfig,
        source: Source,
        progress: Progress,
        make_pool: Callable[[WorkerConfig], Pool] | None,
    ) -> None:
        self.config = config
        self.make_pool = make_pool
        self.source = source
        self.progress = progress
        self.resumed = 0
        self.done = 0
        self.began = False  # what an earlier run left has been read
        self.tally = Tally(config.target_ms_ssim)
        self.indices, self.fidelity = _choose(config, len(source.items))

    def go(self) -> Summary:
        part = None
        if self.config.output is not None:
            part = PartFile(self.config.output, self._key())
        finished = False
        try:
            self._resume(part)
            for line in self._pool().map(self._chunks()):
                if part is not None:
                    part.append(line)
                self._add(row_from_line(line))
            if part is not None and self.config.output is not None:
                write_result(self.config.output, part.values(), self._columns())
            finished = True
        finally:
            if part is not None:
                part.close(remove=finished or self._keeps_nothing())
        return self.tally.result()

    def how_to_resume(self) -> str:
        """Return the error that says what an interruption leaves behind."""
        output = self.config.output
        if output is None:
            advice = "With -o FILE, a run can be interrupted and resumed."
        elif self._keeps_nothing():
            advice = "Nothing is kept."
        else:
            advice = f"They are kept in {output}{PART_SUFFIX}: run the same command again to go on."
        return f"interrupted after {self.done} of {len(self.indices)} images. {advice}"

    def _keeps_nothing(self) -> bool:
        return self.began and not self.done

    def _resume(self, part: PartFile | None) -> None:
        if part is not None:
            for row in part.resume(self._still_valid, fresh=self.config.fresh):
                self.tally.add(row)
                self.resumed += 1
                self.done = self.resumed
        self.began = True
        self.progress.begin(len(self.indices), self.resumed)

    def _add(self, row: ImageRow) -> None:
        self.tally.add(row)
        self.done += 1
        self.progress.advance(row)

    def _still_valid(self, row: ImageRow) -> bool:
        """Tell whether a row of the part file is about the next image, as it is now."""
        if self.resumed >= len(self.indices):
            return False
        item = self.source.items[self.indices[self.resumed]]
        path = self.source.root / item.name
        if row.mtime_ns is None:  # of a PCR dataset (see _key), or of a file that was unreadable
            again = not self.source.groups and row.error != CRASHED and os.access(path, os.R_OK)
            return row.file == item.name and not again
        try:
            status = path.stat()
        except OSError:
            return False
        found = item.name, status.st_size, status.st_mtime_ns
        return found == (row.file, row.size, row.mtime_ns)

    def _chunks(self) -> Iterator[list[Task]]:
        chunk: list[Task] = []
        weight = 0
        limit = _PCR_CHUNK_WEIGHT if self.source.groups else _CHUNK_WEIGHT
        cheap = _DECODED_WEIGHT if Analysis.STATS in self.config.analyses else 1
        for index in self.indices[self.resumed :]:
            item = self.source.items[index]
            task = Task(item, index in self.fidelity)
            if chunk and (weight >= limit or item.record != chunk[-1].item.record):
                yield chunk
                chunk, weight = [], 0
            chunk.append(task)
            weight += _FIDELITY_WEIGHT if task.fidelity else cheap
        if chunk:
            yield chunk

    def _pool(self) -> Pool:
        config = self.config
        worker = WorkerConfig(
            self.source.reader, config.analyses, config.engine, config.comparisons
        )
        if self.make_pool is not None:
            return self.make_pool(worker)
        return OrderedPool(analyse, crashed, workers=config.workers, start=start, config=worker)

    def _columns(self) -> dict[str, type]:
        settings: list[str] = []
        if Analysis.FIDELITY in self.config.analyses:
            settings = [f"k{k}" for k in range(1, self._groups() + 1)]
            settings += [comparison.setting for comparison in self.config.comparisons]
        return columns(self.config.analyses, settings)

    def _groups(self) -> int:
        return self.source.groups or GROUPS

    def _key(self) -> dict[str, object]:
        """Return what the rows depend on."""
        config = self.config
        return {
            "format": _FORMAT,
            "root": str(self.source.root.resolve()),
            "state": self.source.state,
            "images": self.source.fingerprint(self.indices),
            "fidelity": self.source.fingerprint(sorted(self.fidelity)),
            "analyses": sorted(a.value for a in config.analyses),
            "engine": config.engine.value,
            "scans": config.scans,
            "max_pixels": config.max_pixels,
            "comparisons": [comparison.setting for comparison in config.comparisons],
        }


def _choose(config: AnalysisConfig, count: int) -> tuple[list[int] | range, frozenset[int]]:
    """Return the images to analyse, in order, and the ones whose fidelity is measured.

    The same seed chooses the same images. If fidelity is the only analysis, only its sample is
    looked at.
    """
    rng = random.Random(config.seed)
    indices: list[int] | range = range(count)
    if config.sample is not None and config.sample < count:
        indices = sorted(rng.sample(indices, config.sample))
    if Analysis.FIDELITY not in config.analyses:
        return indices, frozenset()
    chosen = rng.sample(indices, min(config.fidelity_samples, len(indices)))
    if config.analyses == {Analysis.FIDELITY}:
        indices = sorted(chosen)
    return indices, frozenset(chosen)
