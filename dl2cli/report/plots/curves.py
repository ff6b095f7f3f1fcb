"""Curves: accuracy over epochs (H2a) and over time (H2b), subsets against compression (H2c)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dl2cli.drawing import INK
from dl2cli.report.compare import PEER_FIELDS, Clock
from dl2cli.report.entries import Entry
from dl2cli.report.model import Epoch, Kind, RegimenRun, TrainingRun
from dl2cli.report.plots.canvas import MAX_TITLE, Canvas, Plot, Tip, brief, chunks, slug
from dl2cli.report.plots.experiments import (
    Experiment,
    experiments,
    split_large,
    value_words,
    words_of,
)
from dl2cli.report.plots.palette import Look, curve_looks
from dl2cli.report.read.values import finite, natural_key

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

MAX_CURVES = 12
MAX_TOP5 = 6  # curves of top-5 in one plot; with more, top-1 would not be seen
MAX_TIPS = 45  # of one curve
LONG = 10  # epochs from which the last tenth is worth a panel of its own
COMPRESSED = ("jpeg", "webp", "pcr")


def curve_plots(entries: Sequence[Entry], clocks: Mapping[str, Clock]) -> Iterator[Plot]:
    """Yield all plots of accuracy, one set for each model on each data set."""
    families: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        setup = entry.setup
        if _epochs(entry, "v_top1_pct") and setup.dataset != "synthetic":
            families[(setup.arch or "model", setup.dataset or "data")].append(entry)
    for (arch, dataset), members in families.items():
        members.sort(key=_order)
        where = f"{arch}, {dataset}"
        plain = [e for e in members if e.run.kind is not Kind.REGIMEN]
        for experiment in _experiments(plain):
            name = ": ".join(filter(None, (where, experiment.title)))
            yield _epoch_plot(f"Accuracy over epochs: {name}", experiment.entries)
            timed = [e for e in experiment.entries if clocks[e.name].ends]
            if timed:
                yield _time_plot(f"Accuracy over time: {name}", timed, clocks)
        yield from _subset_plots(where, plain)
        yield from _regimen_plots(where, members)


def _order(entry: Entry) -> tuple[object, ...]:
    return natural_key(entry.setup.variant or ""), natural_key(entry.name)


def _experiments(entries: Sequence[Entry]) -> list[Experiment]:
    """Group trainings whose variant differs, and those that only differ in something else."""
    found, left = experiments(entries, "variant")
    for parameter in ("storage", "workers", "global_batch", "mixup"):
        more, left = experiments(left, parameter) if left else ([], [])
        found += more
    if left:
        found.append(Experiment("other runs" if found else "", tuple(left)))
    found = _long_enough(found, max((e.timing.epochs_done for e in entries), default=0))

    def codec(entry: Entry) -> str:
        # raw is what the others are compared with, so it goes into every part.
        return "" if entry.setup.variant == "raw" else entry.setup.codec or "?"

    return split_large(found, MAX_CURVES, codec)


def _long_enough(found: Sequence[Experiment], longest: int) -> list[Experiment]:
    """Leave out experiments of a few epochs, of a model that others trained to the end.

    They were made to measure speed; the tables have their accuracy.
    """
    if len(found) < 2 or longest < 4 * LONG:
        return list(found)
    return [e for e in found if max(entry.timing.epochs_done for entry in e.entries) >= LONG]


def _stages(entry: Entry) -> tuple[TrainingRun, ...]:
    run = entry.run
    if isinstance(run, RegimenRun):
        return run.stages
    return (run,) if isinstance(run, TrainingRun) else ()


def _epochs(entry: Entry, value: str) -> list[tuple[Epoch, float]]:
    epochs = [epoch for stage in _stages(entry) for epoch in stage.epochs]
    return [(e, v) for e in epochs if (v := finite(getattr(e, value))) is not None]


def _draw_curve(canvas: Canvas, axes: Axes, entry: Entry, look: Look, **style: object) -> None:
    """Draw top-1 over epochs; its hover values tell top-5, too."""
    tips = style.pop("tips", True)
    points = _epochs(entry, "v_top1_pct")
    xs = [epoch.index + 1 for epoch, _ in points]
    _line(axes, xs, [value for _, value in points], look, **style)
    if not tips:
        return
    for epoch, value in _thinned(points):
        top5 = finite(epoch.v_top5_pct)
        more = "" if top5 is None else f", top-5 {top5:.2f} %"
        text = f", epoch {epoch.index + 1}: top-1 {value:.2f} %{more}"
        canvas.tips.append(Tip(axes, epoch.index + 1, value, text, entry.name))


def _thinned(points: Sequence[tuple[Epoch, float]]) -> list[tuple[Epoch, float]]:
    """Return at most MAX_TIPS of the points, with the best and the last."""
    step = -(-len(points) // MAX_TIPS)
    best = max(points, key=lambda point: point[1], default=None)
    return [
        point
        for index, point in enumerate(points)
        if index % step == 0 or point is best or index == len(points) - 1
    ]


def _line(
    axes: Axes, xs: Sequence[float], ys: Sequence[float], look: Look, **style: object
) -> None:
    options: dict[str, object] = {
        "color": look.colour,
        "linestyle": look.line,
        "linewidth": 1.4,
        "marker": look.marker,
        "markersize": 4,
        "markevery": max(1, len(xs) // 6),
        "markeredgewidth": 0,
        **style,
    }
    axes.plot(xs, ys, **options)  # type: ignore[arg-type]


def _legend(canvas: Canvas, axes: Axes, labels: Sequence[str]) -> None:
    handles, names = axes.get_legend_handles_labels()
    if handles:
        canvas.figure.legend(
            handles, names, loc="outside lower center", ncols=_columns(labels), fontsize=7.5
        )


def _columns(labels: Sequence[str]) -> int:
    """Return how many columns of a legend fit the width of a plot."""
    longest = max(map(len, labels), default=1)
    return max(1, min(len(labels), 4, 78 // (longest + 8)))


def _legend_in(labels: Sequence[str]) -> float:
    return 0.3 + 0.17 * -(-len(labels) // _columns(labels))


def labels_of(entries: Sequence[Entry]) -> list[str]:
    """Return the shortest label for each curve of a plot that no other has."""
    labels = [brief(entry.setup.variant or "?", 24) for entry in entries]
    for add in (lambda e: value_words(e, "storage"), _words, _name):
        more = [add(entry) for entry in entries]
        pairs = list(zip(labels, more, strict=True))
        # Only what tells two curves of one label apart.
        told = {label for label, _ in pairs if len({m for other, m in pairs if other == label}) > 1}
        labels = [f"{label}, {m}" if label in told and m else label for label, m in pairs]
    return [brief(label, MAX_TITLE) for label in labels]


def _words(entry: Entry) -> str:
    return brief(" ".join(words_of(entry)), 24)


def _name(entry: Entry) -> str:
    return brief(entry.name, 36)


def _looks_of(entries: Sequence[Entry]) -> list[Look]:
    return curve_looks([entry.setup.variant for entry in entries])


def _epoch_plot(title: str, entries: Sequence[Entry]) -> Plot:
    """Top-1 solid and, of few runs, top-5 thin; beside it the last tenth of many epochs."""
    labels, looks = labels_of(entries), _looks_of(entries)
    last = max(epoch.index + 1 for entry in entries for epoch, _ in _epochs(entry, "v_top1_pct"))
    top5 = len(entries) <= MAX_TOP5

    def draw(canvas: Canvas) -> None:
        widths = [3, 2] if last >= LONG else [1]
        panels = canvas.figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
        whole = panels[0]
        for entry, look, label in zip(entries, looks, labels, strict=True):
            _draw_curve(canvas, whole, entry, look, label=label)
            if top5:
                points = _epochs(entry, "v_top5_pct")
                xs, ys = [e.index + 1 for e, _ in points], [v for _, v in points]
                _line(whole, xs, ys, look, linestyle="--", marker="", linewidth=0.8)
            if last >= LONG:
                _draw_curve(canvas, panels[1], entry, look, tips=False, markevery=1)
        whole.set_xlabel("epoch")
        whole.set_ylabel("accuracy (%): top-1" + ("; top-5 dashed" if top5 else ""))
        if last >= LONG:
            _zoom(panels[1], entries, last)
        for axes in panels:
            axes.grid()
            axes.xaxis.get_major_locator().set_params(integer=True)
        _legend(canvas, whole, labels)

    return Plot(slug(title), title, 3.4 + _legend_in(labels), draw)


def _zoom(axes: Axes, entries: Sequence[Entry], last: int) -> None:
    first = last - max(3, round(last * 0.1))
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
    # Less than a point is noise, and a panel that fills with it would show differences.
    room = max((high - low) * 0.08, (1.0 - (high - low)) / 2)
    axes.set_xlim(first - 0.2, last + 0.2)
    axes.set_ylim(low - room, high + room)
    axes.set_xlabel(f"epoch ({first} to {last})")
    axes.set_ylabel("top-1 (%)")


def _time_plot(title: str, entries: Sequence[Entry], clocks: Mapping[str, Clock]) -> Plot:
    sources = {clocks[entry.name].source for entry in entries}
    labels = labels_of(entries)
    if len(sources) > 1:
        labels = [
            label if clocks[e.name].source == "own" else f"{label}; {clocks[e.name].source}"
            for label, e in zip(labels, entries, strict=True)
        ]
    words = "each run's own clock" if sources == {"own"} else next(iter(sources))
    words = words if len(sources) == 1 else "each by its own clock, or as the legend says"
    unit, unit_s = time_unit(max(clocks[entry.name].ends[-1][1] for entry in entries))
    looks = _looks_of(entries)

    def draw(canvas: Canvas) -> None:
        axes = canvas.figure.subplots()
        for entry, look, label in zip(entries, looks, labels, strict=True):
            ends = dict(clocks[entry.name].ends)
            points = [point for point in _epochs(entry, "v_top1_pct") if point[0] in ends]
            xs = [ends[epoch] / unit_s for epoch, _ in points]
            _line(axes, xs, [value for _, value in points], look, label=label)
            for epoch, value in _thinned(points):
                x = ends[epoch] / unit_s
                text = f", after {x:.2f} {unit}: top-1 {value:.2f} %"
                canvas.tips.append(Tip(axes, x, value, text, entry.name))
        axes.set_xlabel(f"{unit} since the start ({brief(words, 70)})")
        axes.set_ylabel("validation top-1 (%)")
        axes.set_xlim(left=0)
        axes.grid()
        _legend(canvas, axes, labels)

    return Plot(slug(title), title, 3.4 + _legend_in(labels), draw)


def time_unit(longest_s: float) -> tuple[str, float]:
    """Return the unit of a time axis, and its seconds, in which its end is a readable number."""
    if longest_s < 180:
        return "seconds", 1.0
    return ("minutes", 60.0) if longest_s < 3 * 3600 else ("hours", 3600.0)


def _is_subset(entry: Entry) -> bool:
    return entry.setup.codec == "raw" and (entry.setup.subset_frac or 1.0) < 1.0


def _subset_plots(where: str, entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield a panel for each subset: fewer images against fewer bytes of all images.

    A subset is compared with the run of each compression that agrees with it most: of the published
    runs, `space-...-raw10` with the `acc-` runs of as many epochs, not with the `time-` runs.
    """
    subsets = [e for e in entries if _is_subset(e)]
    packed = [e for e in entries if e.setup.codec in COMPRESSED]
    panels = [[s, *_peers(s, packed)[: MAX_CURVES - 1]] for s in subsets if packed]
    for suffix, part in chunks(panels, 4):
        title = f"Fewer images or fewer bytes: {where}{suffix}"
        labels = list(dict.fromkeys(_variant(entry) for panel in part for entry in panel))
        height = 0.9 + 2.2 * -(-len(part) // 2) + _legend_in(labels)
        yield Plot(slug(title), title, height, _drawn_subsets(part, labels))


def _peers(entry: Entry, others: Sequence[Entry]) -> list[Entry]:
    """Return the run of each variant that agrees with a run most, of those that agree as much."""
    best: dict[str | None, tuple[int, int, Entry]] = {}
    for other in others:
        agreed = sum(other.field(name) == entry.field(name) for name in PEER_FIELDS)
        known = best.get(other.setup.variant)
        if known is None or (agreed, other.timing.epochs_done) > known[:2]:
            best[other.setup.variant] = (agreed, other.timing.epochs_done, other)
    most = max((agreed for agreed, _, _ in best.values()), default=0)
    return [other for agreed, _, other in best.values() if agreed == most]


def _variant(entry: Entry) -> str:
    return brief(entry.setup.variant or "?", 20)


def _drawn_subsets(
    panels: Sequence[Sequence[Entry]], labels: Sequence[str]
) -> Callable[[Canvas], None]:
    def draw(canvas: Canvas) -> None:
        rows, columns = -(-len(panels) // 2), min(2, len(panels))
        found = canvas.figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        grid = list(found.flat)
        handles: dict[str, Artist] = {}
        for axes, entries in zip(grid, panels, strict=False):
            for entry, look in zip(entries, _looks_of(entries), strict=True):
                wide = {"linewidth": 2.4, "zorder": 3} if entry is entries[0] else {}
                _draw_curve(canvas, axes, entry, look, label=_variant(entry), **wide)
            handles |= {
                text: line for line, text in zip(*axes.get_legend_handles_labels(), strict=True)
            }
            axes.set_title(f"{_variant(entries[0])} (wide)")
            axes.grid()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        for axes in grid[max(0, len(panels) - columns) : len(panels)]:  # none is beneath these
            axes.tick_params(labelbottom=True)
            axes.set_xlabel("epoch")
        canvas.figure.supylabel("validation top-1 (%)", fontsize=9)
        canvas.figure.legend(
            [handles[label] for label in labels],
            labels,
            loc="outside lower center",
            ncols=_columns(labels),
            fontsize=7.5,
        )

    return draw


def _regimen_plots(where: str, entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield each set of regimens (solid) against plain trainings of as many epochs (dashed)."""
    regimens = [e for e in entries if e.run.kind is Kind.REGIMEN]
    longest = max((e.timing.epochs_done for e in regimens), default=0)
    stages = {stage.setup.variant for e in regimens for stage in _stages(e)}
    plain = [
        e
        for e in entries
        if e.run.kind is Kind.TRAIN
        and e.setup.variant in stages
        and e.timing.epochs_done >= longest / 2
    ]
    plain = _peers(regimens[0], plain)[: MAX_CURVES // 2] if regimens else []
    for suffix, part in chunks(regimens, MAX_CURVES - len(plain)):
        title = f"Regimens: {where}{suffix}"
        members = [*plain, *part]
        # A regimen has the colour of its first stage, so those of one colour differ in their line.
        looks = [*_looks_of(plain), *_looks_of(part)]
        labels = [*labels_of(plain), *(brief(e.name.rsplit("/", 1)[-1], 36) for e in part)]

        def draw(
            canvas: Canvas, members: Sequence[Entry] = members,
            looks: Sequence[Look] = looks, labels: Sequence[str] = labels,
        ) -> None:  # fmt: skip
            axes = canvas.figure.subplots()
            for entry, look, label in zip(members, looks, labels, strict=True):
                dashed = {} if entry.run.kind is Kind.REGIMEN else {"linestyle": "--", "marker": ""}
                _draw_curve(canvas, axes, entry, look, label=label, **dashed)
                for stage in _stages(entry)[1:]:
                    if stage.epochs:
                        axes.axvline(stage.epochs[0].index + 0.5, color=INK, lw=0.8, ls=":")
            axes.set_xlabel("epoch (dotted: a stage begins)")
            axes.set_ylabel("top-1 (%); plain trainings dashed")
            axes.grid()
            _legend(canvas, axes, labels)

        yield Plot(slug(title), title, 3.4 + _legend_in(labels), draw)
