"""What an epoch's images cost, and how that changes over the epochs.

A `Fidelity` is one value for all that makes a training image cheap or dear: the scans that are
read, the size that is computed, and whether the decoder may work at a part of the image's size. A
`Curriculum` says which fidelity holds from which epoch on. It is written as `2@0,5@45,10@80`
(scans), as `128@0,176@30,224@60` (pixels), as both, or as a file or a name (curriculum_file.py).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Self

from dl2cli.errors import UsageError

Points = tuple[tuple[int, int], ...]  # (first epoch, value)

_POINT = re.compile(r"\s*([0-9]{1,9})\s*(?:@\s*([0-9]{1,9})\s*)?", re.ASCII)


@dataclass(frozen=True, order=True)
class Fidelity:
    """How much of each training image is loaded; None leaves a part as the loader has it.

    Attributes:
        scans: the fidelity k of a PCR dataset; None is full fidelity.
        size_px: width and height of the training images; None is `TransformConfig.size`.
        scaled_decode: whether large images are decoded at a part of their size; None is
            `LoaderConfig.scaled_decode`.
    """

    scans: int | None = None
    size_px: int | None = None
    scaled_decode: bool | None = None

    def __post_init__(self) -> None:
        if self.scans is not None and self.scans < 1:
            raise UsageError(f"A step must load at least 1 scan, not {self.scans}.")
        if self.size_px is not None and self.size_px < 1:
            raise UsageError(f"Training images need at least 1 pixel, not {self.size_px}.")

    def __str__(self) -> str:
        words = []
        if self.scans is not None:
            words.append("1 scan" if self.scans == 1 else f"{self.scans} scans")
        if self.size_px is not None:
            words.append(f"{self.size_px} pixels")
        if self.scaled_decode:
            words.append("scaled decoding")
        return ", ".join(words) or "full fidelity"


@dataclass(frozen=True)
class Curriculum:
    """Fidelity as a function of the epoch.

    Attributes:
        points: (first epoch, fidelity), ascending; epochs count from 0, and the first is 0.
        name: the name or file that the curriculum comes from; None if it was written out.
    """

    points: tuple[tuple[int, Fidelity], ...]
    name: str | None = None

    def __post_init__(self) -> None:
        _check_epochs([epoch for epoch, _ in self.points], "A curriculum")

    @classmethod
    def constant(cls, scans: int) -> Self:
        """Return the same number of scans throughout. Raises UsageError."""
        return cls.of(scans=((0, scans),))

    @classmethod
    def of(cls, scans: Points = (), sizes: Points = ()) -> Self:
        """Put a schedule of scans and one of sizes together; either may be empty.

        Raises:
            UsageError: both are empty, or one is impossible.
        """
        for points, what in ((scans, "scan"), (sizes, "size")):
            if points:
                _check_epochs([epoch for epoch, _ in points], f"A {what} schedule")
        epochs = sorted({epoch for epoch, _ in (*scans, *sizes)})
        return cls(tuple((at, Fidelity(_at(scans, at), _at(sizes, at))) for at in epochs))

    def at(self, epoch: int) -> Fidelity:
        """Return the fidelity of an epoch (0-based)."""
        if epoch < 0:
            raise ValueError(f"There is no epoch {epoch}.")
        return self.points[bisect_right(self.points, epoch, key=lambda point: point[0]) - 1][1]

    @property
    def fidelities(self) -> tuple[Fidelity, ...]:
        """All fidelities, in the order of their epochs."""
        return tuple(fidelity for _, fidelity in self.points)

    def scans_label(self) -> str | None:
        """Return the schedule of scans in short: `5`, or `2@0,5@45`; None without one."""
        return _label([(epoch, each.scans) for epoch, each in self.points])

    def size_label(self) -> str | None:
        """Return the schedule of sizes in short: `176`, or `128@0,224@60`; None without one."""
        return _label([(epoch, each.size_px) for epoch, each in self.points])

    def label(self) -> str:
        """Return a short name for folders, logs and reports: `5`, `2@0,5@45-128@0,224@60px`."""
        sizes = self.size_label()
        parts = (self.scans_label(), sizes and f"{sizes}px")
        return self.name or "-".join(part for part in parts if part)

    def without_scans(self) -> Self | None:
        """Return the curriculum for a loader without scans; None if nothing is left."""
        points = tuple((epoch, replace(each, scans=None)) for epoch, each in self.points)
        changes = any(each != Fidelity() for _, each in points)
        return replace(self, points=points) if changes else None


def parse_schedule(text: str, what: str, example: str) -> Points:
    """Read `value@epoch,...`; a number alone holds from epoch 0 on, and blanks do not matter.

    Args:
        text: what the user wrote.
        what: what the values are, for messages: "scan" or "size".
        example: one that is right.

    Raises:
        UsageError: the text is not such a schedule.
    """
    points = []
    for part in text.split(","):
        match = _POINT.fullmatch(part)
        if match is None or (match[2] is None and "," in text):
            raise UsageError(
                f"{part.strip()[:40]!r} in a {what} schedule cannot be read: write value@epoch "
                f"pairs as in {example}, or one number alone."
            )
        points.append((int(match[2] or 0), int(match[1])))
    _check_epochs([epoch for epoch, _ in points], f"A {what} schedule")
    if any(value < 1 for _, value in points):
        raise UsageError(f"The values of a {what} schedule must be at least 1, not 0.")
    return tuple(points)


def parse_scans(text: str) -> Points:
    """Read the scans of a schedule such as `2@0,5@45,10@80`. Raises UsageError."""
    return parse_schedule(text, "scan", "2@0,5@45,10@80")


def parse_sizes(text: str) -> Points:
    """Read the sizes in pixels of a schedule such as `128@0,176@30`. Raises UsageError."""
    return parse_schedule(text, "size", "128@0,176@30,224@60")


def _check_epochs(epochs: list[int], what: str) -> None:
    if not epochs or epochs[0] != 0:
        raise UsageError(f"{what} must say what holds from epoch 0 on: begin it with value@0.")
    for epoch, following in pairwise(epochs):
        if following <= epoch:
            raise UsageError(
                f"{what} must name its epochs in ascending order, each once: epoch {following} "
                f"follows epoch {epoch}."
            )


def _at(points: Points, epoch: int) -> int | None:
    return next((value for first, value in reversed(points) if first <= epoch), None)


def _label(points: Iterable[tuple[int, int | None]]) -> str | None:
    """Return the changes of a value over the epochs; None if it is never given."""
    changes: list[tuple[int, int | None]] = []
    for epoch, value in points:
        if not changes or changes[-1][1] != value:
            changes.append((epoch, value))
    if all(value is None for _, value in changes):
        return None
    if len(changes) == 1:
        return str(changes[0][1])
    return ",".join(f"{'all' if value is None else value}@{epoch}" for epoch, value in changes)
