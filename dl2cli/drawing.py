"""Load matplotlib for every plot of dl2, so that no plot depends on the machine that draws it.

A user's environment may set MPLBACKEND (as notebooks do) or hold a `matplotlibrc` that wants LaTeX;
its home folder may not be writable, and any font may be missing. A plot of dl2 is a file: it is
drawn with matplotlib's defaults, the font that comes with it and the style below, and needs no
display.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dl2cli.errors import MissingDependency

if TYPE_CHECKING:
    from types import ModuleType

    from matplotlib.figure import Figure

INK = "#222222"  # text and lines
GRID = "#9a9a9a"

STYLE: Mapping[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.alpha": 0.4,
    "hatch.color": INK,
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "text.parse_math": False,  # a $ in the name of a log or folder does not begin a formula
    "svg.fonttype": "none",
    "svg.hashsalt": "dl2",  # the same plot gives the same bytes
    "pdf.fonttype": 42,
}


def load_matplotlib() -> ModuleType:
    """Import matplotlib, whatever MPLBACKEND, HOME or a `matplotlibrc` say.

    Raises:
        MissingDependency: It is not installed.
    """
    log = logging.getLogger("matplotlib")
    level, backend = log.level, os.environ.pop("MPLBACKEND", None)
    # It complains about keys in a matplotlibrc and about folders that it cannot write.
    log.setLevel(logging.CRITICAL)
    try:
        import matplotlib as mpl
        import matplotlib.font_manager
    except ImportError:
        raise MissingDependency("matplotlib", "plots") from None
    finally:
        log.setLevel(level)
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return mpl


@contextmanager
def new_figure(
    width_in: float, height_in: float, dpi: float = 100, **style: object
) -> Iterator[Figure]:
    """Yield an empty figure in the house style; what was set for it is undone afterwards.

    Args:
        width_in: Its width in inches.
        height_in: Its height in inches.
        dpi: Dots an inch of its canvas.
        style: Further entries of matplotlib's rcParams, with `_` for their dots.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    mpl = load_matplotlib()
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about glyphs that no font has
        warnings.simplefilter("ignore", RuntimeWarning)  # about values near the limits of floats
        matplotlib.style.use("default")
        mpl.rcParams.update({**STYLE, **{key.replace("_", "."): v for key, v in style.items()}})
        figure = Figure(figsize=(width_in, height_in), dpi=dpi, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
