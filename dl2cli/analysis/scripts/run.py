"""A search for a scan script from the dataset to the report; an interrupted one goes on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np

from dl2cli.analysis.fidelity.images import Comparison
from dl2cli.analysis.scripts import lossy
from dl2cli.analysis.scripts.candidate import BORDERS, is_on_borders
from dl2cli.analysis.scripts.journal import SUFFIX, Journal
from dl2cli.analysis.scripts.measure import (
    NOTHING,
    RESIZE_MARGIN,
    Measurements,
    Tables,
    states_of,
)
from dl2cli.analysis.scripts.objective import Floats, Metric, Objective
from dl2cli.analysis.scripts.result import (
    LossyLevel,
    ScriptCurve,
    ScriptLevel,
    ScriptReport,
    equivalents,
    on_front,
)
from dl2cli.analysis.scripts.sample import ScriptSample, draw
from dl2cli.analysis.scripts.search import Found, Search, byte_curve, decode_curve, whole_cost
from dl2cli.analysis.sources import Source, open_source
from dl2cli.cores import usable_cores
from dl2cli.errors import Interrupted, UsageError
from dl2cli.output_file import check_output_file, write_output
from dl2cli.pcr.scan_script import BUILT_IN, MAX_SCANS, ScanScript
from dl2cli_native import _core

_FORMAT: Final = 1  # of the journal: count up when measurements change
MIN_GROUPS: Final = 3
MAX_SIZE: Final = 2048


@dataclass(frozen=True)
class ScriptSearchConfig:
    """What a script is looked for, and on what.

    Attributes:
        root: an ImageFolder, a folder of images, or a PCR dataset; its JPEGs are measured.
        objective: what is looked for.
        samples: images to measure.
        size: the training size at which quality is measured; 0 for whole images.
        max_groups: the most scan groups of the script.
        seed: of the sample and the search.
        comparisons: lossy formats to show beside the script.
        script_file: where to write the script; the measurements of an interrupted search are kept
            beside it.
        workers: threads.
        fresh: do not go on with an interrupted search.
        name: of the script.
    """

    root: Path
    objective: Objective = field(default_factory=Objective)
    samples: int = 200
    size: int = 224
    max_groups: int = 10
    seed: int = 0
    comparisons: tuple[Comparison, ...] = ()
    script_file: Path | None = None
    workers: int = field(default_factory=usable_cores)
    fresh: bool = False
    name: str = "found"

    def __post_init__(self) -> None:
        if self.samples < 1 or self.workers < 1:
            raise UsageError("A search needs at least one image and one thread.")
        if self.size and not 32 <= self.size <= MAX_SIZE:
            raise UsageError(
                f"The training size must be 32 to {MAX_SIZE} pixels, or 0 for whole images, not "
                f"{self.size}."
            )
        if not MIN_GROUPS <= self.max_groups <= MAX_SCANS:
            raise UsageError(
                f"The number of scan groups must be {MIN_GROUPS} to {MAX_SCANS}, not "
                f"{self.max_groups}."
            )
        target = self.objective.target
        if target is not None and self.objective.metric is not Metric.PSNR and not 0 < target < 1:
            raise UsageError(
                f"A target of SSIM or MS-SSIM must be above 0 and below 1: {target:g}."
            )
        price = self.objective.price_kb_per_ms
        if price is not None and not 0 <= price < float("inf"):
            raise UsageError(f"The price of a millisecond must be at least 0 kB, not {price:g}.")


class SearchProgress:
    """Told how far a search is; does nothing by itself."""

    def begin(self, what: str, total: int) -> None:
        """Begin a stage of so many parts."""

    def advance(self, done: int, note: str = "") -> None:
        """So many parts of the stage are done."""

    def resumed(self, count: int) -> None:
        """So many measurements of an interrupted run are there."""


def search_scripts(
    config: ScriptSearchConfig, progress: SearchProgress | None = None
) -> ScriptReport:
    """Look for the scan script that suits a dataset best.

    Raises:
        UsageError: the folder or an option is not one that can be used.
        DataError: there are no images that can be measured.
        StorageError: the folder cannot be read, or a file cannot be written.
        Interrupted: the user pressed Ctrl-C; with a script file, measurements are kept.
    """
    told = progress or SearchProgress()
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    if config.script_file is not None:
        check_output_file(config.script_file)
    source = open_source(config.root)
    journal: Journal | None = None
    measurements: Measurements | None = None
    finished = False
    try:
        sample = _draw(config, source, told)
        journal = _journal(config, source, sample)
        measurements = Measurements(sample, config.size, config.workers, journal)
        if measurements.states_resumed:
            told.resumed(measurements.states_resumed)
        report = _SearchRun(config, measurements, told).go()
        if config.script_file is not None:
            write_output(config.script_file, _file_text(report).encode())
        finished = True
    except KeyboardInterrupt:
        raise Interrupted(_how_to_resume(config, measurements)) from None
    finally:
        if measurements is not None:
            measurements.close()
        if journal is not None:
            journal.close(remove=finished)
    return replace(
        report,
        elapsed_s=time.perf_counter() - start_s,
        cpu_s=time.process_time() - start_cpu_s,
        script_file=config.script_file,
    )


def _draw(config: ScriptSearchConfig, source: Source, told: SearchProgress) -> ScriptSample:
    total = min(config.samples, len(source.items))
    told.begin("Reading images", total)
    return draw(
        source, config.samples, seed=config.seed, workers=config.workers, progress=told.advance
    )


def _journal(config: ScriptSearchConfig, source: Source, sample: ScriptSample) -> Journal | None:
    if config.script_file is None:
        return None
    path = Path(os.path.realpath(config.script_file))
    if path.exists() and not path.is_file():
        return None  # /dev/stdout and the like have no file beside them
    names = {name: i for i, name in enumerate(sample.names)}
    indices = [i for i, item in enumerate(source.items) if item.name in names]
    key = {
        "format": _FORMAT,
        "root": str(source.root.resolve()),
        "state": [list(each) for each in source.state],
        "images": source.fingerprint(indices),
        "bytes": [image.memory_bytes for image in sample.images],
        "seed": config.seed,
        "size": config.size,
    }
    return Journal(path.with_name(path.name + SUFFIX), key, fresh=config.fresh)


def _how_to_resume(config: ScriptSearchConfig, measurements: Measurements | None) -> str:
    if config.script_file is None:
        return "Interrupted. With --script-file FILE, a search can be interrupted and resumed."
    if measurements is None:
        return "Interrupted before anything was measured."
    return (
        f"Interrupted. What was measured is kept in {config.script_file}{SUFFIX}: run the same "
        "command again to go on."
    )


def _file_text(report: ScriptReport) -> str:
    """Return the script with a comment on where it comes from."""
    objective = report.objective
    lines = [
        f"Found by dl2 analyze-images -a scripts: {report.images:,} images, seed {report.seed},",
        f"for {objective.goal.value}, quality by {objective.metric.value} at "
        + (f"{report.size} pixels." if report.size else "full size."),
        *report.sentences,
    ]
    return "".join(f"# {line}\n" for line in lines) + report.found.text


class _SearchRun:
    """The search proper, and the curves of the report."""

    def __init__(
        self, config: ScriptSearchConfig, measurements: Measurements, told: SearchProgress
    ) -> None:
        self.config = config
        self.measurements = measurements
        self.told = told

    def go(self) -> ScriptReport:
        config, told = self.config, self.told
        images = len(self.measurements.sample.images)
        told.begin("Weighing scans", images)
        tables = self.measurements.tables(told.advance)
        found = self._search(tables)
        scripts = [ScanScript(config.name, found.scans)]
        scripts += [script for script in BUILT_IN.values() if is_on_borders(script.scans)]
        told.begin("Measuring scripts", images)
        states = [NOTHING, *(s for script in scripts for s in states_of(script.scans))]
        qualities = self.measurements.qualities(states, progress=told.advance)
        curves = [self._curve(tables, script, qualities) for script in scripts]
        levels = self._lossy(tables)
        first, *others = _mark_front(curves, levels, config.objective.metric)[0]
        metric, target = config.objective.metric, config.objective.target
        meets = [
            e.scans for e in first.levels if target is not None and e.quality(metric) >= target
        ]
        return ScriptReport(
            root=config.root,
            images=images,
            left_out=self.measurements.sample.left_out,
            size=config.size,
            objective=config.objective,
            seed=config.seed,
            max_groups=config.max_groups,
            found=first,
            others=tuple(others),
            lossy=_mark_front(curves, levels, metric)[1],
            equivalents=equivalents(first, others[:1], metric),
            target_scans=meets[0] if meets else None,
            scripts_looked_at=found.scripts_looked_at,
            scripts_measured=found.scripts_measured,
            states_resumed=self.measurements.states_resumed,
            elapsed_s=0.0,
            cpu_s=0.0,
        )

    def _search(self, tables: Tables) -> Found:
        def tell(done: int, total: int, score_db: float) -> None:
            if done == 1:
                self.told.begin("Searching", total)
            self.told.advance(done, f"{score_db:.2f} dB")

        self.told.begin("Searching", 0)
        return Search(
            self.measurements,
            tables,
            self.config.objective,
            max_groups=self.config.max_groups,
            seed=self.config.seed,
            progress=tell,
        ).run()

    def _curve(
        self, tables: Tables, script: ScanScript, qualities: dict[bytes, Floats]
    ) -> ScriptCurve:
        sizes = byte_curve(tables, script.scans)
        times = decode_curve(tables, script.scans)
        whole_bytes = whole_cost(tables)[0]
        states = states_of(script.scans)
        price = self.config.objective.price(*whole_cost(tables))
        column = self.config.objective.metric.column
        values = np.array([qualities[state] for state in states])
        costs = price[0] * sizes + price[1] * times
        nothing = float(qualities[NOTHING][column])
        levels = []
        for k, (psnr_db, ssim, ms_ssim) in enumerate(values.tolist(), start=1):
            exact = k == script.groups
            levels.append(
                ScriptLevel(
                    scans=k,
                    mean_bytes=float(sizes[k - 1]),
                    share=float(sizes[k - 1] / whole_bytes),
                    decode_ms_estimate=float(times[k - 1]),
                    psnr_db=None if exact else psnr_db,
                    ssim=ssim,
                    ms_ssim=ms_ssim,
                )
            )
        score = self.config.objective.score(costs, values[:, column], nothing)
        return ScriptCurve(script.name, script.text, score, tuple(levels))

    def _lossy(self, tables: Tables) -> tuple[LossyLevel, ...]:
        config = self.config
        if not config.comparisons:
            return ()
        images: Sequence[_core.TrialImage] = self.measurements.sample.images
        self.told.begin("Encoding anew", len(images))
        progress: Callable[[int], None] = self.told.advance
        rows = lossy.measure(images, config.comparisons, config.size, config.workers, progress)
        whole_bytes = whole_cost(tables)[0]
        return tuple(
            LossyLevel(each.setting, row[0], row[0] / whole_bytes, row[1], row[2], row[3])
            for each, row in zip(config.comparisons, rows.tolist(), strict=True)
        )


def _mark_front(
    curves: Sequence[ScriptCurve], levels: tuple[LossyLevel, ...], metric: Metric
) -> tuple[list[ScriptCurve], tuple[LossyLevel, ...]]:
    """Mark what no other script's level beats, and the lossy levels that no script beats."""
    points = [(e.mean_bytes, e.quality(metric)) for curve in curves for e in curve.levels]
    marks = iter(on_front(points))
    marked = [
        replace(curve, levels=tuple(replace(e, on_front=next(marks)) for e in curve.levels))
        for curve in curves
    ]
    column = metric.column
    beaten = [
        any(
            cost <= e.mean_bytes and q >= (e.psnr_db, e.ssim, e.ms_ssim)[column]
            for cost, q in points
        )
        for e in levels
    ]
    return marked, tuple(replace(e, on_front=not b) for e, b in zip(levels, beaten, strict=True))


assert BORDERS[-1] == 64 and RESIZE_MARGIN > 0
