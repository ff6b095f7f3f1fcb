"""Sum a sample of images up at each number of scan groups, and recommend a k."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from dl2cli.analysis.distribution import Distribution
from dl2cli.analysis.table.rows import ImageRow, Point


@dataclass(frozen=True, slots=True)
class Level:
    """The sample at one setting: `k3`, or `jpeg:75` for comparison.

    `share` is its bytes divided by the bytes at all scan groups. `psnr_db` covers the images that
    differ from the whole image; `exact` counts the images that do not.
    """

    setting: str
    images: int
    mean_bytes: float
    share: float
    ms_ssim: Distribution
    ssim: Distribution
    psnr_db: Distribution | None
    exact: int


@dataclass(frozen=True, slots=True)
class ClassFidelity:
    """The sample's images of one class."""

    images: int
    recommended_k: int
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class FidelityReport:
    """The sample, and the smallest k whose mean MS-SSIM reaches the target.

    `saved_share` is the share of the bytes of all scan groups that a reader at that k saves.
    """

    images: int
    groups: int
    target_ms_ssim: float
    recommended_k: int
    saved_share: float
    levels: tuple[Level, ...]
    per_class: dict[str, ClassFidelity]


class FidelityTally:
    """Collects the points of the sample; all are kept, so the sample bounds the memory."""

    def __init__(self, target_ms_ssim: float) -> None:
        self._target = target_ms_ssim
        self._images: list[tuple[str, tuple[Point, ...]]] = []

    def add(self, row: ImageRow) -> None:
        """Take the points of a row that has any."""
        if row.fidelity:
            self._images.append((row.class_name, row.fidelity))

    def result(self) -> FidelityReport | None:
        """Return the report, None for an empty sample."""
        if not self._images:
            return None
        levels = _levels(points for _, points in self._images)
        k = _recommend(levels, self._target)
        per_class = {name: self._class(name) for name in sorted({name for name, _ in self._images})}
        return FidelityReport(
            images=len(self._images),
            groups=sum(level.setting.startswith("k") for level in levels),
            target_ms_ssim=self._target,
            recommended_k=k,
            saved_share=1 - levels[k - 1].share,
            levels=levels,
            per_class=per_class,
        )

    def _class(self, name: str) -> ClassFidelity:
        images = [points for class_name, points in self._images if class_name == name]
        levels = _levels(images)
        return ClassFidelity(len(images), _recommend(levels, self._target), levels)


def _levels(images: Iterable[tuple[Point, ...]]) -> tuple[Level, ...]:
    """Return the levels in the order of the points, k1 to kG first."""
    by_setting: dict[str, list[Point]] = {}
    whole: list[int] = []
    for points in images:
        whole.append(max(point.size_bytes for point in points if point.setting.startswith("k")))
        for point in points:
            by_setting.setdefault(point.setting, []).append(point)
    return tuple(_level(setting, points, whole) for setting, points in by_setting.items())


def _level(setting: str, points: list[Point], whole: list[int]) -> Level:
    sizes = np.array([point.size_bytes for point in points], dtype=np.float64)
    ms_ssim = Distribution.of([point.ms_ssim for point in points])
    ssim = Distribution.of([point.ssim for point in points])
    assert ms_ssim is not None and ssim is not None, "a setting has at least one point"
    psnr_db = [point.psnr_db for point in points if point.psnr_db is not None]
    return Level(
        setting=setting,
        images=len(points),
        mean_bytes=float(sizes.mean()),
        share=float(sizes.sum() / sum(whole)),
        ms_ssim=ms_ssim,
        ssim=ssim,
        psnr_db=Distribution.of(psnr_db),
        exact=len(points) - len(psnr_db),
    )


def _recommend(levels: tuple[Level, ...], target: float) -> int:
    """Return the smallest k that reaches the target; the last one is exact, so there is one."""
    scans = [level for level in levels if level.setting.startswith("k")]
    for k, level in enumerate(scans, start=1):
        if level.ms_ssim.mean >= target:
            return k
    return len(scans)
