"""The plot of a search: quality over bytes and over decode time, of each script."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli.analysis.scripts.objective import Metric
from dl2cli.analysis.scripts.result import ScriptCurve, ScriptReport
from dl2cli.drawing import new_figure
from dl2cli.output_file import open_output

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DPI: Final = 160
# Of Okabe and Ito ("Color Universal Design", 2008), as in the other plots of analysis.
_COLOURS: Final = ("#0072B2", "#999999", "#CC79A7", "#56B4E9", "#F0E442", "#D55E00")
_LOSSY: Final = {"jpeg": ("#E69F00", "s"), "webp": ("#009E73", "^")}
_LABELS: Final = {Metric.PSNR: "PSNR in dB", Metric.SSIM: "SSIM", Metric.MS_SSIM: "MS-SSIM"}


def write_plot(report: ScriptReport, title: str, folder: Path, kind: str) -> Path:
    """Draw the curves into `folder`, and return the file.

    Raises:
        MissingDependency: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    path = folder / f"scan_scripts.{kind}"
    metric = report.objective.metric
    with new_figure(7.2, 6.4) as figure:
        upper, lower = figure.subplots(2, 1)
        at = f"at {report.size} pixels" if report.size else "at full size"
        upper.set_title(
            f"{title}: scan scripts, means of {report.images:,} images {at}", loc="left"
        )
        for axes, over in ((upper, "bytes"), (lower, "time")):
            for curve, colour in zip((report.found, *report.others), _COLOURS, strict=False):
                _curve(axes, curve, metric, over, colour)
            axes.set_ylabel(_LABELS[metric])
            axes.grid()
        _lossy(upper, report)
        upper.set_xlabel("kB an image")
        lower.set_xlabel("decode time of an image in ms (estimate)")
        upper.legend(loc="lower right", fontsize=7)
        with open_output(path) as file:
            metadata = {"Date": None} if kind == "svg" else {"Software": None}
            figure.savefig(file, format=kind, dpi=_DPI, metadata=metadata)
    return path


def _curve(axes: Axes, curve: ScriptCurve, metric: Metric, over: str, colour: str) -> None:
    levels = [e for e in curve.levels if e.psnr_db is not None]
    x = [e.mean_bytes / 1e3 if over == "bytes" else e.decode_ms_estimate for e in levels]
    y = [e.quality(metric) for e in levels]
    axes.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1.3, label=curve.name)
    for level, left, top in zip(levels, x, y, strict=True):
        axes.annotate(
            str(level.scans), (left, top), xytext=(0, 4), textcoords="offset points",
            ha="center", fontsize=6, color=colour,
        )  # fmt: skip


def _lossy(axes: Axes, report: ScriptReport) -> None:
    column = report.objective.metric.column
    for kind, (colour, marker) in _LOSSY.items():
        levels = [e for e in report.lossy if e.setting.startswith(kind)]
        levels.sort(key=lambda e: e.mean_bytes)
        if not levels:
            continue
        x = [e.mean_bytes / 1e3 for e in levels]
        y = [(e.psnr_db, e.ssim, e.ms_ssim)[column] for e in levels]
        axes.plot(
            x, y, color=colour, marker=marker, markersize=4.5, linewidth=1, linestyle="--",
            label=f"{kind}, encoded anew",
        )  # fmt: skip
