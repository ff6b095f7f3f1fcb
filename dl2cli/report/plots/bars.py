"""Bar plots: rates by storage, workers and variant, stalls, codecs, qualities."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dl2cli.drawing import INK
from dl2cli.report.compare import rate_of
from dl2cli.report.entries import Entry
from dl2cli.report.metrics import ratio
from dl2cli.report.model import Kind, QualityList
from dl2cli.report.plots import palette
from dl2cli.report.plots.canvas import Canvas, Plot, Tip, brief, chunks, slug
from dl2cli.report.plots.palette import Look
from dl2cli.report.read.values import natural_key
from dl2cli.report.tables.table import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_BARS = 24
_BAR_IN = 0.24


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


def _draw_groups(axes: Axes, groups: Groups, tips: list[Tip], *, log: bool = False) -> None:
    """Draw horizontal bars in named groups, with the value at the end of each."""
    ticks: list[float] = []
    names: list[str] = []
    top = max(max(bar.value, bar.high or 0) for _, bars in groups for bar in bars)
    y = 0.0
    for name, bars in groups:
        for bar in bars:
            axes.barh(
                y, bar.value, 0.84, color=bar.look.colour, hatch=bar.look.hatch, edgecolor=INK,
                linewidth=0.5,
            )  # fmt: skip
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
    axes.set_yticks(ticks, [brief(name) for name in names])
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


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _height(groups: Groups) -> float:
    return 1.1 + _BAR_IN * (sum(len(bars) for _, bars in groups) + 0.6 * len(groups))


def rate_plots(entries: Sequence[Entry], looks: Mapping[str, Look]) -> Iterator[Plot]:
    """Yield the rates of trainings and loader runs, as the published figures group them."""
    speed = [e for e in entries if rate_of(e) is not None and e.run.kind is not Kind.REGIMEN]
    families: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in speed:
        if entry.run.kind in (Kind.TRAIN, Kind.STAGE):
            families[(entry.setup.arch or "model", entry.setup.ranks)].append(entry)
        elif entry.run.kind is Kind.STANDALONE:
            families[("loader alone", "")].append(entry)
        elif entry.run.kind is Kind.BENCH:
            families[(entry.setup.arch or "no model", "bench-io")].append(entry)
    for (name, kind), members in _split_large(families).items():
        title = "Rate: " + ", ".join(part for part in (name, kind) if part)
        yield from _rate_plot(title, members, looks, ("storage", "workers", "loader"))
        if len(members) < 4 or _count(members, "variant") < 2:
            continue
        if _count(members, "storage") > 1:
            yield from _rate_plot(f"{title}, by variant", members, looks, ("variant",))
        if _count(members, "workers") > 1:
            fields = ("codec", "workers")
            yield from _rate_plot(f"{title}, by codec and workers", members, looks, fields)
        if any(e.setup.dataset_class == "MinIOFolder" for e in members):
            fields = ("cache", "codec")
            yield from _rate_plot(f"{title}, MinIO and compression", members, looks, fields)


def _count(entries: Sequence[Entry], field: str) -> int:
    return len({entry.field(field) for entry in entries if entry.setup.dataset != "synthetic"})


def _split_large(
    families: Mapping[tuple[str, str], list[Entry]],
) -> dict[tuple[str, str], list[Entry]]:
    """Split what does not fit one plot by the folders that hold the runs."""
    result: dict[tuple[str, str], list[Entry]] = {}
    for (name, kind), members in families.items():
        folders = {entry.run.source.group for entry in members}
        for entry in members:
            where = ", ".join(part for part in (kind, entry.run.source.group) if part)
            split = len(members) > MAX_BARS and len(folders) > 1
            result.setdefault((name, where if split else kind), []).append(entry)
    return result


def _category(entry: Entry, fields: Sequence[str]) -> str:
    words = []
    for field in fields:
        if field == "cache":
            words.append("MinIO" if entry.setup.dataset_class == "MinIOFolder" else "no MinIO")
            continue
        value = entry.field(field)
        if field == "storage" and value is None:
            value = entry.setup.storage_path
        if value is not None:
            words.append(f"{value} workers" if field == "workers" else brief(str(value), 24))
    return ", ".join(words) or "unknown"


def _rate_plot(
    title: str, members: Sequence[Entry], looks: Mapping[str, Look], fields: Sequence[str]
) -> Iterator[Plot]:
    ordered = sorted(
        members,
        key=lambda e: (
            natural_key(_category(e, fields)),
            natural_key(e.setup.variant or ""),
            natural_key(e.name),
        ),
    )
    for suffix, part in chunks(ordered, MAX_BARS):
        groups: dict[str, list[Bar]] = {}
        for entry in part:
            groups.setdefault(_category(entry, fields), []).append(_rate_bar(entry, looks, fields))
        items = [(name, _told_apart(bars)) for name, bars in groups.items()]

        def draw(canvas: Canvas, items: Groups = items) -> None:
            axes = canvas.figure.subplots()
            _draw_groups(axes, items, canvas.tips)
            axes.set_xlabel("images/s (whisker: slowest and fastest epoch that counts)")

        yield Plot(slug(title + suffix), title + suffix, _height(items), draw, "row")


def _told_apart(bars: Sequence[Bar]) -> list[Bar]:
    """Add the run's name where two bars of a group would have the same label."""
    count = Counter(bar.label for bar in bars)
    return [
        replace(bar, label=f"{bar.label}, {brief(bar.name)}") if count[bar.label] > 1 else bar
        for bar in bars
    ]


