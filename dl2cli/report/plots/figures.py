"""All plots of a report: as files, or inline in a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dl2cli.report.plots import bars, curves, disk_io
from dl2cli.report.plots.canvas import InlineSvg, Plot, inline_svg, write_plot
from dl2cli.report.plots.palette import looks
from dl2cli.report.report import Report


def all_plots(report: Report) -> list[Plot]:
    """Return every plot that the report's runs give rise to, with unique names."""
    seen: dict[str, int] = {}
    result: list[Plot] = []
    for plot in _plots(report):
        count = seen.get(plot.name, 0)
        seen[plot.name] = count + 1
        result.append(replace(plot, name=f"{plot.name}-{count + 1}") if count else plot)
    return result


def _plots(report: Report) -> Iterator[Plot]:
    entries = report.compared
    # Trainings first: their plots hold most colours at once.
    learned = [entry.setup.variant for entry in entries if entry.codec is None]
    variants = looks(learned, (entry.setup.variant for entry in entries))
    yield from bars.rate_plots(entries, variants)
    yield from bars.stall_plots(entries)
    yield from curves.curve_plots(entries, variants, report.clocks)
    yield from disk_io.disk_plots(report.disks, report.corpus.traces)
    yield from bars.codec_plots(entries, variants)
    yield from bars.quality_plots(report.qualities)


def write_plots(report: Report, directory: Path, suffix: str) -> list[Path]:
    """Write every plot into a folder as svg, png or pdf.

    Raises:
        MissingDependency: matplotlib is not installed.
        StorageError: the folder cannot be written.
    """
    return [write_plot(plot, directory, suffix) for plot in all_plots(report)]


def inline_plots(report: Report) -> list[InlineSvg]:
    """Return every plot for a page.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    return [inline_svg(plot) for plot in all_plots(report)]
