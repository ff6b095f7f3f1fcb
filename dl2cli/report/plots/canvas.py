"""What all plots share: a canvas in the house style, hover values, files and inline SVG."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dl2cli.drawing import new_figure
from dl2cli.output_file import write_output
from dl2cli.report.plots.svg import tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 5.4  # of a column of text; a phone shows its letters large enough to read
DPI = 72  # of the canvas: then a pixel is a point, which is SVG's unit
PNG_DPI = 216
MAX_PARTS = 4
MAX_LABEL = 36  # characters of a name beside an axes
MAX_TITLE = 64

T = TypeVar("T")
Point = tuple[float, float, str, str]  # x, y, the name and the text of a hover value


@dataclass(frozen=True, slots=True)
class Tip:
    """A hover value at a point of an axes; `name` is what many points of a plot share."""

    axes: Axes
    x: float
    y: float
    text: str
    name: str = ""


@dataclass(slots=True)
class Canvas:
    """A figure being drawn, and its hover values."""

    figure: Figure
    tips: list[Tip] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot that can be drawn; `draw` fills a canvas of the given height.

    `hover` says what a pointer means: the nearest point, or the row or column it is in.
    """

    name: str
    title: str
    height_in: float
    draw: Callable[[Canvas], None]
    hover: str = "point"


@dataclass(frozen=True, slots=True)
class InlineSvg:
    """A plot for a page: SVG text without ids, and hover values in its coordinates."""

    name: str
    title: str
    svg: str
    points: tuple[Point, ...]
    hover: str


@contextmanager
def _drawn(plot: Plot, **style: object) -> Iterator[Canvas]:
    """Draw a plot; `style` is added to the house style of `dl2cli.drawing`.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    with new_figure(WIDTH_IN, plot.height_in, DPI, svg_hashsalt=plot.name, **style) as figure:
        canvas = Canvas(figure)
        figure.suptitle(brief(plot.title, MAX_TITLE), fontsize=11, x=0.01, ha="left")
        plot.draw(canvas)
        yield canvas


def write_plot(plot: Plot, directory: Path, suffix: str) -> Path:
    """Write a plot as svg, png or pdf; a file appears whole or not at all.

    Raises:
        MissingDependency: matplotlib is not installed.
        StorageError: the folder cannot be made or written.
    """
    buffer = io.BytesIO()
    # Letters become shapes in an SVG file: it must look the same on any machine.
    with _drawn(plot, svg_fonttype="path") as canvas:
        metadata = {"png": {"Software": None}, "svg": {"Date": None}}.get(
            suffix, {"CreationDate": None}
        )
        canvas.figure.savefig(
            buffer,
            format=suffix,
            dpi=PNG_DPI,
            metadata=metadata,
            facecolor="white",
        )
    path = directory / f"{plot.name}.{suffix}"
    write_output(path, buffer.getvalue())
    return path


def inline_svg(plot: Plot) -> InlineSvg:
    """Draw a plot for a page.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    buffer = io.StringIO()
    with _drawn(plot) as canvas:
        from matplotlib.backends.backend_svg import FigureCanvasSVG

        for patch in (canvas.figure.patch, *(axes.patch for axes in canvas.figure.axes)):
            patch.set_visible(False)
        # savefig would draw everything twice.
        svg: Any = FigureCanvasSVG(canvas.figure)
        svg.print_svg(buffer, metadata={"Date": None})
        height = plot.height_in * DPI
        found = (_point(tip, height) for tip in canvas.tips)
        points = tuple(point for point in found if point is not None)
    return InlineSvg(plot.name, plot.title, tidy(buffer.getvalue()), points, plot.hover)


def _point(tip: Tip, height: float) -> Point | None:
    """Return where a value is on the picture, or None where its axes do not show it."""
    x, y = (float(value) for value in tip.axes.transData.transform((tip.x, tip.y)))
    frame = tip.axes.bbox
    if not (frame.x0 - 1 <= x <= frame.x1 + 1 and frame.y0 - 1 <= y <= frame.y1 + 1):
        return None
    return (round(x, 1), round(height - y, 1), tip.name, tip.text)


def slug(*parts: object) -> str:
    """Return a file name made of plain letters."""
    text = "-".join(str(part) for part in parts if part not in (None, ""))
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.").lower()[:80] or "plot"


def brief(text: str, limit: int = MAX_LABEL) -> str:
    """Return a name that leaves room for the plot: of a long one, its beginning and its end."""
    half = (limit - 1) // 2
    return text if len(text) <= limit else f"{text[:half]}…{text[-half:]}"


def chunks(items: Sequence[T], size: int) -> Iterator[tuple[str, Sequence[T]]]:
    """Yield (suffix for a title, part) so that no plot gets too full to read.

    At most MAX_PARTS parts are drawn, and the title says so; the tables have all items.
    """
    count = -(-len(items) // size)
    for index in range(min(count, MAX_PARTS)):
        suffix = f" ({index + 1} of {count})" if count > 1 else ""
        if count > MAX_PARTS:
            suffix = f" ({index + 1}; the first {size * MAX_PARTS} of {len(items)})"
        yield suffix, items[index * size : (index + 1) * size]
