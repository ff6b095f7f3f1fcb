"""A result as CSV, one line a run, and as a picture."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli.bench.result import BenchResult
from dl2cli.drawing import load_matplotlib, new_figure
from dl2cli.errors import UsageError
from dl2cli.output_file import open_output, write_output

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from dl2cli.bench.model.what_if import WhatIf

FIELDS: Final = (
    "name", "loader", "dataset", "data", "condition", "storage", "served", "scans", "workers",
    "batch_size", "arch", "images", "rate_img_s", "rate_low_img_s", "rate_high_img_s",
    "bytes_per_image", "fetch_stall_s", "prep_stall_s", "compute_s", "au", "first_batch_s", "cpu_s",
    "bound",
)  # fmt: skip


def to_csv(result: BenchResult) -> str:
    """Return the runs, one a line, under `FIELDS`; an unknown value is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(FIELDS)
    for run in result.runs:
        extra = {"rate_low_img_s": run.rate.low, "rate_high_img_s": run.rate.high}
        values = (extra.get(name, getattr(run, name, None)) for name in FIELDS)
        writer.writerow(["" if value is None else value for value in values])
    return out.getvalue()


def write_text(path: Path, text: str) -> None:
    """Write a file. Raises StorageError."""
    write_output(path, text.encode("utf-8", "backslashreplace"))


def check_plot(path: Path) -> None:
    """Refuse, before anything is measured, a picture that cannot be drawn.

    Raises:
        UsageError: it is neither .png nor .svg.
        MissingDependency: matplotlib is not installed.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise UsageError(f"{path}: a picture ends in .png or .svg.")
    load_matplotlib()


def draw_curves(what_if: WhatIf, title: str, path: Path) -> None:
    """Draw predicted throughput over the bandwidth of storage, a line for each k.

    Raises:
        StorageError: the file cannot be written.
    """
    with new_figure(8, 5) as figure:
        _draw(figure, what_if, title)
        with open_output(path) as file:
            figure.savefig(file, format=path.suffix[1:].lower())


def _draw(figure: Figure, what_if: WhatIf, title: str) -> None:
    import matplotlib as mpl

    # From dark to light with k: an order is seen, and no number of fidelities runs out of colours.
    shades = mpl.colormaps["viridis"].resampled(256)
    last = max(len(what_if.curves) - 1, 1)
    axes = figure.subplots()
    for place, curve in enumerate(what_if.curves):
        colour = shades(0.9 * place / last)
        label = "files" if curve.scans is None else f"k = {curve.scans}"
        megabytes = [bandwidth / 1e6 for bandwidth in curve.bandwidth_bytes_s]
        axes.plot(megabytes, curve.rate_img_s, marker="o", markersize=3, color=colour, label=label)
    if what_if.now.bandwidth_bytes_s < float("inf"):
        axes.axvline(what_if.now.bandwidth_bytes_s / 1e6, color="grey", linestyle=":", label="here")
    axes.set(xscale="log", xlabel="bandwidth of storage (MB/s)", ylabel="images/s")
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
