"""Makes matplotlib's SVG a part of a page: a third as long, and in the page's colours."""

from __future__ import annotations

import re
import zlib
from collections import Counter

from dl2cli.drawing import INK
from dl2cli.report.plots.palette import RAW_COLOUR

OFTEN = 3  # a style that stands so often becomes a class


def tidy(svg: str) -> str:
    """Return an SVG drawing as it stands in a page.

    The prologue goes, and ids that nothing refers to, groups that say nothing and digits that no
    eye sees; the ink becomes the colour of the page's text.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)
    svg = re.sub(r"<svg [^>]*viewBox=\"([^\"]*)\"[^>]*>", r'<svg viewBox="\1">', svg, count=1)
    svg = re.sub(r'(?<= )(d|transform|x|y)="([^"]*)"', _shortened, svg)
    svg = svg.replace("font-family: 'DejaVu Sans'; ", "")
    svg = re.sub(r' transform="rotate\(-?0 [^)]*\)"', "", svg)
    # The blue of raw is too dark on a dark page, which has a lighter one.
    svg = svg.replace(RAW_COLOUR.lower(), "var(--raw)").replace(INK, "currentColor")
    svg = re.sub(r">\s+<", "><", svg.replace("xlink:href", "href")).strip()
    return _with_classes(_without_idle_groups(svg))


def _shortened(match: re.Match[str]) -> str:
    """Round the coordinates of an attribute to a tenth of a point."""
    value = re.sub(
        r"\d+\.\d{2,}", lambda n: f"{float(n.group()):.1f}".removesuffix(".0"), match.group(2)
    )
    return f'{match.group(1)}="{" ".join(value.split())}"'


def _without_idle_groups(svg: str) -> str:
    """Leave out `<g>` without attributes, with its end."""
    kept: list[bool] = []
    parts: list[str] = []
    for part in re.split(r"(<g\b[^>]*>|</g>)", svg):
        if part == "</g>":
            if kept.pop():
                parts.append(part)
        elif re.fullmatch(r"<g\b[^>]*/>", part):
            continue
        elif part.startswith("<g") and re.fullmatch(r"<g\b[^>]*>", part):
            kept.append(part != "<g>")
            if kept[-1]:
                parts.append(part)
        else:
            parts.append(part)
    return "".join(parts)


def _with_classes(svg: str) -> str:
    """Turn styles that stand often into classes, named after their content.

    Equal names mean equal styles, so that the drawings of a page may share them.
    """
    styles = Counter(re.findall(r' style="([^"]*)"', svg))
    names = {
        style: f"s{zlib.crc32(style.encode()):08x}"
        for style, count in styles.items()
        if count >= OFTEN
    }
    for style, name in names.items():
        svg = svg.replace(f' style="{style}"', f' class="{name}"')
    rules = "".join(f".{name}{{{style}}}" for style, name in names.items())
    return svg.replace("</style>", f"{rules}</style>", 1)