def _rate_bar(entry: Entry, looks: Mapping[str, Look], fields: Sequence[str]) -> Bar:
    timing = entry.timing
    rate = rate_of(entry) or 0.0
    images = rate * timing.epoch_mean_s if timing.epoch_mean_s else None
    others = ("variant", "storage", "workers") if "variant" not in fields else ("storage", "loader")
    label = _category(entry, [name for name in others if name not in fields])
    spread = timing.rate_epoch_img_s is not None
    return Bar(
        entry.name,
        rate,
        label,
        looks[entry.setup.variant or "?"],
        f"{entry.name}: {rate:.1f} images/s",
        ratio(images, timing.epoch_max_s) if spread else None,
        ratio(images, timing.epoch_min_s) if spread else None,
    )


def stall_plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield what an iteration of each run is made of: waiting for storage, for decode, compute."""
    known = [
        e
        for e in entries
        if e.timing.iteration_s and e.timing.compute_s is not None and e.timing.data_s is not None
    ]
    for suffix, part in chunks(known, MAX_BARS):
        title = f"What an iteration waits for{suffix}"

        def draw(canvas: Canvas, part: Sequence[Entry] = part) -> None:
            _draw_stalls(canvas, part)

        yield Plot(slug("stalls", suffix), title, 1.5 + 0.3 * len(part), draw, "row")


def _draw_stalls(canvas: Canvas, entries: Sequence[Entry]) -> None:
    axes = canvas.figure.subplots()
    labelled: set[str] = set()
    for y, entry in enumerate(entries):
        timing = entry.timing
        whole = timing.iteration_s or 1.0
        left = 0.0
        for name, part_s, colour, hatch in _parts(entry):
            share = part_s / whole * 100
            axes.barh(
                y, share, 0.74, left, color=colour, hatch=hatch, edgecolor=INK, linewidth=0.5,
                label=name if name not in labelled else None,
            )  # fmt: skip
            labelled.add(name)
            text = f"{entry.name}, {name}: {share:.1f} %, {duration(part_s)} an iteration"
            canvas.tips.append(Tip(axes, left + share / 2, y, text))
            left += share
        stall = (timing.stall_frac or 0.0) * 100
        axes.annotate(
            f"{stall:.1f} % of {duration(whole)}", (100, y), (4, 0), textcoords="offset points",
            va="center", fontsize=8,
        )  # fmt: skip
    axes.set_yticks(range(len(entries)), [brief(entry.name) for entry in entries], fontsize=8)
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.set_xlim(0, 136)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("% of an iteration; beside it: waiting, and its length")
    canvas.figure.legend(loc="outside lower center", ncols=4)


def _parts(entry: Entry) -> list[tuple[str, float, str, str]]:
    timing = entry.timing
    compute = ("compute", timing.compute_s or 0.0, palette.COMPUTE, "")
    if timing.fetch_s is None or timing.prep_s is None:
        return [("waiting for data", timing.data_s or 0.0, palette.WAIT, "////"), compute]
    rest = max(0.0, (timing.data_s or 0.0) - timing.fetch_s - timing.prep_s)
    parts = [
        ("fetch stall (storage)", timing.fetch_s, palette.FETCH, ""),
        ("prep stall (decode)", timing.prep_s, palette.PREP, "...."),
    ]
    if rest > 0.001 * (timing.iteration_s or 1.0):
        parts.append(("other waiting", rest, palette.WAIT, "////"))
    return [*parts, compute]


def codec_plots(entries: Sequence[Entry], looks: Mapping[str, Look]) -> Iterator[Plot]:
    """Yield the rates of encoding and decoding."""
    # The axis is logarithmic, and a damaged log can hold a negative time.
    rated = [e for e in entries if e.codec and (e.codec.rate_total_img_s or 0.0) > 0]
    for kind, verb in ((Kind.CODEC_ENC, "Encoding"), (Kind.CODEC_DEC, "Decoding")):
        members = [entry for entry in rated if entry.run.kind is kind]
        members.sort(key=lambda e: (natural_key(e.setup.variant or ""), natural_key(e.name)))
        for suffix, part in chunks(members, MAX_BARS):
            groups: dict[str, list[Bar]] = {}
            for entry in part:
                assert entry.codec is not None
                rate = entry.codec.rate_total_img_s or 0.0
                tip = f"{entry.name}: {rate:.4g} images/s"
                label = f"{entry.setup.device}, {brief(entry.setup.dataset or '?', 24)}"
                bar = Bar(entry.name, rate, label, looks[entry.setup.variant or "?"], tip)
                groups.setdefault(entry.setup.variant or "?", []).append(bar)
            items = list(groups.items())

            def draw(canvas: Canvas, items: Groups = items) -> None:
                axes = canvas.figure.subplots()
                _draw_groups(axes, items, canvas.tips, log=True)
                axes.set_xlabel("images/s over the whole experiment (logarithmic)")

            yield Plot(slug(verb, suffix), f"{verb}: rate{suffix}", _height(items), draw, "row")


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
