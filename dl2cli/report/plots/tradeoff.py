"""What bytes buy: likeness against bits a pixel, and accuracy against bytes an image.

Accuracy has error bars: the standard error of the mean over the runs of one form of the data, as
those of several seeds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from dl2cli.dataset.naming import parse_variant
from dl2cli.report.entries import Entry
from dl2cli.report.metrics import mean, standard_error
from dl2cli.report.model import FidelityPoint, Kind, QualityList
from dl2cli.report.plots.canvas import Canvas, Plot, Tip, brief, slug
from dl2cli.report.plots.palette import look_of
from dl2cli.report.read.values import natural_key

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 60
_NEAR = 0.12  # of an axis: closer points of one family share a name


@dataclass(frozen=True, slots=True)
class _Point:
    variant: str
    x: float
    y: float
    tip: str
    error: float | None = None


def tradeoff_plots(
    entries: Sequence[Entry], qualities: Sequence[QualityList] = ()
) -> Iterator[Plot]:
    """Yield a plot for each data set that was encoded, and for each model that learnt on one."""
    yield from _likeness_plots(entries, qualities)
    yield from _accuracy_plots(entries)


def _likeness_plots(entries: Sequence[Entry], qualities: Sequence[QualityList]) -> Iterator[Plot]:
    """Rate-distortion curves: MS-SSIM, and PSNR where images differ, against bits a pixel.

    The scan groups of a list stand beside the encoders' logs in the same folder.
    """
    sets: dict[str, list[FidelityPoint]] = defaultdict(list)
    for entry in entries:
        stats = entry.codec
        if stats and stats.ms_ssim_mean is not None and stats.bpp_mean is not None:
            point = FidelityPoint(
                entry.setup.variant or "?",
                stats.images or 0,
                stats.bpp_mean,
                stats.ms_ssim_mean,
                stats.psnr_mean_db,
            )
            sets[entry.run.source.group].append(point)
    for each in qualities:
        folder = PurePosixPath(each.file).parent.as_posix()
        # A list in the folder that the report was asked for has that folder's name before it.
        sets[folder if folder in sets or "" not in sets else ""] += each.fidelity
    for folder, found in sets.items():
        if len(found) > 1:
            title = f"Rate and distortion{f': {brief(folder, 40)}' if folder else ''}"
            yield _likeness_plot(title, found[:MAX_POINTS])


def _likeness_plot(title: str, found: Sequence[FidelityPoint]) -> Plot:
    def point(each: FidelityPoint, value: float) -> _Point:
        bits = each.bits_per_pixel
        return _Point(each.variant, bits, value, f"{each.variant}: {value:.4g} at {bits:.3g} bpp")

    curves = {
        "MS-SSIM": [point(each, each.ms_ssim) for each in found],
        "PSNR (dB)": [point(each, each.psnr_db) for each in found if each.psnr_db is not None],
    }

    def draw(canvas: Canvas) -> None:
        for axes, (name, points) in zip(canvas.figure.subplots(1, 2), curves.items(), strict=True):
            _draw(canvas, axes, points)
            axes.set_xlabel("bits a pixel")
            axes.set_ylabel(name)

    return Plot(slug(title), title, 4.0, draw)


def _accuracy_plots(entries: Sequence[Entry]) -> Iterator[Plot]:
    """Best top-1 against the bytes that an image costs; runs that differ in their seed are one."""
    families: dict[tuple[str, ...], dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        setup = entry.setup
        known = entry.accuracy.best_top1_pct is not None and entry.timing.bytes_per_image
        if entry.run.kind is Kind.TRAIN and known:
            family = (setup.dataset or "?", setup.arch or "model", entry.run.source.group)
            families[family][setup.variant or "?"].append(entry)
    for (dataset, arch, group), variants in families.items():
        points = [_accuracy(variant, runs) for variant, runs in variants.items()]
        if len(points) < 2:
            continue

        def draw(canvas: Canvas, points: list[_Point] = points) -> None:
            axes = canvas.figure.subplots()
            _draw(canvas, axes, points)
            axes.set_xlabel("kB an image, read from storage")
            axes.set_ylabel("best top-1 (%)")
            axes.set_xlim(left=0)

        where = f", {group}" if group else ""
        title = f"Accuracy for bytes: {arch} on {brief(dataset, 30)}{where}"
        yield Plot(slug(title), title, 3.6, draw)


def _accuracy(variant: str, runs: Sequence[Entry]) -> _Point:
    scores = [run.accuracy.best_top1_pct for run in runs]
    kilobytes = (mean(run.timing.bytes_per_image for run in runs) or 0.0) / 1e3
    score, error = mean(scores) or 0.0, standard_error(scores)
    tip = f"{variant}: {score:.1f} % at {kilobytes:.3g} kB"
    if error is not None:
        tip += f" (standard error {error:.1f}, {len(scores)} runs)"
    return _Point(variant, kilobytes, score, tip, error)


def _draw(canvas: Canvas, axes: Axes, points: Sequence[_Point]) -> None:
    """Draw points, joined within a family such as jpeg or pcr, each with its name."""
    families: dict[str, list[_Point]] = defaultdict(list)
    for point in points:
        # A schedule such as pcr-5@0,10@45 stands by itself: it is no fidelity between two others.
        plain = parse_variant(point.variant)
        families[plain.codec if plain else point.variant].append(point)
    wide, high = (_span([getattr(point, axis) for point in points]) for axis in ("x", "y"))
    for members in families.values():
        members.sort(key=lambda point: (point.x, natural_key(point.variant)))
        look = look_of(members[len(members) // 2].variant)
        axes.plot([p.x for p in members], [p.y for p in members], color=look.colour, linewidth=1)
        named: _Point | None = None
        for point in members:
            look = look_of(point.variant)
            axes.errorbar(
                [point.x], [point.y], yerr=point.error, marker=look.marker, color=look.colour,
                markersize=6, capsize=3, linestyle="",
            )  # fmt: skip
            if named is None or not _is_near(point, named, wide, high):
                named = point
                axes.annotate(
                    point.variant, (point.x, point.y), (5, -9),
                    textcoords="offset points", fontsize=7,
                )  # fmt: skip
            canvas.tips.append(Tip(axes, point.x, point.y, point.tip))
    axes.grid(visible=True)


def _span(values: Sequence[float]) -> float:
    return max(values, default=0.0) - min(values, default=0.0)


def _is_near(point: _Point, other: _Point, wide: float, high: float) -> bool:
    """Tell whether the names of two points would run into each other; the tips have all names."""
    return abs(point.x - other.x) < _NEAR * wide and abs(point.y - other.y) < _NEAR * high
