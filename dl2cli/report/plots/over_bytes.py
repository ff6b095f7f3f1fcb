"""Accuracy over the bytes that were read: what runs of other fidelities or curricula saved."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from dl2cli.report.entries import Entry
from dl2cli.report.model import Kind
from dl2cli.report.plots.canvas import Canvas, Plot, Tip, slug
from dl2cli.report.plots.curves import MAX_CURVES, labels_of
from dl2cli.report.plots.palette import curve_looks
from dl2cli.report.read.values import finite

GB: Final = 1e9
MIN_RATIO: Final = 1.05  # of bytes an epoch; runs that read alike are told apart by epochs


def bytes_plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Yield a plot for each model on each dataset whose runs read different numbers of bytes."""
    families: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.run.kind is not Kind.REGIMEN and len(_points(entry)) > 1:
            families[(entry.setup.arch or "model", entry.setup.dataset or "data")].append(entry)
    for (arch, dataset), members in families.items():
        read = [_points(entry)[-1][0] / len(_points(entry)) for entry in members]
        if max(read) >= MIN_RATIO * min(read):
            members.sort(key=lambda entry: entry.name)
            title = f"Accuracy over bytes: {arch}, {dataset}"
            yield _plot(title, members[:MAX_CURVES])


def _points(entry: Entry) -> list[tuple[float, float]]:
    """Return (bytes read so far, validation top-1 in %) by epoch; nothing if one is not known."""
    epochs = getattr(entry.run, "epochs", ())
    read = [finite(epoch.bytes_read) for epoch in epochs]
    top1 = [finite(epoch.v_top1_pct) for epoch in epochs]
    if not epochs or not all(read) or any(value is None for value in top1):
        return []
    so_far = accumulate(value for value in read if value is not None)
    return list(zip(so_far, (value for value in top1 if value is not None), strict=True))


def _plot(title: str, entries: Sequence[Entry]) -> Plot:
    labels = labels_of(entries)
    looks = curve_looks([entry.setup.variant for entry in entries])

    def draw(canvas: Canvas) -> None:
        axes = canvas.figure.subplots()
        for entry, look, label in zip(entries, looks, labels, strict=True):
            points = [(read / GB, top1_pct) for read, top1_pct in _points(entry)]
            axes.plot(
                *zip(*points, strict=True), label=label, color=look.colour, linestyle=look.line,
                marker=look.marker, linewidth=1.4, markersize=4, markevery=max(1, len(points) // 6),
            )  # fmt: skip
            for read_gb, top1_pct in points:
                text = f", after {read_gb:.3g} GB: top-1 {top1_pct:.2f} %"
                canvas.tips.append(Tip(axes, read_gb, top1_pct, text, entry.name))
        axes.set_xlabel("GB of training images read from storage since the start")
        axes.set_ylabel("validation top-1 (%)")
        axes.set_xlim(left=0)
        axes.grid()
        canvas.figure.legend(loc="outside lower center", ncols=2, fontsize=7.5)

    return Plot(slug(title), title, 3.6 + 0.17 * -(-len(entries) // 2), draw)
