"""The result of `dl2 analyze-images` on a terminal."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from dl2cli.cli.framework.shared import facts_table, size
from dl2cli.text import without_controls

if TYPE_CHECKING:
    from dl2cli.analysis.distribution import Distribution
    from dl2cli.analysis.fidelity.report import FidelityReport, Level
    from dl2cli.analysis.run import AnalysisResult
    from dl2cli.analysis.summary.tally import Colour, Summary

_SHOWN_FAILURES = 10
_SHOWN_CLASSES = 10
_BAR_WIDTH = 36
_MOST_BARS = 20


def render(result: AnalysisResult, plots: tuple[Path, ...]) -> list[RenderableType]:
    """Return what is shown of an analysis, in order; `plots` are the files that were drawn."""
    summary = result.summary
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
    written = [*([result.output] if result.output else []), *plots]
    if written:
        parts.append(Text("Written: " + ", ".join(map(str, written))))
    return parts


def _overview(result: AnalysisResult) -> Table:
    summary = result.summary
    table = facts_table(str(result.root))
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


def _images(count: int) -> str:
    return f"{count:,} image" if count == 1 else f"{count:,} images"


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
    text = Text(f"\nColour over all pixels of {_images(colour.images)}, to paste:\n")
    return text.append(f"  --data-mean {mean} --data-std {std}\n", style="bold")


def _fidelity(report: FidelityReport, saved_bytes: float) -> list[RenderableType]:
    title = f"Fidelity of {_images(report.images)} at each number of scan groups"
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
            without_controls(name), f"{each.images:,}", f"{spread.mean:.4f}", f"{spread.p5:.4f}",
            str(each.recommended_k),
        )  # fmt: skip
    return table


def _oddities(summary: Summary) -> Table:
    table = Table(title="Oddities")
    table.add_column("images", justify="right")
    table.add_column("what", overflow="fold")
    table.add_column("for example", overflow="fold")
    for oddity in summary.oddities:
        table.add_row(f"{oddity.count:,}", oddity.text, without_controls(oddity.examples[0]))
    return table


def _failures(result: AnalysisResult) -> Table:
    failures = result.summary.failures
    left = len(failures) - _SHOWN_FAILURES
    where = f"column `error` of {result.output}" if result.output else "--json or -o list all"
    table = Table(
        title=f"Damaged files: {len(failures):,}",
        caption=f"and {left:,} more: {where}" if left > 0 else None,
    )
    table.add_column("file", overflow="fold")
    table.add_column("reason", overflow="fold")
    for failure in failures[:_SHOWN_FAILURES]:
        table.add_row(without_controls(failure.file), failure.reason)
    return table
