"""Bar plots of rates: a plot for each parameter in which runs differ, such as the storage.

The published figures are among them: by storage and workers (H1a), by variant and storage (H1b), by
codec and workers (H1c), MinIO's cache and compression (H4).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from dl2cli.drawing import INK
from dl2cli.report.compare import rate_of
from dl2cli.report.entries import Entry
from dl2cli.report.metrics import ratio
from dl2cli.report.model import Kind
from dl2cli.report.plots.bars import MAX_BARS, Bar, draw_groups, height_in
from dl2cli.report.plots.canvas import Canvas, Plot, brief, chunks, slug
from dl2cli.report.plots.experiments import Experiment, experiments, split_large, value_words
from dl2cli.report.plots.palette import look_of
from dl2cli.report.read.values import natural_key

PARAMETERS = {
    "variant": "by variant",
    "storage": "by storage",
    "workers": "by workers",
    "loader": "by loader",
    "dataset_class": "with MinIO's cache and without",
}
_LABEL = ("variant", "storage", "workers", "loader", "dataset_class")


def rate_plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield the rates of trainings, loader runs and measurements of bench-io."""
    families: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    bounds: dict[tuple[str, str], float] = {}
    for entry in entries:
        rate, setup = rate_of(entry), entry.setup
        if rate is None or entry.run.kind is Kind.REGIMEN:
            continue
        family = (setup.arch or "model", setup.ranks)
        if entry.run.kind is Kind.STANDALONE:
            family = ("loader alone", "")
        elif entry.run.kind is Kind.BENCH:
            family = (setup.arch or "no model", "bench-io")
        if setup.dataset == "synthetic":
            bounds[family] = max(rate, bounds.get(family, 0.0))
        families[family].append(entry)
    for family, members in families.items():
        # The rate of synthetic data is a line in the plots of the others.
        real = [e for e in members if e.setup.dataset != "synthetic"] or members
        bound = bounds.get(family) if real is not members else None
        yield from _family_plots(", ".join(filter(None, family)), real, bound)


def _family_plots(name: str, members: Sequence[Entry], bound: float | None) -> Iterator[Plot]:
    shown: set[str] = set()
    for parameter, words in PARAMETERS.items():
        found, _ = experiments(members, parameter)
        groups = [e for e in found if _adds(e, parameter, shown)]
        shown |= {entry.name for group in groups for entry in group.entries}
        for title, part in _pages(groups, parameter):
            yield _rate_plot(f"Rate {words}: {name}{title}", part, parameter, bound)
    rest = [entry for entry in members if entry.name not in shown]
    for suffix, entries in chunks(sorted(rest, key=_order), MAX_BARS):
        other = "other runs of " if shown else ""
        groups = [Experiment("", tuple(entries))]
        yield _rate_plot(f"Rate: {other}{name}{suffix}", groups, "", bound)


def _adds(group: Experiment, parameter: str, shown: set[str]) -> bool:
    """Tell whether a group asks what no plot before it did: two values differ in this parameter."""
    values = {value_words(entry, parameter) for entry in group.entries}
    first = parameter == next(iter(PARAMETERS))
    whole = all(entry.name in shown for entry in group.entries)
    # A small family is one plot, in which everything differs.
    return len(values) > 1 and (first or bool(group.title) or not whole)


def _pages(groups: Sequence[Experiment], parameter: str) -> Iterator[tuple[str, list[Experiment]]]:
    """Yield (end of a title, groups) so that no plot has more than MAX_BARS bars."""
    pages: list[list[Experiment]] = []
    for group in split_large(groups, MAX_BARS, lambda entry: entry.setup.codec or "?"):
        room = MAX_BARS - sum(len(g.entries) for g in pages[-1]) if pages else -1
        if len(group.entries) > room:
            pages.append([])
        pages[-1].append(group)
    for number, page in enumerate(pages, 1):
        yield (f" ({number} of {len(pages)})" if len(pages) > 1 else ""), page


def _order(entry: Entry) -> tuple[object, ...]:
    return natural_key(entry.setup.variant or ""), natural_key(entry.name)


def _rate_plot(
    title: str, groups: Sequence[Experiment], parameter: str, bound: float | None
) -> Plot:
    items = [(group.title, _bars(group, parameter)) for group in groups]

    def draw(canvas: Canvas) -> None:
        axes = canvas.figure.subplots()
        draw_groups(axes, items, canvas.tips)
        axes.set_xlabel("images/s (whisker: slowest and fastest epoch that counts)")
        if bound is not None:
            axes.set_xlim(0, max(axes.get_xlim()[1], bound * 1.02))
            axes.axvline(bound, color=INK, linewidth=1, linestyle=":")
            axes.annotate(
                f"synthetic data: {bound:.0f}", (bound, 1.0), (-3, 2), ha="right",
                xycoords=("data", "axes fraction"), textcoords="offset points", fontsize=7,
            )  # fmt: skip

    return Plot(slug(title), title, height_in(items), draw, "row")


def _bars(group: Experiment, parameter: str) -> list[Bar]:
    """Return bars that are labelled by the parameter, or by all that differs without one."""
    members = sorted(
        group.entries,
        key=lambda e: (natural_key(value_words(e, parameter or "variant")), _order(e)),
    )
    differing = [name for name in _LABEL if len({value_words(e, name) for e in members}) > 1] or [
        "variant"
    ]
    names = [parameter] if parameter and group.title else differing
    bars = [_bar(entry, names) for entry in members]
    count = Counter(bar.label for bar in bars)
    return [
        replace(bar, label=f"{bar.label}, {brief(bar.name)}".lstrip(", "))
        if count[bar.label] > 1
        else bar
        for bar in bars
    ]


def _bar(entry: Entry, names: Sequence[str]) -> Bar:
    timing, rate = entry.timing, rate_of(entry) or 0.0
    images = rate * timing.epoch_mean_s if timing.epoch_mean_s else None
    spread = timing.rate_epoch_img_s is not None
    return Bar(
        entry.name,
        rate,
        ", ".join(filter(None, (_label(entry, name) for name in names))),
        look_of(entry.setup.variant),
        f"{entry.name}: {rate:.1f} images/s",
        ratio(images, timing.epoch_max_s) if spread else None,
        ratio(images, timing.epoch_min_s) if spread else None,
    )


def _label(entry: Entry, name: str) -> str:
    if name == "dataset_class" and entry.setup.dataset_class != "MinIOFolder":
        return "no MinIO"
    return brief(value_words(entry, name), 24)
