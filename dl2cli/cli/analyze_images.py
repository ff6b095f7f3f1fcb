"""`dl2 analyze-images`: what a dataset is made of, and how far it can be compressed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from dl2cli.cli.analyze_screen import render
from dl2cli.cli.options import JsonOption, help_text
from dl2cli.cli.output import Output, printable
from dl2cli.cores import usable_cores
from dl2cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from dl2cli.analysis.rows import Analysis, ImageRow
    from dl2cli.analysis.run import AnalysisResult, Progress

_FIDELITY_SAMPLES = 64
_TARGET_MS_SSIM = 0.95

_HELP = """\
Show what a dataset is made of: JPEG qualities, sizes, colours, oddities, and fidelity per scan.

DATASET is an ImageFolder (one folder a class), with or without train/ and val/; a folder of images;
or a PCR dataset. It is only ever read. Damaged files are listed with their reason and never stop
the run; if there are any, the exit code is 3.

[bold]Analyses:[/bold] quality (as ImageMagick's %Q), size (bytes, pixels), stats (colour mean and
deviation; decodes each image), jpeg (subsampling, scans, EXIF orientation, ICC profile, tables),
and fidelity (MS-SSIM, SSIM and PSNR at each number of scan groups, for a sample). The default is
all but fidelity.

With -o, rows go to FILE.part as they come: an interrupted run goes on where it stopped when the
same command is given again. FILE is written at the end, in one piece.

Example: [bold]dl2 analyze-images training_set -o images.csv[/bold]

Example: [bold]dl2 analyze-images training_set -a fidelity --plots plots/[/bold]
"""


@dataclass(frozen=True)
class AnalyzeReport:
    """The analysis, and the plots that were drawn."""

    analysis: AnalysisResult
    plots: tuple[Path, ...]


def register(app: typer.Typer) -> None:
    """Add `dl2 analyze-images` to the program."""
    app.command("analyze-images", help=help_text(_HELP))(analyze_images)


def analyze_images(
    dataset: Annotated[Path, typer.Argument(help="The images to analyse.")],
    analyses: Annotated[
        list[str] | None,
        typer.Option(
            "--analyses", "-a", metavar="LIST", show_default="all but fidelity",
            help="quality, size, stats, jpeg, fidelity, or all; commas or repetition.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a .csv, .jsonl or .parquet."),
    ] = None,
    plots: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Draw plots into this folder.")
    ] = None,
    plot_format: Annotated[
        Literal["png", "svg"] | None, typer.Option(help="Of the plots.", show_default="png")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Analyse so many images, drawn at random.", show_default="all"),
    ] = None,
    fidelity_samples: Annotated[
        int | None,
        typer.Option(min=1, help="Measure the fidelity of so many images.", show_default="64"),
    ] = None,
    target_msssim: Annotated[
        float | None,
        typer.Option(
            help="Recommend the smallest k that reaches this mean MS-SSIM.", show_default="0.95"
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT:Q,Q", show_default="jpeg:50,75,90",
            help="Lossy formats beside the scan groups, as jpeg:50,75 and webp:80; or none.",
        ),
    ] = None,
    scans: Annotated[
        int | None,
        typer.Option(min=1, help="Fidelity of a PCR dataset.", show_default="all scan groups"),
    ] = None,
    engine: Annotated[
        Literal["native", "magick"],
        typer.Option(help="Who estimates qualities: dl2 itself, or ImageMagick (the same values)."),
    ] = "native",
    seed: Annotated[int, typer.Option(help="Of the samples.")] = 0,
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Processes.", show_default="all cores"),
    ] = None,
    resume: Annotated[
        bool, typer.Option(help="Go on with an interrupted run, or begin afresh.")
    ] = True,
    json: JsonOption = False,
) -> None:  # fmt: skip
    """Show what a dataset is made of (the help text is `_HELP`)."""
    from dl2cli.analysis.fidelity.images import DEFAULT_COMPARISONS, parse_comparisons
    from dl2cli.analysis.quality import Engine
    from dl2cli.analysis.rows import Analysis
    from dl2cli.analysis.run import AnalysisConfig, analyse_dataset

    config = AnalysisConfig(
        root=dataset,
        analyses=_analyses(analyses),
        output=output,
        engine=Engine(engine),
        scans=scans,
        sample=sample,
        fidelity_samples=_FIDELITY_SAMPLES if fidelity_samples is None else fidelity_samples,
        comparisons=parse_comparisons(compare or list(DEFAULT_COMPARISONS)),
        target_ms_ssim=_TARGET_MS_SSIM if target_msssim is None else target_msssim,
        seed=seed,
        workers=workers or usable_cores(),
        fresh=not resume,
    )
    if Analysis.FIDELITY not in config.analyses:
        _refuse("-a fidelity", {
            "--fidelity-samples": fidelity_samples, "--target-msssim": target_msssim,
            "--compare": compare,
        })  # fmt: skip
    sink = Output(json_mode=json)
    kind = plot_format or "png"
    if plots is None:
        _refuse("--plots DIR", {"--plot-format": plot_format})
    else:
        from dl2cli.analysis.plots import check_plots

        check_plots(plots, kind)
    with _progress(sink, f"Analysing {printable(dataset.name)}") as progress:
        result = analyse_dataset(config, progress)
    drawn: tuple[Path, ...] = ()
    try:
        drawn = _draw(result, plots, kind)
    finally:  # a disk that is full must not cost what took minutes to find out
        sink.result(AnalyzeReport(result, drawn), *render(result, drawn))
    if result.summary.failures:
        raise typer.Exit(ExitCode.BAD_DATA)


def _refuse(needed: str, options: dict[str, object]) -> None:
    """Refuse options that were given and do nothing, because `needed` was not."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{name} does nothing without {needed}: give both or neither.")


def _analyses(names: list[str] | None) -> frozenset[Analysis]:
    from dl2cli.analysis.rows import CHEAP, Analysis

    known = {analysis.value: analysis for analysis in Analysis}
    found: set[Analysis] = set()
    for name in (part.strip().lower() for text in names or () for part in text.split(",")):
        if name == "all":
            found |= set(Analysis)
        elif name in known:
            found.add(known[name])
        else:
            raise UsageError(f"{name!r} is no analysis: there are {', '.join(known)}, and all.")
    return frozenset(found) or CHEAP


def _draw(result: AnalysisResult, folder: Path | None, kind: str) -> tuple[Path, ...]:
    if folder is None:
        return ()
    from dl2cli.analysis.plots import write_plots

    return write_plots(result.summary, printable(result.root.resolve().name), folder, kind)


@contextmanager
def _progress(output: Output, title: str) -> Iterator[Progress]:
    """Show images, images/s, ETA and damaged files on stderr."""
    from dl2cli.analysis.run import Progress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),  # leaves room for the ^C that a terminal prints
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
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
                    output.message(f"Going on after {resumed:,} of {total:,} images.")

            def advance(self, row: ImageRow) -> None:
                self.done += 1
                self.damaged += row.error is not None
                rate = self.done / max(time.perf_counter() - self.began_s, 1e-3)
                note = f"{rate:,.0f} img/s" + (f", {self.damaged:,} bad" if self.damaged else "")
                display.update(task, advance=1, note=note)

        yield Shown()
