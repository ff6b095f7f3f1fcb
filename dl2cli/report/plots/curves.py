"""Curves: accuracy over epochs and hours, subsets against compression, regimens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dl2cli.drawing import INK
from dl2cli.report.compare import Clock
from dl2cli.report.entries import Entry
from dl2cli.report.model import Epoch, Kind, RegimenRun, TrainingRun
from dl2cli.report.plots.canvas import Canvas, Plot, Tip, brief, chunks, slug
from dl2cli.report.plots.palette import Look, curve_looks
from dl2cli.report.read.values import finite, natural_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_CURVES = 12
Points = list[tuple[float, float]]


def curve_plots(
    entries: Sequence[Entry], looks: Mapping[str, Look], clocks: Mapping[str, Clock]
) -> Iterator[Plot]:
    """Yield all plots of accuracy, one set for each model on each data set."""
    families: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        setup = entry.setup
        if _epochs(entry, "v_top1_pct") and setup.dataset != "synthetic":
            families[(setup.arch or "model", setup.dataset or "data")].append(entry)
    for (arch, dataset), members in families.items():
        members.sort(key=lambda e: (natural_key(e.setup.variant or ""), natural_key(e.name)))
        where = f"{arch}, {dataset}"
        plain = [e for e in members if e.run.kind is not Kind.REGIMEN]
        for suffix, part in chunks(plain, MAX_CURVES):
            yield _epoch_plot(f"Accuracy over epochs: {where}{suffix}", part, looks)
        timed = [e for e in members if clocks[e.name].ends]
        for suffix, part in chunks(timed, MAX_CURVES):
            yield _hours_plot(f"Accuracy over time: {where}{suffix}", part, looks, clocks)
        yield from _subset_plots(where, plain, looks)
        yield from _regimen_plots(where, members, looks)


def _stages(entry: Entry) -> tuple[TrainingRun, ...]:
    run = entry.run
    if isinstance(run, RegimenRun):
        return run.stages
    return (run,) if isinstance(run, TrainingRun) else ()


def _epochs(entry: Entry, value: str) -> list[tuple[Epoch, float]]:
    epochs = [epoch for stage in _stages(entry) for epoch in stage.epochs]
    return [(e, v) for e in epochs if (v := finite(getattr(e, value))) is not None]


def _draw_curve(
    canvas: Canvas, axes: Axes, entry: Entry, value: str, look: Look, **style: object
) -> None:
    points = _epochs(entry, value)
    xs = [epoch.index + 1 for epoch, _ in points]
    ys = [v for _, v in points]
    _line(axes, xs, ys, look, **style)
    word = "top-5" if "top5" in value else "top-1"
    canvas.tips += [
        Tip(axes, x, y, f"{entry.name}, epoch {x}: {word} {y:.2f} %")
        for x, y in zip(xs, ys, strict=True)
    ]


def _line(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], look: Look, **style: object
) -> None:
    options: dict[str, object] = {
        "color": look.colour,
        "linewidth": 1.4,
        "marker": look.marker,
        "markersize": 4,
        "markevery": max(1, len(xs) // 12),
        "markeredgecolor": INK,
        "markeredgewidth": 0.4,
        **style,
    }
    axes.plot(xs, ys, **options)  # type: ignore[arg-type]


def _legend(canvas: Canvas, axes: Axes, rows: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        columns = 2 if rows > 1 else 1
        canvas.figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def _legend_in(count: int) -> float:
    return 0.3 + 0.17 * ((count + 1) // 2)


def _label(entry: Entry) -> str:
    return f"{brief(entry.setup.variant or '?', 16)}  ({brief(entry.name, 31)})"


def _looks_of(entries: Sequence[Entry], looks: Mapping[str, Look]) -> Iterator[tuple[Entry, Look]]:
    """Yield each curve of a plot with its look."""
    variants = [entry.setup.variant for entry in entries]
    return zip(entries, curve_looks(variants, looks), strict=True)


def _epoch_plot(title: str, entries: Sequence[Entry], looks: Mapping[str, Look]) -> Plot:
    """Top-1 solid and top-5 dashed; beside it the last tenth of the epochs of top-1."""

    def draw(canvas: Canvas) -> None:
        whole, zoom = canvas.figure.subplots(1, 2, width_ratios=[3, 2])
        for entry, look in _looks_of(entries, looks):
            _draw_curve(canvas, whole, entry, "v_top1_pct", look, label=_label(entry))
            _draw_curve(
                canvas, whole, entry, "v_top5_pct", look, linestyle="--", marker="", linewidth=1.0
            )
            _draw_curve(canvas, zoom, entry, "v_top1_pct", look, markevery=1)
        whole.set_xlabel("epoch")
        whole.set_ylabel("accuracy (%): top-1; top-5 dashed")
        whole.set_ylim(0, 100)
        _zoom(zoom, entries)
        for axes in (whole, zoom):
            axes.grid()
            axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(canvas, whole, len(entries))

    return Plot(slug(title), title, 3.6 + _legend_in(len(entries)), draw)


def _zoom(axes: Axes, entries: Sequence[Entry]) -> None:
    last = max(epoch.index + 1 for entry in entries for epoch, _ in _epochs(entry, "v_top1_pct"))
    first = last - max(1, round(last * 0.1))
    inside = [
        value
        for entry in entries
        for epoch, value in _epochs(entry, "v_top1_pct")
        if epoch.index + 1 >= first
    ]
    low, high = min(inside), max(inside)
    # Only a training as long as the others is a reference.
    references = [
        e.accuracy.best_top1_pct
        for e in entries
        if e.setup.variant == "raw" and e.timing.epochs_done >= last * 0.9
    ]
    best = max((top1 for top1 in references if top1 is not None), default=None)
    if best is not None:
        low, high = min(low, best), max(high, best)
        axes.axhline(best, color=INK, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"best of raw: {best:.2f} %", (0.02, best), xycoords=("axes fraction", "data"),
            xytext=(0, 2), textcoords="offset points", fontsize=7,
        )  # fmt: skip
    room = max((high - low) * 0.08, 0.05)
    axes.set_xlim(first - 0.2, last + 0.2)
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel(f"epoch ({first} to {last})")
    axes.set_ylabel("top-1 (%)")


def _hours_plot(
    title: str,
    entries: Sequence[Entry],
    looks: Mapping[str, Look],
    clocks: Mapping[str, Clock],
) -> Plot:
    def draw(canvas: Canvas) -> None:
        axes = canvas.figure.subplots()
        for entry, look in _looks_of(entries, looks):
            clock = clocks[entry.name]
            points = [
                (end_s / 3600, value)
                for epoch, end_s in clock.ends
                if (value := finite(epoch.v_top1_pct)) is not None
            ]
            label = _label(entry) + ("" if clock.source == "own" else f", {brief(clock.source)}")
            _line(axes, [x for x, _ in points], [y for _, y in points], look, label=label)
            canvas.tips += [
                Tip(axes, x, y, f"{entry.name}, {x:.2f} h: top-1 {y:.2f} %") for x, y in points
            ]
        axes.set_xlabel("hours since the start")
        axes.set_ylabel("validation top-1 (%)")
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.grid()
        _legend(canvas, axes, len(entries))

    return Plot(slug(title), title, 3.4 + _legend_in(len(entries)), draw)


def _is_subset(entry: Entry) -> bool:
    return entry.setup.codec == "raw" and (entry.setup.subset_frac or 1.0) < 1.0


def _longest(entries: Iterable[Entry]) -> list[Entry]:
    """Return the longest training of each variant."""
    best: dict[str | None, Entry] = {}
    for entry in entries:
        known = best.get(entry.setup.variant)
        if known is None or entry.timing.epochs_done > known.timing.epochs_done:
            best[entry.setup.variant] = entry
    return list(best.values())


def _subset_plots(
    where: str, entries: Sequence[Entry], looks: Mapping[str, Look]
) -> Iterator[Plot]:
    """Yield panels that pair each subset of the images with each compression of all of them."""
    subsets = _longest(e for e in entries if _is_subset(e))
    packed = _longest(e for e in entries if e.setup.codec in ("jpeg", "webp", "pcr"))
    pairs = [(s, p) for s in subsets for p in packed]
    for suffix, part in chunks(pairs, 6):
        title = f"Fewer images or fewer bytes: {where}{suffix}"

        def draw(canvas: Canvas, part: Sequence[tuple[Entry, Entry]] = part) -> None:
            rows = -(-len(part) // 2)
            grid = canvas.figure.subplots(rows, 2, sharex=True, sharey=True, squeeze=False).flat
            for axes, pair in zip(grid, part, strict=False):
                names = [brief(entry.setup.variant or "?", 20) for entry in pair]
                for name, (entry, look) in zip(names, _looks_of(pair, looks), strict=True):
                    _draw_curve(canvas, axes, entry, "v_top1_pct", look, label=name)
                axes.set_title(" against ".join(names))
                axes.legend(loc="lower right")
                axes.grid()
            for axes in list(grid)[len(part) :]:
                axes.set_visible(False)
            canvas.figure.supxlabel("epoch", fontsize=9)
            canvas.figure.supylabel("validation top-1 (%)", fontsize=9)

        yield Plot(slug(title), title, 1.0 + 2.1 * -(-len(part) // 2), draw)


def _regimen_plots(
    where: str, entries: Sequence[Entry], looks: Mapping[str, Look]
) -> Iterator[Plot]:
    """Yield each set of regimens (solid) against plain trainings (dashed)."""
    regimens = [e for e in entries if e.run.kind is Kind.REGIMEN]
    longest = max((e.timing.epochs_done for e in regimens), default=0)
    plain = [
        e
        for e in entries
        if e.run.kind is Kind.TRAIN and not _is_subset(e) and e.timing.epochs_done >= longest / 2
    ][: MAX_CURVES // 2]
    for suffix, part in chunks(regimens, MAX_CURVES // 2):
        title = f"Regimens: {where}{suffix}"

        def draw(canvas: Canvas, part: Sequence[Entry] = part) -> None:
            axes = canvas.figure.subplots()
            for entry, look in _looks_of([*plain, *part], looks):
                dashed = {"linestyle": "--", "marker": ""} if entry in plain else {}
                _draw_curve(canvas, axes, entry, "v_top1_pct", look, label=_label(entry), **dashed)
                for stage in _stages(entry)[1:]:
                    if stage.epochs:
                        axes.axvline(stage.epochs[0].index + 0.5, color=INK, lw=0.8, ls=":")
            axes.set_xlabel("epoch (dotted: a stage begins)")
            axes.set_ylabel("top-1 (%); plain trainings dashed")
            axes.set_ylim(bottom=0)
            axes.grid()
            _legend(canvas, axes, len(part) + len(plain))

        count = len(part) + len(plain)
        yield Plot(slug(title), title, 3.4 + _legend_in(count), draw)
