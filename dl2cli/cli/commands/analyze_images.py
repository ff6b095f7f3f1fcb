"""`dl2 analyze-images`: what a dataset is made of, and how far it can be compressed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, option
from dl2cli.cli.framework.output import Output, printable
from dl2cli.cli.framework.searching import search_progress
from dl2cli.cli.framework.shared import JSON, MOST_PIXELS, PREPARE, RESUME, SCHEDULER, SEED
from dl2cli.cli.screens.analyze import render
from dl2cli.cli.screens.scripts import render_scripts
from dl2cli.cores import usable_cores
from dl2cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from dl2cli.analysis.run import AnalysisConfig, AnalysisResult, Pool, Progress
    from dl2cli.analysis.scripts.result import ScriptReport
    from dl2cli.analysis.table.rows import Analysis, ImageRow
    from dl2cli.analysis.worker import WorkerConfig

_FIDELITY_SAMPLES = 64
_TARGET_MS_SSIM = 0.95
_SCRIPT_COMPARISONS = ("jpeg:30,50,75", "webp:30,50,75")

_TEXT = """
DATASET is an ImageFolder (one folder per class), with or without train/ and val/; a folder of
images; or a PCR dataset. It is only read, never changed. Damaged files are listed with their reason
and do not stop the run; the exit code is then 3.

The analyses are quality (the same as ImageMagick's %Q), size (bytes and pixels), stats (mean and
deviation of the colours; decodes each image), jpeg (subsampling, scans, EXIF orientation, ICC
profile, tables), fidelity (MS-SSIM, SSIM and PSNR at each number of scan groups, for a sample) and
scripts. The last searches for the scan script that gives the most quality, at the training size,
for what a reader pays; it takes a minute or two. With --script-file, an interrupted search goes on.

