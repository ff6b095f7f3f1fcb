"""What a search for scan scripts gives: plain data, and the sentences that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dl2cli.analysis.scripts.objective import Metric, Objective

_SAME: Final = 0.97  # cheaper than this share is worth a sentence
_MOST_SENTENCES: Final = 3


@dataclass(frozen=True)
class ScriptLevel:
    """The sample's images at fidelity `scans` of a script, on average.

    Attributes:
        scans: k.
        mean_bytes: of an image.
        share: of the bytes of the whole images in the script `default`.
        decode_ms_estimate: about the CPU time to decode an image; good for ratios.
        psnr_db: None where all images are identical to the whole ones. Images of which some are
            count as 60 dB.
        ssim: at the training size, as the others.
        ms_ssim: at the training size.
        on_front: no other measured script gives as much for as little.
    """

    scans: int
    mean_bytes: float
    share: float
    decode_ms_estimate: float
    psnr_db: float | None
    ssim: float
    ms_ssim: float
    on_front: bool = False

    def quality(self, metric: Metric) -> float:
        """Return the quality by one measure."""
        if metric is Metric.PSNR:
            return float("inf") if self.psnr_db is None else self.psnr_db
        return self.ssim if metric is Metric.SSIM else self.ms_ssim


@dataclass(frozen=True)
class ScriptCurve:
    """A script and what it gives at each k; `score_db` is that of the search's objective."""

    name: str
    text: str
    score_db: float
    levels: tuple[ScriptLevel, ...]


@dataclass(frozen=True)
class LossyLevel:
    """The images encoded anew: a second copy of the data, with losses."""

    setting: str
    mean_bytes: float
    share: float
    psnr_db: float
    ssim: float
    ms_ssim: float
    on_front: bool = False


@dataclass(frozen=True)
class Equivalent:
    """k of the found script gives at least the quality of another's k, for fewer bytes."""

    scans: int
    other: str
    other_scans: int
    bytes_ratio: float


@dataclass(frozen=True)
class ScriptReport:
    """A search from its question to its answer.

    Attributes:
        root: the dataset.
        images: images of the sample that were measured.
        left_out: images that were drawn and not measured, by reason.
        size: the training size in pixels, at which quality is measured; 0 for whole images.
        objective: what was looked for.
        seed: of the sample and the search.
        max_groups: the most groups that were allowed.
        found: the script that was found.
        others: the built-in scripts beside it.
        lossy: re-encoded images beside it.
        equivalents: what the found script saves beside `default`.
        target_scans: the smallest k that meets the objective's target, if there is one.
        scripts_looked_at: candidates that the model judged.
        scripts_measured: candidates whose quality was measured.
        states_resumed: measurements that an interrupted run left.
        elapsed_s: wall time.
        cpu_s: CPU time of this process.
        script_file: where the script was written.
    """

    root: Path
    images: int
    left_out: dict[str, int]
    size: int
    objective: Objective
    seed: int
    max_groups: int
    found: ScriptCurve
    others: tuple[ScriptCurve, ...]
    lossy: tuple[LossyLevel, ...]
    equivalents: tuple[Equivalent, ...]
    target_scans: int | None
    scripts_looked_at: int
    scripts_measured: int
    states_resumed: int
    elapsed_s: float
    cpu_s: float
    script_file: Path | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """What the found script is worth, in words."""
        said = [
            f"k = {e.scans} of {self.found.name} gives what k = {e.other_scans} of {e.other} "
            f"gives, for {e.bytes_ratio:.2f} of the bytes."
            for e in self.equivalents
        ]
        if self.objective.target is not None:
            what = f"a mean {_NAMES[self.objective.metric]} of {self.objective.target:g}"
            if self.target_scans is None:
                said.append(f"No k of {self.found.name} reaches {what}.")
            else:
                share = self.found.levels[self.target_scans - 1].share
                said.append(
                    f"k = {self.target_scans} reaches {what} with {share:.1%} of the bytes."
                )
        return tuple(said)

    def choice(self) -> dict[str, Any]:
        """Return what a dataset's index keeps of the search: what was chosen and why."""
        objective = self.objective
        return {
            "goal": objective.goal.value,
            "metric": objective.metric.value,
            "price_kb_per_ms": objective.price_kb_per_ms,
            "target": objective.target,
            "size": self.size,
            "images": self.images,
            "seed": self.seed,
            "max_groups": self.max_groups,
            "score_db": {c.name: round(c.score_db, 3) for c in (self.found, *self.others)},
            "levels": [
                {
                    "scans": level.scans,
                    "share": round(level.share, 5),
                    "psnr_db": None if level.psnr_db is None else round(level.psnr_db, 3),
                    "ssim": round(level.ssim, 5),
                    "ms_ssim": round(level.ms_ssim, 5),
                }
                for level in self.found.levels
            ],
            "why": list(self.sentences),
        }


_NAMES: Final = {Metric.PSNR: "PSNR", Metric.SSIM: "SSIM", Metric.MS_SSIM: "MS-SSIM"}


def equivalents(
    found: ScriptCurve, others: Sequence[ScriptCurve], metric: Metric
) -> tuple[Equivalent, ...]:
    """Say which k of the found script replaces which k of the others, the most useful first."""
    pairs: list[Equivalent] = []
    for other in others:
        for level in other.levels[:-1]:
            enough = [e for e in found.levels if e.quality(metric) >= level.quality(metric)]
            if enough:
                ratio = enough[0].mean_bytes / level.mean_bytes
                pairs.append(Equivalent(enough[0].scans, other.name, level.scans, ratio))
    worth = [pair for pair in pairs if pair.bytes_ratio < _SAME and pair.scans < len(found.levels)]
    best: dict[int, Equivalent] = {}
    for pair in sorted(worth, key=lambda e: e.bytes_ratio):
        best.setdefault(pair.scans, pair)
    most = sorted(best.values(), key=lambda e: e.bytes_ratio)[:_MOST_SENTENCES]
    return tuple(sorted(most, key=lambda e: e.scans))


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Tell which of the points (cost, quality) no other one beats in both."""
    return [
        not any(
            (cost <= c and quality > q) or (cost < c and quality >= q) for cost, quality in points
        )
        for c, q in points
    ]
