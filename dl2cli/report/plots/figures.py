"""All plots of a report, and writing them as files."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dl2cli.errors import UsageError
from dl2cli.output_file import check_output_file, write_output
from dl2cli.report.plots import bars, curves, disk_io, over_bytes, rates, tradeoff
from dl2cli.report.plots.canvas import Plot, write_plot
from dl2cli.report.report import Report

LIST_NAME = ".dl2-plots"


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
    yield from rates.rate_plots(entries)
    yield from bars.stall_plots(entries)
    yield from curves.curve_plots(entries, report.clocks)
    yield from over_bytes.bytes_plots(entries)
    yield from tradeoff.tradeoff_plots(entries, report.qualities)
    yield from disk_io.disk_plots(report.disks, report.corpus.traces)
    yield from bars.codec_plots(entries)
    yield from bars.quality_plots(report.qualities)


def check_folder(directory: Path) -> None:
    """Refuse a folder for plots that cannot be one, before any work is done.

    Raises:
        UsageError: it is a file, or lies under one.
    """
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"--plots: {directory} is a file: name a folder.")
    check_output_file(directory / LIST_NAME, option="--plots")


def write_plots(report: Report, directory: Path, suffix: str) -> list[Path]:
    """Write every plot into a folder as svg, png or pdf.

    Plots that an earlier report left there, and that this one does not draw, are deleted: they
    would be of other runs. A hidden file in the folder lists what was written.

    Raises:
        MissingDependency: matplotlib is not installed.
        UsageError, StorageError: the folder cannot be written (`dl2cli.output_file`).
    """
    listed = directory / LIST_NAME
    before, plots = _names_in(listed), all_plots(report)
    names = {f"{plot.name}.{suffix}" for plot in plots}
    # Before they are written: what a killed report leaves must be known to the next one.
    _list_names(listed, before | names)
    written = [write_plot(plot, directory, suffix) for plot in plots]
    for name in before - names:
        with contextlib.suppress(OSError):
            (directory / name).unlink()
    _list_names(listed, names)
    return written


def _list_names(listed: Path, names: set[str]) -> None:
    write_output(listed, "".join(f"{name}\n" for name in sorted(names)).encode())


def _names_in(listed: Path) -> set[str]:
    """Return the names in a list of plots; whatever else stands in it is passed over."""
    try:
        lines = listed.read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {line for line in lines if re.fullmatch(r"[A-Za-z0-9.-]{1,90}\.(svg|png|pdf)", line)}
