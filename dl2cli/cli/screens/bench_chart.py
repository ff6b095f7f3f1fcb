"""A chart of characters: lines over a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

_MARKS = "●■▲◆○□△◇✚✖"
_COLOURS = ("cyan", "green", "yellow", "magenta", "red", "blue", "white")
_HEIGHT = 12
_LABEL = 7  # width of the numbers at the left


@dataclass(frozen=True)
class Line:
    """Values at the chart's points."""

    name: str
    values: tuple[float, ...]


def chart(lines: Sequence[Line], points: Sequence[str], width: int, axis: str) -> Text:
    """Draw lines over equally spaced points; where lines meet, the later one is seen.

    Args:
        lines: at most as many as there are marks.
        points: the labels of the points.
        width: columns to draw in.
        axis: what the points are.
    """
    lines = lines[: len(_MARKS)]
    top = max((max(line.values) for line in lines), default=0.0) or 1.0
    step = max((width - _LABEL - 2) // max(len(points), 1), 3)
    canvas: list[list[tuple[str, str]]] = [
        [(" ", "")] * (step * len(points)) for _ in range(_HEIGHT + 1)
    ]
    for index, line in enumerate(lines):
        for place, value in enumerate(line.values):
            row = _HEIGHT - round(value / top * _HEIGHT)
            style = _COLOURS[index % len(_COLOURS)]
            canvas[row][place * step + step // 2] = (_MARKS[index], style)
    text = Text("images/s\n", style="dim")
    for row, cells in enumerate(canvas):
        value = top * (_HEIGHT - row) / _HEIGHT
        label = f"{value:,.0f}" if row % 3 == 0 else ""
        text.append(f"{label:>{_LABEL}} │", style="dim")
        for mark, style in cells:
            text.append(mark, style=style or "default")
        text.append("\n")
    text.append(" " * _LABEL + " └" + "─" * (step * len(points)) + "\n", style="dim")
    shown = "".join(f"{p:^{step}}" if len(p) < step else " " * step for p in points)
    text.append(" " * (_LABEL + 2) + shown.rstrip() + f" {axis}\n", style="dim")
    text.append(" " * (_LABEL + 2))
    for index, line in enumerate(lines):
        text.append(f"{_MARKS[index]} {line.name}   ", style=_COLOURS[index % len(_COLOURS)])
    return text
