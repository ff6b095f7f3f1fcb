"""Where the time of a training goes: waiting for storage, for decoding, computing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from dl2cli.training.events import PhaseReport

_STYLES = {"fetch stall": "red", "prep stall": "yellow", "data stall": "red", "compute": "green"}
_SOLID = {"fetch stall": "█", "prep stall": "▓", "data stall": "█", "compute": "░"}
_ASCII = {"fetch stall": "#", "prep stall": "=", "data stall": "#", "compute": "."}


@dataclass(frozen=True, slots=True)
class Shares:
    """Seconds of some iterations.

    Attributes:
        data_s: waiting for batches.
        compute_s: the rest.
        fetch_part: of data_s, the part that waited for storage (0 to 1; the rest waited for
            decoding); None when the loader cannot tell.
    """

    data_s: float
    compute_s: float
    fetch_part: float | None = None

    @classmethod
    def of(cls, reports: Iterable[PhaseReport]) -> Shares:
        """Add up the time of several phases."""
        reports = list(reports)
        told = [r for r in reports if r.fetch_time_s is not None]
        told_s = sum(r.data_time_s * r.iterations for r in told)
        fetch_s = sum((r.fetch_time_s or 0.0) * r.iterations for r in told)
        return cls(
            data_s=sum(r.data_time_s * r.iterations for r in reports),
            compute_s=sum(r.compute_time_s * r.iterations for r in reports),
            fetch_part=fetch_s / told_s if told_s > 0 else None,
        )

    def parts(self) -> list[tuple[str, float]]:
        """Return names and shares (0 to 1), which add up to 1; nothing before the first step."""
        total_s = self.data_s + self.compute_s
        if not total_s > 0:
            return []
        data = self.data_s / total_s
        compute = ("compute", self.compute_s / total_s)
        if self.fetch_part is None:
            return [("data stall", data), compute]
        fetch = data * self.fetch_part
        return [("fetch stall", fetch), ("prep stall", data - fetch), compute]

    def text(self) -> Text:
        """Return the shares as words."""
        words = [Text(f"{name} {share:.1%}", _STYLES[name]) for name, share in self.parts()]
        return Text("  ").join(words)


class ShareBar:
    """The shares as a bar as wide as there is room; without colours, its texture tells."""

    def __init__(self, shares: Shares, width: int | None = None) -> None:
        self._shares = shares
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(self._width or options.max_width, options.max_width)
        utf8 = console.encoding.startswith("utf")
        plain = console.no_color or console.color_system is None
        glyphs = (_SOLID if plain else dict.fromkeys(_SOLID, "━")) if utf8 else _ASCII
        bar = Text()
        parts = self._shares.parts()
        for (name, _), cells in zip(parts, _cells([s for _, s in parts], width), strict=True):
            bar.append(glyphs[name] * cells, _STYLES[name])
        yield bar

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        width = self._width or options.max_width
        return Measurement(min(4, width), width)


def _cells(shares: list[float], width: int) -> list[int]:
    """Divide a width so that the parts add up to it."""
    ends = [round(sum(shares[: index + 1]) * width) for index in range(len(shares))]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
