"""One look for a variant everywhere: colour, hatch and marker.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any colour
vision can tell apart, without yellow (invisible on white) and black (the text's own). Where there
are more variants than colours, the hatch and the marker tell them apart, also in a grey print.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dl2cli.report.values import natural_key

INK = "#222222"  # text and lines; the page replaces it by the colour of its text
GRID = "#9a9a9a"
RAW_COLOUR = "#0072B2"
COLOURS = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
HATCHES = ("", "////", "....", "xxxx", "\\\\\\\\", "++++", "oooo", "----")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
# Waiting and computing are no variants: greys, with hatches of their own.
FETCH, PREP, WAIT, COMPUTE = "#4d4d4d", "#8c8c8c", "#6b6b6b", "#d9d9d9"


@dataclass(frozen=True, slots=True)
class Look:
    """How a variant is drawn."""

    colour: str
    hatch: str
    marker: str


def looks(*ranks: Iterable[str | None]) -> dict[str, Look]:
    """Give each variant its look; the same variants get the same looks, in any order.

    raw has its own colour; the others take turns in natural order, those of the first rank
    before those of the next.
    """
    result = {"raw": Look(RAW_COLOUR, "", "o")}
    for names in ranks:
        for name in sorted({name or "?" for name in names} - result.keys(), key=natural_key):
            index = len(result) - 1
            turn = index // len(COLOURS)
            result[name] = Look(
                COLOURS[index % len(COLOURS)],
                HATCHES[turn % len(HATCHES)],
                MARKERS[(index + 1) % len(MARKERS)],
            )
    return result
