"""The plots of an analysis: qualities, file sizes, and rate against distortion."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dl2cli.analysis.distribution import Distribution
from dl2cli.analysis.fidelity.report import FidelityReport, Level
from dl2cli.analysis.summary.tally import Summary
from dl2cli.drawing import INK, load_matplotlib, new_figure
from dl2cli.errors import UsageError
from dl2cli.output_file import open_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg")
_DPI = 160
# The colours of Okabe and Ito ("Color Universal Design", 2008) differ to any colour vision.
_BLUE, _ORANGE, _GREEN, _RED, _PALE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8FBFDE"
_LOOKS = {"jpeg": (_ORANGE, "s", "lossy JPEG"), "webp": (_GREEN, "^", "lossy WebP")}


@dataclass(frozen=True, slots=True)
class _Plot:
    name: str
    size_in: tuple[float, float]
    draw: Callable[[Figure], None]


def check_plots(folder: Path, kind: str) -> None:
    """Refuse what cannot be drawn, before the work begins.

    Raises:
        UsageError: The format is not known, or `folder` is a file.
        MissingDependency: matplotlib is not installed.
    """
    if kind not in FORMATS:
        raise UsageError(f"--plot-format must be {' or '.join(FORMATS)}, not {kind}.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--plots needs a folder, and {folder} is a file.")
    load_matplotlib()


def write_plots(summary: Summary, title: str, folder: Path, kind: str) -> tuple[Path, ...]:
    """Draw what the summary has values for, into `folder`, and return the files.

    Args:
        summary: What to draw.
        title: The name of the dataset.
        folder: Made if it is not there.
        kind: `png` or `svg`.

    Raises:
        UsageError, MissingDependency: As `check_plots`.
        StorageError: A file cannot be written.
    """
    check_plots(folder, kind)
    files = []
    for plot in _plots(summary, title):
        path = folder / f"{plot.name}.{kind}"
        metadata = {"Date": None} if kind == "svg" else {"Software": None}
        with new_figure(*plot.size_in) as figure:
            plot.draw(figure)
            with open_output(path) as file:
                figure.savefig(file, format=kind, dpi=_DPI, metadata=metadata)
        files.append(path)
    return tuple(files)


def _plots(summary: Summary, title: str) -> list[_Plot]:
    plots = []
    if summary.qualities:
        plots.append(_Plot("qualities", (7.2, 3.2), lambda f: _qualities(f, summary, title)))
    if summary.sizes:
        plots.append(_Plot("sizes", (7.2, 3.2), lambda f: _sizes(f, summary, title)))
    report = summary.fidelity
    if report:
        plots.append(_Plot("rate_distortion", (7.2, 6.4), lambda f: _rate(f, report, title)))
    return plots


def _qualities(figure: Figure, summary: Summary, title: str) -> None:
    axes = figure.add_subplot()
    axes.bar(list(summary.qualities), list(summary.qualities.values()), width=0.9, color=_BLUE)
    axes.set_xlim(min(0.5, *summary.qualities), 100.5)
    axes.set_title(f"{title}: JPEG quality, as ImageMagick estimates it", loc="left")
    axes.set_xlabel("quality")
    _count_axis(axes)
    _mark_median(axes, summary.quality, "{:.0f}", 1.0)


def _sizes(figure: Figure, summary: Summary, title: str) -> None:
    axes = figure.add_subplot()
    assert summary.sizes is not None
    edges = [edge / 1000 for edge in summary.sizes.edges]
    step = min(right - left for left, right in itertools.pairwise(edges))
    # The outer bins reach to the extremes: drawn as wide as the others, but paler.
    colours = [_BLUE if b - a <= step * 1.001 else _PALE for a, b in itertools.pairwise(edges)]
    lefts = [edges[1] - step, *edges[1:-1]] if len(edges) > 2 else edges[:-1]
    axes.bar(
        lefts, summary.sizes.counts, width=step, align="edge", color=colours,
        edgecolor="white", linewidth=0.8,
    )  # fmt: skip
    if colours[-1] == _PALE:
        axes.annotate(
            f"to {edges[-1]:,.0f}", (lefts[-1] + step / 2, summary.sizes.counts[-1]),
            xytext=(0, 3), textcoords="offset points", ha="center", fontsize=7,
        )  # fmt: skip
    axes.set_title(f"{title}: file size", loc="left")
    axes.set_xlabel("kB an image")
    _count_axis(axes)
    _mark_median(axes, summary.size_bytes, "{:.1f} kB", 1e-3)


def _count_axis(axes: Axes) -> None:
    axes.set_ylabel("images")
    axes.locator_params(axis="y", integer=True)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.margins(y=0.12)
    axes.grid(axis="y")


def _mark_median(axes: Axes, spread: Distribution | None, form: str, unit: float) -> None:
    if spread is None:
        return
    median = spread.median * unit
    low, high = axes.get_xlim()
    right = median > (low + high) / 2
    axes.axvline(median, color=INK, linewidth=1, linestyle="--")
    axes.annotate(
        f"median {form.format(median)}", (median, 1), xycoords=("data", "axes fraction"),
        xytext=(-4 if right else 4, -2), textcoords="offset points",
        ha="right" if right else "left", va="top",
    )  # fmt: skip


def _rate(figure: Figure, report: FidelityReport, title: str) -> None:
    upper, lower = figure.subplots(2, 1, sharex=True)
    images = f"{report.images:,} image{'s' if report.images > 1 else ''}"
    upper.set_title(f"{title}: rate and distortion, means of {images}", loc="left")
    _curves(upper, report, lambda level: level.ms_ssim)
    upper.set_ylabel("MS-SSIM")
    upper.axhline(report.target_ms_ssim, color=_RED, linewidth=1, linestyle="--")
    upper.annotate(
        f"target {report.target_ms_ssim:g}: k = {report.recommended_k}, "
        f"saves {report.saved_share:.0%}",
        (1, report.target_ms_ssim), xycoords=("axes fraction", "data"), xytext=(0, -3),
        textcoords="offset points", ha="right", va="top", color=_RED,
    )  # fmt: skip
    _curves(lower, report, lambda level: level.psnr_db)
    lower.set_ylabel("PSNR in dB (all groups: exact)")
    lower.set_xlabel("kB an image")
    lower.set_xlim(left=0)
    upper.legend(loc="lower right", bbox_to_anchor=(1, 0.02))


def _curves(
    axes: Axes, report: FidelityReport, value: Callable[[Level], Distribution | None]
) -> None:
    """Draw the scan groups, each with its k, and the lossy formats, each with its quality."""
    groups = [level for level in report.levels if level.setting.startswith("k")]
    _curve(axes, groups, value, (_BLUE, "o", "scan groups 1 to k (band: p5 to p95)"), scans=True)
    for kind, look in _LOOKS.items():
        levels = [level for level in report.levels if level.setting.startswith(kind)]
        levels.sort(key=lambda level: level.mean_bytes)
        if levels:
            _curve(axes, levels, value, look, scans=False)
    axes.grid()


def _curve(
    axes: Axes,
    levels: list[Level],
    value: Callable[[Level], Distribution | None],
    look: tuple[str, str, str],
    *,
    scans: bool,
) -> None:
    points = [(level, spread) for level in levels if (spread := value(level)) is not None]
    if not points:
        return
    colour, marker, label = look
    x = [level.mean_bytes / 1000 for level, _ in points]
    y = [spread.mean for _, spread in points]
    if scans:
        low, high = [s.p5 for _, s in points], [s.p95 for _, s in points]
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(x, y, color=colour, marker=marker, markersize=4.5, linewidth=1.3, label=label)
    for (level, _), left, top in zip(points, x, y, strict=True):
        axes.annotate(
            level.setting.rpartition(":")[2].removeprefix("k"), (left, top),
            xytext=(0, 5 if scans else -11),
            textcoords="offset points", ha="center", fontsize=7, color=colour,
        )  # fmt: skip