With -o, rows go to FILE.part as they come: to continue an interrupted run, give the same command
again. FILE is written at the end, in one piece.
"""


@dataclass(frozen=True)
class AnalyzeReport:
    """The analysis, the plots that were drawn, and what a search for scan scripts found.

    `analysis` is None where -a scripts was all that was asked for.
    """

    analysis: AnalysisResult | None
    plots: tuple[Path, ...]
    scripts: ScriptReport | None = None


class _Choice(Options):
    """What is analysed."""

    panel = "What is analysed"

    analyses: tuple[
        Literal["quality", "size", "stats", "jpeg", "fidelity", "all", "scripts"], ...
    ] = option(
        "Choose the analyses; all is without scripts.",
        "--analyses",
        "-a",
        metavar="LIST",
        default=(),
        shown="all but fidelity and scripts",
    )
    sample: int | None = option("Analyse this many images, drawn at random.", least=1, shown="all")
    scans: int | None = option(
        "Analyse a PCR dataset at fidelity K.", metavar="K", least=1, shown="all scan groups"
    )
    engine: Literal["native", "magick"] = option(
        "Estimate qualities with dl2's own code or with ImageMagick; the values are the same.",
        default="native",
    )
    max_pixels: int | None = option(
        "Do not decode images that have more pixels than this; a note counts them.",
        least=1,
        shown="100000000, or what a PCR dataset was converted with",
    )
    seed: int = SEED


class _Fidelity(Options):
    """What -a fidelity measures."""

    panel = "Fidelity (with -a fidelity)"

    fidelity_samples: int | None = option(
        "Measure this many images.", least=1, shown=str(_FIDELITY_SAMPLES)
    )
    target_msssim: float | None = option(
        "Recommend the smallest k that reaches this mean MS-SSIM.", shown=str(_TARGET_MS_SSIM)
    )
    compare: list[str] | None = option(
        "Measure these lossy formats beside the scan groups, or none. Repeatable. Also for "
        "-a scripts.",
        metavar="FORMAT:Q,Q",
        shown="jpeg:50,75,90",
    )


class _Scripts(Options):
    """What -a scripts looks for."""

    panel = "Scan scripts (with -a scripts)"

    objective: Literal["bytes", "decode", "both"] | None = option(
        "Hold quality against bytes, decode time, or both at --price.", shown="bytes"
    )
    price: float | None = option(
        "Count a millisecond of decode time as so many kB, for the objective both.",
        metavar="KB",
        least=0,
        shown="as much as the whole images of default have of each",
    )
    metric: Literal["msssim", "ssim", "psnr"] | None = option(
        "Measure quality by this.", shown="msssim"
    )
    train_size: int | None = option(
        "Measure it at this size in pixels, after the crop and resize of an evaluation; 0: whole "
        "images.",
        least=0,
        shown="224",
    )
    groups: int | None = option("Use at most this many scan groups.", metavar="G", shown="10")
    script_target: float | None = option(
        "Have one k reach this quality, for as little as possible.", metavar="QUALITY"
    )
    script_samples: int | None = option("Measure this many images.", least=1, shown="200")
    script_file: Path | None = option(
        "Write the script to this file, for --scan-script.", metavar="FILE"
    )


class _Results(Options):
    """What is written."""

    panel = "Output and run"

    output: Path | None = option(
        "Write a row for each image to a .csv, .jsonl or .parquet file.",
        "--output",
        "-o",
        metavar="FILE",
    )
    plots: Path | None = option("Draw plots into this folder.", metavar="DIR")
    plot_format: Literal["png", "svg"] | None = option("Draw plots in this format.", shown="png")
    resume: bool = RESUME
    workers: int | None = option(
        "Use this many processes.", "--workers", "-w", least=1, shown="all cores"
    )
    scheduler: str | None = SCHEDULER
    json: bool = JSON


class AnalyzeOptions(_Choice, _Fidelity, _Scripts, _Results):
    """The options of `dl2 analyze-images`."""

    dataset: Path = argument(
        "DATASET", "The images to analyse; PCR datasets also by URL.", url=True
    )


def analyze_images(options: AnalyzeOptions) -> None:
    """Analyse the images of a dataset, and write and show what was found."""
    searching = "scripts" in options.analyses
    others = tuple(name for name in options.analyses if name != "scripts")
    config = _config(options, others)
    _check_combinations(options, others, searching=searching)
    kind = options.plot_format or "png"
    if options.plots is not None:
        from dl2cli.analysis.summary.plots import check_plots

        check_plots(options.plots, kind)
    sink = Output(json_mode=options.json)
    analysis: AnalysisResult | None = None
    if others or not searching:
        analysis = _analyse(options, config, sink)
    scripts: ScriptReport | None = None
    drawn: tuple[Path, ...] = ()
    try:
        if searching:
            scripts = _search(options, sink)
        drawn = _draw(analysis, scripts, options.plots, kind)
    finally:  # a disk that is full must not cost what took minutes to find out
        parts = render(analysis, drawn if scripts is None else ()) if analysis else []
        parts += render_scripts(scripts, drawn) if scripts else []
        if analysis or scripts:
            from dl2cli.provenance import provenance

            sink.result(
                AnalyzeReport(analysis, drawn, scripts),
                *parts,
                provenance=lambda: provenance(config, data=options.dataset),
            )
    if analysis and analysis.summary.failures:
        raise typer.Exit(ExitCode.BAD_DATA)


def _check_combinations(
    options: AnalyzeOptions, others: tuple[str, ...], *, searching: bool
) -> None:
    """Refuse options that do nothing."""
    fidelity = "fidelity" in others or "all" in others
    if not fidelity:
        _refuse("-a fidelity", {
            "--fidelity-samples": options.fidelity_samples,
            "--target-msssim": options.target_msssim,
            "--compare": None if searching else options.compare,
        })  # fmt: skip
    if not searching:
        _refuse("-a scripts", {
            "--objective": options.objective,
            "--price": options.price,
            "--metric": options.metric,
            "--train-size": options.train_size,
            "--groups": options.groups,
            "--script-target": options.script_target,
            "--script-samples": options.script_samples,
            "--script-file": options.script_file,
        })  # fmt: skip
    if options.objective != "both":
        _refuse("--objective both", {"--price": options.price})
    if options.plots is None:
        _refuse("--plots DIR", {"--plot-format": options.plot_format})


def _config(options: AnalyzeOptions, names: tuple[str, ...]) -> AnalysisConfig:
    from dl2cli.analysis.fidelity.images import DEFAULT_COMPARISONS, parse_comparisons
    from dl2cli.analysis.image.quality import Engine
    from dl2cli.analysis.run import AnalysisConfig

    return AnalysisConfig(
        # A cluster's workers have another working directory.
        root=options.dataset.absolute() if options.scheduler else options.dataset,
        analyses=_analyses(names),
        output=options.output,
        engine=Engine(options.engine),
        scans=options.scans,
        max_pixels=options.max_pixels and min(options.max_pixels, MOST_PIXELS),
        sample=options.sample,
        fidelity_samples=options.fidelity_samples or _FIDELITY_SAMPLES,
        comparisons=parse_comparisons(options.compare or list(DEFAULT_COMPARISONS)),
        target_ms_ssim=(
            _TARGET_MS_SSIM if options.target_msssim is None else options.target_msssim
        ),
        seed=options.seed,
        workers=options.workers or usable_cores(),
        fresh=not options.resume,
    )


def _analyse(options: AnalyzeOptions, config: AnalysisConfig, sink: Output) -> AnalysisResult:
    from dl2cli.analysis.run import analyse_dataset

    with _progress(sink, f"Analysing {options.dataset.name}") as progress:
        return analyse_dataset(config, progress, _pool_maker(options, sink))


def _search(options: AnalyzeOptions, sink: Output) -> ScriptReport:
    from dl2cli.analysis.fidelity.images import parse_comparisons
    from dl2cli.analysis.scripts.objective import Goal, Metric, Objective
    from dl2cli.analysis.scripts.run import ScriptSearchConfig, search_scripts

    defaults = ScriptSearchConfig(options.dataset)
    config = ScriptSearchConfig(
        root=options.dataset,
        objective=Objective(
            goal=Goal(options.objective or "bytes"),
            metric=Metric(options.metric or "msssim"),
            price_kb_per_ms=options.price,
            target=options.script_target,
        ),
        samples=options.script_samples or defaults.samples,
        size=defaults.size if options.train_size is None else options.train_size,
        max_groups=defaults.max_groups if options.groups is None else options.groups,
        seed=options.seed,
        comparisons=parse_comparisons(options.compare or list(_SCRIPT_COMPARISONS)),
        script_file=options.script_file,
        workers=options.workers or defaults.workers,
        fresh=not options.resume,
    )
    with search_progress(sink) as progress:
        return search_scripts(config, progress)


COMMAND = Command(
    name="analyze-images",
    options=AnalyzeOptions,
    run=analyze_images,
    about="Show what a dataset is made of: JPEG qualities, sizes, colours, oddities, and fidelity "
    "per scan.",
    text=_TEXT,
    examples=(
        "training_set -o images.csv",
        "out/train -a fidelity --plots plots/",
        "training_set -a scripts --script-file photos.scans",
    ),
    group=PREPARE,
)


def _pool_maker(options: AnalyzeOptions, sink: Output) -> Callable[[WorkerConfig], Pool] | None:
    """Return what makes the pool of a cluster; None for the processes of this machine."""
    scheduler = options.scheduler
    if scheduler is None:
        return None
    from dl2cli.cluster.dask_pool import DaskPool

    return lambda config: DaskPool(scheduler, config, sink.message)


def _refuse(needed: str, options: dict[str, object]) -> None:
    """Refuse options that were given and do nothing, because `needed` was not."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{name} does nothing without {needed}: give both or neither.")


