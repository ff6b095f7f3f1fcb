"""One look for a variant everywhere: colour, hatch and marker.

Colours are those of Okabe and Ito ("Color Universal Design", 2008), which people with any colour
vision can tell apart, without yellow (invisible on white) and black (the text's own). Where there
are more variants than colours, the hatch and the marker tell them apart, also in a grey print.
Lines have no hatch, and a marker is seen at few of their points, so that each curve of a plot has
a colour of its own (`curve_looks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dl2cli.report.read.values import natural_key

RAW_COLOUR = "#0072B2"
COLOURS = ("#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
# Where a plot has more curves than these: as light on a white page as on a dark one.
MORE_COLOURS = ("#8E5FC7", "#8C8C23", "#C2185B", "#7088E8", "#9C5B3B", "#808080")
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


def curve_looks(variants: Sequence[str | None], looks: Mapping[str, Look]) -> list[Look]:
    """Return a look for each curve of one plot, no two of one colour while there are colours.

    The first curve of a variant has the variant's own look, if no curve before it has its colour;
    the others get colours and markers that are left.
    """
    own: dict[str, int] = {}
    for index, name in enumerate(variants):
        own.setdefault(looks[name or "?"].colour, index)
    result = [looks[name or "?"] for name in variants]
    colours = [c for c in (RAW_COLOUR, *COLOURS, *MORE_COLOURS) if c not in own]
    used = {result[index].marker for index in own.values()}
    markers = [marker for marker in MARKERS if marker not in used] or list(MARKERS)
    others = [index for index in range(len(result)) if index not in own.values()]
    for turn, (index, colour) in enumerate(zip(others, colours, strict=False)):
        result[index] = Look(colour, "", markers[turn % len(markers)])
    return result
