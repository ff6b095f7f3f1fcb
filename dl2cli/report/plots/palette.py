"""One look for a variant, on every page and in every plot: it comes from the variant's name alone.

The family of a variant (its codec) has a range of hues, and its quality a place in it: low
qualities are red in JPEG's range and green in WebP's, high ones yellow and teal; PCR goes from
violet to pink with k. raw is blue. Other codecs get a hue from a checksum of their name. Colours
are made in Oklch (B. Ottosson, "A perceptual color space for image processing", 2020), whose
lightness is one to the eye: between 0.5 and 0.7 a line is seen on a white page and on a dark one.

Where one plot has several curves of a variant, the lines differ, never the colour.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

RAW_COLOUR = "#0072B2"
GREY = "#808080"
RED = "#D55E00"  # for marks and limits, which do not show a variant
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES: tuple[object, ...] = ("-", (0, (6, 1.5)), (0, (1, 1)), (0, (6, 1.5, 1, 1.5)))
# Waiting and computing do not belong to a variant: they are shades of grey.
FETCH, PREP, WAIT, COMPUTE = "#3a3a3a", "#7c7c7c", "#5c5c5c", "#d0d0d0"

_HUES = {"jpeg": (-10.0, 100.0), "webp": (120.0, 195.0), "pcr": (280.0, 350.0)}  # degrees
_LIGHT, _LIGHT_SPAN, _CHROMA = 0.55, 0.15, 0.15
_VARIANT = re.compile(r"([a-z]\w*?(?:-mse)?)-(\d{1,3}(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Look:
    """How a variant is drawn; `line` is matplotlib's line style."""

    colour: str
    marker: str
    line: object = "-"


def look_of(variant: str | None) -> Look:
    """Return the look of a variant; a regimen has the look of its first stage."""
    name = (variant or "?").partition("+")[0]
    if name == "raw":
        return Look(RAW_COLOUR, "o")
    if name in ("?", "synthetic"):
        return Look(GREY, "o")
    match = _VARIANT.fullmatch(name)
    family = match.group(1) if match else name
    quality = float(match.group(2)) if match else 1.0
    if family not in (*_HUES, "raw"):  # codecs of which qualities go from 1 to 8, or below 1
        checksum = zlib.crc32(family.encode())
        place = min(quality / 8, 1.0)
        marker = MARKERS[(checksum + round(8 * place)) % len(MARKERS)]
        return Look(_oklch(_LIGHT + _LIGHT_SPAN * place, checksum % 360), marker)
    if family == "raw":  # a subset of the images
        return Look(_oklch(0.72 - 0.002 * quality, 240.0), MARKERS[1 + round(quality / 15) % 7])
    place = (quality - 1) / 9 if family == "pcr" else _place_of_quality(quality)
    low, high = _HUES[family]
    hue = low + place * (high - low)
    marker = MARKERS[round(place * 7) % len(MARKERS)]
    return Look(_oklch(_LIGHT + _LIGHT_SPAN * min(max(place, 0.0), 1.0), hue), marker)


def _place_of_quality(quality: float) -> float:
    """Spread the usual qualities (5, 10, 25, 50, 75, 85, 95) evenly from 0 to 1."""
    share = min(max(quality, 1.0), 99.0) / 100
    return 0.5 + 0.39 * math.log10(share / (1 - share))


def _oklch(lightness: float, hue_deg: float) -> str:
    """Return a colour of the usual chroma as #rrggbb."""
    a = _CHROMA * math.cos(math.radians(hue_deg))
    b = _CHROMA * math.sin(math.radians(hue_deg))
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    return "#" + "".join(f"{round(255 * _encoded(value)):02x}" for value in linear)


def _encoded(value: float) -> float:
    value = min(max(value, 0.0), 1.0)
    return 12.92 * value if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055


def curve_looks(variants: Sequence[str | None]) -> list[Look]:
    """Return a look for each curve of one plot: curves of one variant differ in their line."""
    seen: Counter[str | None] = Counter()
    result = []
    for variant in variants:
        look = look_of(variant)
        turn = seen[variant]
        seen[variant] += 1
        marker = MARKERS[(MARKERS.index(look.marker) + turn) % len(MARKERS)]
        result.append(replace(look, line=LINES[turn % len(LINES)], marker=marker))
    return result
