"""Bar plots: groups of bars, and the plots of stalls, codecs and qualities."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dl2cli.drawing import INK
from dl2cli.report.entries import Entry
from dl2cli.report.model import Kind, QualityList
from dl2cli.report.plots import palette
from dl2cli.report.plots.canvas import WIDTH_IN, Canvas, Plot, Tip, brief, chunks, slug
from dl2cli.report.plots.experiments import words_of
from dl2cli.report.plots.palette import Look, look_of
from dl2cli.report.read.values import natural_key
from dl2cli.report.tables.table import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BARS = 24
_BAR_IN = 0.24
_LETTER_IN = 0.058  # of 8 points, on average


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its label; `low` and `high` are the ends of its whisker."""

    name: str
    value: float
    label: str
    look: Look
    tip: str
    low: float | None = None
    high: float | None = None


Groups = Sequence[tuple[str, Sequence[Bar]]]


def draw_groups(axes: Axes, groups: Groups, tips: list[Tip], *, log: bool = False) -> None:
    """Draw horizontal bars in named groups, with the value at the end of each."""
    ticks: list[float] = []
    names: list[str] = []
    top = max(max(bar.value, bar.high or 0) for _, bars in groups for bar in bars)
    y = 0.0
    for name, bars in groups:
        # All at once, which takes matplotlib a third of the time.
        axes.barh(
            [y + place for place in range(len(bars))],
            [bar.value for bar in bars],
            0.84,
            color=[bar.look.colour for bar in bars],
            edgecolor=INK,
            linewidth=0.5,
        )
        for bar in bars:
            end = bar.value
            if bar.low is not None and bar.high is not None:
                axes.plot([bar.low, bar.high], [y, y], color=INK, linewidth=1, marker="|")
                end = max(end, bar.high)
            axes.annotate(
                f"{_rounded(bar.value)}  {bar.label}", (end, y), (4, 0),
                textcoords="offset points", va="center", fontsize=8,
            )  # fmt: skip
            tips.append(Tip(axes, bar.value, y, bar.tip))
            y += 1
        ticks.append(y - 0.5 - len(bars) / 2)
        names.append(name)
        y += 0.6
    lines = [max(2, len(bars)) for _, bars in groups]
    axes.set_yticks(ticks, [_folded(*pair) for pair in zip(names, lines, strict=True)], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(y - 0.6 - 0.4, -0.6)
    if log:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.xaxis.set_minor_formatter(lambda _value, _: "")
        lowest = min(bar.value for _, bars in groups for bar in bars)
        axes.set_xlim(lowest / 2, top * (top / lowest) ** 0.35 * 2)
    else:
        axes.set_xlim(0, top * 1.4)
    axes.grid(axis="x")


def _folded(name: str, lines: int) -> str:
    """Return a name in lines beside its bars."""
    return textwrap.fill(name, 26, max_lines=lines, placeholder=" …", break_on_hyphens=False)


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def height_in(groups: Groups) -> float:
    """Return the height of a plot of these bars in inches."""
    return 1.1 + _BAR_IN * (sum(len(bars) for _, bars in groups) + 0.6 * len(groups))


def stall_plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield what an iteration of each run is made of: waiting for storage, for decode, compute."""
    known = [
        e
        for e in entries
        if e.timing.iteration_s and e.timing.compute_s is not None and e.timing.data_s is not None
    ]
    families: dict[str, list[Entry]] = defaultdict(list)
    for entry in known:
        words = filter(None, (entry.run.source.group, entry.setup.arch))
        families[": " + ", ".join(words) if len(known) > MAX_BARS else ""].append(entry)
    for where, members in families.items():
        if where:
            members.sort(key=lambda e: (words_of(e), natural_key(e.name)))
        for suffix, part in chunks(members, MAX_BARS):
            title = f"What an iteration waits for{where}{suffix}"

            def draw(canvas: Canvas, part: Sequence[Entry] = part) -> None:
                _draw_stalls(canvas, part)

            yield Plot(slug("stalls", where, suffix), title, 1.5 + 0.3 * len(part), draw, "row")


def _draw_stalls(canvas: Canvas, entries: Sequence[Entry]) -> None:
    axes = canvas.figure.subplots()
    labelled: set[str] = set()
    names = [brief(entry.name) for entry in entries]
    waits = [
        f"{100 * (e.timing.stall_frac or 0.0):.1f} % of {duration(e.timing.iteration_s or 1.0)}"
        for e in entries
    ]
    for y, entry in enumerate(entries):
        timing = entry.timing
        whole = timing.iteration_s or 1.0
        left = 0.0
        for name, part_s, colour in _parts(entry):
            share = part_s / whole * 100
            axes.barh(
                y, share, 0.74, left, color=colour, edgecolor=INK, linewidth=0.5,
                label=name if name not in labelled else None,
            )  # fmt: skip
            labelled.add(name)
            text = f"{entry.name}, {name}: {share:.1f} %, {duration(part_s)} an iteration"
            canvas.tips.append(Tip(axes, left + share / 2, y, text))
            left += share
        axes.annotate(
            waits[y], (100, y), (4, 0), textcoords="offset points", va="center", fontsize=8
        )
    axes.set_yticks(range(len(entries)), names, fontsize=8)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    width_in = WIDTH_IN - _LETTER_IN * max(map(len, names)) - 0.3
    beside = (_LETTER_IN * max(map(len, waits)) + 0.15) / width_in
    axes.set_xlim(0, 100 / (1 - min(beside, 0.7)))
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("% of an iteration; beside it: waiting, and its length")
    canvas.figure.legend(loc="outside lower center", ncols=4)


def _parts(entry: Entry) -> list[tuple[str, float, str]]:
    timing = entry.timing
    compute = ("compute", timing.compute_s or 0.0, palette.COMPUTE)
    if timing.fetch_stall_s is None or timing.prep_stall_s is None:
        return [("waiting for data", timing.data_s or 0.0, palette.WAIT), compute]
    rest = max(0.0, (timing.data_s or 0.0) - timing.fetch_stall_s - timing.prep_stall_s)
    parts = [
        ("fetch stall (storage)", timing.fetch_stall_s, palette.FETCH),
        ("prep stall (decode)", timing.prep_stall_s, palette.PREP),
    ]
    if rest > 0.001 * (timing.iteration_s or 1.0):
        parts.append(("other waiting", rest, palette.WAIT))
    return [*parts, compute]


def codec_plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield the rates of encoding and decoding, without those that a table marks as unusable."""
    # The axis is logarithmic, and a damaged log can hold a negative time.
    rated = [e for e in entries if e.codec_rate_img_s is not None and e.codec_rate_img_s > 0]
    for kind, verb in ((Kind.CODEC_ENC, "Encoding"), (Kind.CODEC_DEC, "Decoding")):
        members = [entry for entry in rated if entry.run.kind is kind]
        members.sort(key=lambda e: (natural_key(e.setup.variant or ""), natural_key(e.name)))
        for suffix, part in chunks(members, MAX_BARS):
            groups: dict[str, list[Bar]] = {}
            for entry in part:
                rate = entry.codec_rate_img_s or 0.0
                tip = f"{entry.name}: {rate:.4g} images/s"
                label = f"{entry.setup.device}, {brief(entry.setup.dataset or '?', 24)}"
                bar = Bar(entry.name, rate, label, look_of(entry.setup.variant), tip)
                groups.setdefault(entry.setup.variant or "?", []).append(bar)
            items = list(groups.items())

            def draw(canvas: Canvas, items: Groups = items) -> None:
                axes = canvas.figure.subplots()
                draw_groups(axes, items, canvas.tips, log=True)
                axes.set_xlabel("images/s over the whole experiment (logarithmic)")

            yield Plot(slug(verb, suffix), f"{verb}: rate{suffix}", height_in(items), draw, "row")


def quality_plots(lists: Sequence[QualityList]) -> Iterator[Plot]:
    """Yield the histogram of JPEG qualities of each list."""
    for number, qualities in enumerate(lists):
        if not qualities.counts:
            continue

        def draw(canvas: Canvas, qualities: QualityList = qualities) -> None:
            axes = canvas.figure.subplots()
            levels, counts = zip(*qualities.counts.items(), strict=True)
            axes.bar(levels, counts, 0.9, color=palette.RAW_COLOUR, edgecolor=INK, linewidth=0.3)
            for quality, count in qualities.counts.items():
                tip = f"quality {quality}: {count} images"
                canvas.tips.append(Tip(axes, quality, count, tip))
            best = max(qualities.counts, key=lambda q: qualities.counts[q])
            axes.annotate(
                f"{qualities.counts[best]} at {best}", (best, qualities.counts[best]), (0, 3),
                textcoords="offset points", ha="center", fontsize=8,
            )  # fmt: skip
            axes.set_xlabel("JPEG quality (estimate)")
            axes.set_ylabel("images")
            axes.grid(axis="y")

        yield Plot(
            slug("qualities", number or ""),
            f"JPEG qualities: {qualities.file}",
            3.0,
            draw,
            "column",
        )
