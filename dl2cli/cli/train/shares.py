"""Where the time of a training goes: waiting for storage, for decoding, computing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from dl2cli.training.log.events import PhaseReport

_STYLES = {"fetch stall": "red", "prep stall": "yellow", "data stall": "red", "compute": "green"}
_SOLID = {"fetch stall": "█", "prep stall": "▓", "data stall": "█", "compute": "░"}
_ASCII = {"fetch stall": "#", "prep stall": "=", "data stall": "#", "compute": "."}


@dataclass(frozen=True, slots=True)
class Shares:
    """Where the seconds of some iterations went.

    Attributes:
        data_s: seconds of waiting for batches.
        compute_s: seconds of the rest.
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
        told = [r for r in reports if r.fetch_stall_s is not None]
        told_s = sum(r.data_s * r.iterations for r in told)
        fetch_s = sum((r.fetch_stall_s or 0.0) * r.iterations for r in told)
        return cls(
            data_s=sum(r.data_s * r.iterations for r in reports),
            compute_s=sum(r.compute_s * r.iterations for r in reports),
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


def share_bar(shares: Shares, width: int, console: Console) -> Text:
    """Return the shares as a bar `cells` wide; without colours, textures tell them apart."""
    glyphs = _SOLID if is_plain(console) else dict.fromkeys(_SOLID, "━")
    if not console.encoding.startswith("utf"):
        glyphs = _ASCII
    bar = Text()
    parts = shares.parts()
    for (name, _), cells in zip(parts, _cells([s for _, s in parts], width), strict=True):
        bar.append(glyphs[name] * cells, _STYLES[name])
    return bar


class ShareBar:
    """The bar of shares for a table, which is drawn when the console is known."""

    def __init__(self, shares: Shares, width: int) -> None:
        self._shares = shares
        self._width = width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield share_bar(self._shares, min(self._width, options.max_width), console)


def progress_bar(done: float, width: int, console: Console) -> Text:
    """Return a bar of so many cells, of which a part (0 to 1) is done."""
    cells = round(max(0.0, min(1.0, done)) * width)
    if not console.encoding.startswith("utf"):
        return Text("#" * cells + "." * (width - cells))
    rest = " " if is_plain(console) else "━"
    style = "bar.finished" if cells == width else "bar.complete"
    return Text("━" * cells, style).append(rest * (width - cells), "bar.back")


def is_plain(console: Console) -> bool:
    """Tell whether a console shows no colours."""
    return console.no_color or console.color_system is None


def _cells(shares: list[float], width: int) -> list[int]:
    """Divide a width so that the parts add up to it."""
    ends = [round(sum(shares[: index + 1]) * width) for index in range(len(shares))]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