def _analyses(names: tuple[str, ...]) -> frozenset[Analysis]:
    from dl2cli.analysis.table.rows import CHEAP, Analysis

    if "all" in names:
        return frozenset(Analysis)
    return frozenset(Analysis(name) for name in names) or CHEAP


def _draw(
    analysis: AnalysisResult | None,
    scripts: ScriptReport | None,
    folder: Path | None,
    kind: str,
) -> tuple[Path, ...]:
    if folder is None:
        return ()
    drawn: tuple[Path, ...] = ()
    if analysis is not None:
        from dl2cli.analysis.summary.plots import write_plots

        title = printable(analysis.root.resolve().name)
        drawn = write_plots(analysis.summary, title, folder, kind)
    if scripts is not None:
        from dl2cli.analysis.scripts.plot import write_plot

        title = printable(scripts.root.resolve().name)
        drawn += (write_plot(scripts, title, folder, kind),)
    return drawn


@contextmanager
def _progress(output: Output, title: str) -> Iterator[Progress]:
    """Show images, images/s, ETA and damaged files on stderr."""
    from dl2cli.analysis.run import Progress

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        TimeRemainingColumn(),
    )
    with output.progress(*columns) as display:
        task = display.add_task(title, total=None, note="")

        class Shown(Progress):
            began_s = 0.0
            done = damaged = 0

            def begin(self, total: int, resumed: int) -> None:
                self.began_s = time.perf_counter()
                display.update(task, total=total, completed=resumed)
                if resumed:
                    output.message(f"Continuing after {resumed:,} of {total:,} images.")

            def advance(self, row: ImageRow) -> None:
                self.done += 1
                self.damaged += row.error is not None
                rate = self.done / max(time.perf_counter() - self.began_s, 1e-3)
                note = f"{rate:,.0f} img/s" + (f", {self.damaged:,} bad" if self.damaged else "")
                display.update(task, advance=1, note=note)

        yield Shown()
