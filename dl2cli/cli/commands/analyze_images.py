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
from dl2cli.cli.framework.shared import JSON, MOST_PIXELS, PREPARE, RESUME, SCHEDULER, SEED
from dl2cli.cli.screens.analyze import render
from dl2cli.cores import usable_cores
from dl2cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from dl2cli.analysis.run import AnalysisResult, Pool, Progress
    from dl2cli.analysis.table.rows import Analysis, ImageRow
    from dl2cli.analysis.worker import WorkerConfig

_FIDELITY_SAMPLES = 64
_TARGET_MS_SSIM = 0.95

_TEXT = """
DATASET is an ImageFolder (one folder per class), with or without train/ and val/; a folder of
images; or a PCR dataset. It is only read, never changed. Damaged files are listed with their reason
and do not stop the run; the exit code is then 3.

The analyses are quality (the same as ImageMagick's %Q), size (bytes and pixels), stats (mean and
deviation of the colours; decodes each image), jpeg (subsampling, scans, EXIF orientation, ICC
profile, tables) and fidelity (MS-SSIM, SSIM and PSNR at each number of scan groups, for a sample).

With -o, rows go to FILE.part as they come: to continue an interrupted run, give the same command
again. FILE is written at the end, in one piece.
"""


@dataclass(frozen=True)
class AnalyzeReport:
    """The analysis, and the plots that were drawn."""

    analysis: AnalysisResult
    plots: tuple[Path, ...]


class _Choice(Options):
    """What is analysed."""

    panel = "What is analysed"

    analyses: tuple[Literal["quality", "size", "stats", "jpeg", "fidelity", "all"], ...] = option(
        "Choose the analyses.",
        "--analyses",
        "-a",
        metavar="LIST",
        default=(),
        shown="all but fidelity",
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
        "Measure these lossy formats beside the scan groups, or none. Repeatable.",
        metavar="FORMAT:Q,Q",
        shown="jpeg:50,75,90",
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


class AnalyzeOptions(_Choice, _Fidelity, _Results):
    """The options of `dl2 analyze-images`."""

    dataset: Path = argument(
        "DATASET", "The images to analyse; PCR datasets also by URL.", url=True
    )


def analyze_images(options: AnalyzeOptions) -> None:
    """Analyse the images of a dataset, and write and show what was found."""
    from dl2cli.analysis.fidelity.images import DEFAULT_COMPARISONS, parse_comparisons
    from dl2cli.analysis.image.quality import Engine
    from dl2cli.analysis.run import AnalysisConfig, analyse_dataset
    from dl2cli.analysis.table.rows import Analysis

    config = AnalysisConfig(
        # A cluster's workers have another working directory.
        root=options.dataset.absolute() if options.scheduler else options.dataset,
        analyses=_analyses(options.analyses),
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
    if Analysis.FIDELITY not in config.analyses:
        _refuse("-a fidelity", {
            "--fidelity-samples": options.fidelity_samples,
            "--target-msssim": options.target_msssim,
            "--compare": options.compare,
        })  # fmt: skip
    kind = options.plot_format or "png"
    if options.plots is None:
        _refuse("--plots DIR", {"--plot-format": options.plot_format})
    else:
        from dl2cli.analysis.summary.plots import check_plots

        check_plots(options.plots, kind)
    sink = Output(json_mode=options.json)
    with _progress(sink, f"Analysing {options.dataset.name}") as progress:
        result = analyse_dataset(config, progress, _pool_maker(options, sink))
    drawn: tuple[Path, ...] = ()
    try:
        drawn = _draw(result, options.plots, kind)
    finally:  # a disk that is full must not cost what took minutes to find out
        sink.result(AnalyzeReport(result, drawn), *render(result, drawn))
    if result.summary.failures:
        raise typer.Exit(ExitCode.BAD_DATA)


COMMAND = Command(
    name="analyze-images",
    options=AnalyzeOptions,
    run=analyze_images,
    about="Show what a dataset is made of: JPEG qualities, sizes, colours, oddities, and fidelity "
    "per scan.",
    text=_TEXT,
    examples=("training_set -o images.csv", "out/train -a fidelity --plots plots/"),
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


def _draw(result: AnalysisResult, folder: Path | None, kind: str) -> tuple[Path, ...]:
    if folder is None:
        return ()
    from dl2cli.analysis.summary.plots import write_plots

    return write_plots(result.summary, printable(result.root.resolve().name), folder, kind)


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
