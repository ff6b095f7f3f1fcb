"""`dl2 analyze-images`: what a dataset is made of, and how far it can be compressed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from dl2cli.cli.options import JsonOption, help_text, size, usable_cores
from dl2cli.cli.output import Output, printable
from dl2cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from dl2cli.analysis.distribution import Distribution
    from dl2cli.analysis.fidelity_report import FidelityReport, Level
    from dl2cli.analysis.rows import Analysis, ImageRow
    from dl2cli.analysis.run import AnalysisResult, Progress
    from dl2cli.analysis.summary import Colour, Summary

_SHOWN_FAILURES = 10
_SHOWN_CLASSES = 10
_BAR_WIDTH = 36
_MOST_BARS = 20

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
    plot_format: Annotated[Literal["png", "svg"], typer.Option(help="Of the plots.")] = "png",
    sample: Annotated[
        int | None,
        typer.Option(min=1, help="Analyse so many images, drawn at random.", show_default="all"),
    ] = None,
    fidelity_samples: Annotated[
        int, typer.Option(min=1, help="Measure the fidelity of so many images.")
    ] = 64,
    target_msssim: Annotated[
        float, typer.Option(help="Recommend the smallest k that reaches this mean MS-SSIM.")
    ] = 0.95,
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
    from dl2cli.analysis.fidelity import DEFAULT_COMPARISONS, parse_comparisons
    from dl2cli.analysis.quality import Engine
    from dl2cli.analysis.run import AnalysisConfig, analyse_dataset

    config = AnalysisConfig(
        root=dataset,
        analyses=_analyses(analyses),
        output=output,
        engine=Engine(engine),
        scans=scans,
        sample=sample,
        fidelity_samples=fidelity_samples,
        comparisons=parse_comparisons(compare or list(DEFAULT_COMPARISONS)),
        target_ms_ssim=target_msssim,
        seed=seed,
        workers=workers or usable_cores(),
        fresh=not resume,
    )
    sink = Output(json_mode=json)
    if plots is not None:
        from dl2cli.analysis.plots import check_plots

        check_plots(plots, plot_format)
    with _progress(sink, f"Analysing {printable(dataset.name)}") as progress:
        result = analyse_dataset(config, progress)
    report = AnalyzeReport(result, _draw(result, plots, plot_format))
    sink.result(report, *_render(report))
    if result.summary.failures:
        raise typer.Exit(ExitCode.BAD_DATA)


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


def _render(report: AnalyzeReport) -> list[RenderableType]:
    result, summary = report.analysis, report.analysis.summary
    parts: list[RenderableType] = [_overview(result)]
    if summary.size_bytes:
        parts.append(_spreads(summary))
    if summary.qualities:
        parts.append(_bars("JPEG quality", "quality", _quality_bars(summary.qualities)))
    if summary.sizes:
        kilobytes = [_kilobytes(edge) for edge in summary.sizes.edges]
        labels = [f"{low} – {high}" for low, high in pairwise(kilobytes)]
        bars = dict(zip(labels, summary.sizes.counts, strict=True))
        parts.append(_bars("File size", "kB", bars))
    if summary.colour:
        parts.append(_colour(summary.colour))
    if summary.fidelity:
        parts += _fidelity(summary.fidelity, result.saved_bytes or 0)
    if summary.oddities:
        parts.append(_oddities(summary))
    if summary.failures:
        parts.append(_failures(result))
    written = [*([result.output] if result.output else []), *report.plots]
    if written:
        parts.append(Text("Written: " + ", ".join(printable(str(path)) for path in written)))
    return parts


def _overview(result: AnalysisResult) -> Table:
    summary = result.summary
    table = Table(title=printable(str(result.root)), show_header=False)
    classes = f" in {result.classes:,} classes" if result.classes else ""
    splits = f" ({', '.join(result.splits)})" if result.splits else ""
    table.add_row("images", f"{result.images_found:,}{classes}{splits}, {result.kind}")
    if summary.images < result.images_found:
        table.add_row("sample", f"{summary.images:,} images, which all of this is about")
    per_pixel = f", {summary.bits_per_pixel:.2f} bits a pixel" if summary.bits_per_pixel else ""
    table.add_row("bytes", size(summary.total_bytes) + per_pixel)
    for name, counts in (
        ("format", summary.formats),
        ("mode", summary.modes),
        ("subsampling", summary.subsamplings),
        ("scans", summary.scans),
        ("EXIF orientation", summary.orientations),
    ):
        if counts:
            table.add_row(name, ", ".join(f"{key}: {count:,}" for key, count in counts.items()))
    if summary.subsamplings:
        table.add_row("progressive", f"{summary.progressive:,}")
        table.add_row("quantisation tables", f"{summary.tables:,} different sets")
    if result.ignored:
        table.add_row("left out", f"{result.ignored:,} files that are hidden or no images")
    table.add_row("damaged", f"{len(summary.failures):,}")
    table.add_row("time", f"{result.elapsed_s:.1f} s, {result.rate_img_s:,.0f} images/s")
    return table


def _spreads(summary: Summary) -> Table:
    table = Table(title="Percentiles")
    table.add_column("")
    for column in ("min", "p5", "p25", "median", "p75", "p95", "max", "mean"):
        table.add_column(column, justify="right")

    def add(name: str, spread: Distribution | None, form: str, unit: float = 1.0) -> None:
        if spread is not None:
            values = (
                spread.minimum, spread.p5, spread.p25, spread.median, spread.p75, spread.p95,
                spread.maximum, spread.mean,
            )  # fmt: skip
            table.add_row(name, *(form.format(value * unit) for value in values))

    add("quality", summary.quality, "{:.0f}")
    add("kB", summary.size_bytes, "{:,.1f}", 1e-3)
    add("width", summary.width, "{:.0f}")
    add("height", summary.height, "{:.0f}")
    add("Mpixel", summary.megapixels, "{:.2f}")
    return table


def _quality_bars(qualities: dict[int, int]) -> dict[str, int]:
    """Return the bars: one a quality where they are few, else one for five qualities."""
    if len(qualities) <= _MOST_BARS:
        return {str(quality): count for quality, count in qualities.items()}
    bars: dict[str, int] = {}
    for quality, count in qualities.items():
        low = (quality - 1) // 5 * 5 + 1
        label = f"{low} – {low + 4}"
        bars[label] = bars.get(label, 0) + count
    return bars


def _kilobytes(count: float) -> str:
    """Return a number of bytes in kB with at most three digits, or one after the point."""
    kilobytes = count / 1000
    return f"{kilobytes:.3g}" if kilobytes < 10 else f"{kilobytes:,.1f}".removesuffix(".0")


def _bars(title: str, column: str, counts: dict[str, int]) -> Table:
    table = Table(title=title)
    table.add_column(column, justify="right")
    table.add_column("images", justify="right")
    table.add_column("", width=_BAR_WIDTH)
    most = max(counts.values())
    for label, count in counts.items():
        eighths = round(count / most * _BAR_WIDTH * 8)
        bar = "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()
        table.add_row(label, f"{count:,}", bar or ("▏" if count else ""))
    return table


def _colour(colour: Colour) -> Text:
    mean, std = (",".join(f"{v:.4f}" for v in values) for values in (colour.mean, colour.std))
    text = Text(f"\nColour over all pixels of {colour.images:,} images, to paste:\n")
    return text.append(f"  --data-mean {mean} --data-std {std}\n", style="bold")


def _fidelity(report: FidelityReport, saved_bytes: float) -> list[RenderableType]:
    title = f"Fidelity of {report.images:,} images at each number of scan groups"
    table = Table(title=title)
    for column in ("scans k", "bytes an image", "share", "MS-SSIM", "p5", "SSIM", "PSNR"):
        table.add_column(column, justify="right")
    for number, level in enumerate(report.levels, start=1):
        chosen = number == report.recommended_k
        last = number == report.groups < len(report.levels)
        table.add_row(*_level(level), style="bold" if chosen else None, end_section=last)
    sentence = Text(
        f"Recommended for a mean MS-SSIM of {report.target_ms_ssim:g}: k = {report.recommended_k}. "
        f"It saves {report.saved_share:.1%} of the bytes, about {size(saved_bytes)} of the whole "
        "dataset's.\n",
        style="bold",
    )
    parts: list[RenderableType] = [table, sentence]
    if len(report.per_class) > 1:
        parts.append(_classes(report))
    return parts


def _level(level: Level) -> list[str]:
    return [
        level.setting.removeprefix("k"),
        size(level.mean_bytes),
        f"{level.share:.1%}",
        f"{level.ms_ssim.mean:.4f}",
        f"{level.ms_ssim.p5:.4f}",
        f"{level.ssim.mean:.4f}",
        "identical" if level.psnr_db is None else f"{level.psnr_db.mean:.1f} dB",
    ]


def _classes(report: FidelityReport) -> Table:
    """Show the classes that lose most at the recommended k."""
    place = report.recommended_k - 1
    ranked = sorted(report.per_class.items(), key=lambda each: each[1].levels[place].ms_ssim.mean)
    left = len(ranked) - _SHOWN_CLASSES
    table = Table(
        title=f"Classes at k = {report.recommended_k}, those that lose most first",
        caption=f"and {left:,} more (--json lists all)" if left > 0 else None,
    )
    table.add_column("class", overflow="fold")
    for column in ("images", "MS-SSIM", "p5", "k for the target"):
        table.add_column(column, justify="right")
    for name, each in ranked[:_SHOWN_CLASSES]:
        spread = each.levels[place].ms_ssim
        table.add_row(
            printable(name), f"{each.images:,}", f"{spread.mean:.4f}", f"{spread.p5:.4f}",
            str(each.recommended_k),
        )  # fmt: skip
    return table


def _oddities(summary: Summary) -> Table:
    table = Table(title="Oddities")
    table.add_column("images", justify="right")
    table.add_column("what", overflow="fold")
    table.add_column("for example", overflow="fold")
    for oddity in summary.oddities:
        table.add_row(f"{oddity.count:,}", oddity.text, printable(oddity.examples[0]))
    return table


def _failures(result: AnalysisResult) -> Table:
    failures = result.summary.failures
    left = len(failures) - _SHOWN_FAILURES
    where = f"column `error` of {result.output}" if result.output else "--json or -o list all"
    table = Table(
        title=f"Damaged files: {len(failures):,}",
        caption=printable(f"and {left:,} more: {where}") if left > 0 else None,
    )
    table.add_column("file", overflow="fold")
    table.add_column("reason", overflow="fold")
    for failure in failures[:_SHOWN_FAILURES]:
        table.add_row(printable(failure.file), printable(failure.reason))
    return table
