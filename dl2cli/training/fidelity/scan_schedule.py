"""Which fidelity when: `2@0,5@45,10@80`."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from dl2cli.errors import UsageError

_POINT = re.compile(r"\s*([0-9]{1,9})\s*(?:@\s*([0-9]{1,9})\s*)?", re.ASCII)
_EXAMPLE = "write scans@epoch pairs as in 2@0,5@45,10@80"


@dataclass(frozen=True)
class ScanSchedule:
    """Fidelity as a function of the epoch: pairs of first epoch (0-based) and scans, ascending.

    Attributes:
        points: (first epoch, scans); the first epoch of the first pair is 0.
    """

    points: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.points or self.points[0][0] != 0:
            raise UsageError(
                "A scan schedule must say how to begin: write its first pair as scans@0, as in "
                "2@0,5@45,10@80."
            )
        for (epoch, _), (following, _) in pairwise(self.points):
            if following <= epoch:
                raise UsageError(
                    f"Epoch {following} follows epoch {epoch} in the scan schedule: write its "
                    "pairs in ascending order of epochs, each epoch once."
                )
        if any(scans < 1 for _, scans in self.points):
            raise UsageError("A scan schedule loads at least 1 scan: write 1@0 instead of 0@0.")

    def __str__(self) -> str:
        return ",".join(f"{scans}@{epoch}" for epoch, scans in self.points)

    def label(self) -> str:
        """Return a short name for folders, logs and reports: `5`, or `2@0,5@45,10@80`."""
        return str(self.points[0][1]) if len(self.points) == 1 else str(self)

    @classmethod
    def constant(cls, scans: int) -> Self:
        """Return the schedule of the same fidelity throughout. Raises UsageError."""
        return cls(((0, scans),))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `scans@epoch,...`; a number alone means from epoch 0 on, blanks do not matter.

        Raises:
            UsageError: the text is no such schedule.
        """
        points = []
        for part in text.split(","):
            match = _POINT.fullmatch(part)
            if match is None or (match[2] is None and "," in text):
                raise UsageError(
                    f"{part.strip()[:40]!r} in a scan schedule cannot be read: {_EXAMPLE}, or "
                    "one number alone."
                )
            points.append((int(match[2] or 0), int(match[1])))
        return cls(tuple(points))

    def scans_at(self, epoch: int) -> int:
        """Return the fidelity of an epoch (0-based)."""
        if epoch < 0:
            raise ValueError(f"There is no epoch {epoch}.")
        return self.points[bisect_right(self.points, epoch, key=lambda point: point[0]) - 1][1]

    def check(self, groups: int) -> None:
        """Make sure that a dataset with so many scan groups can follow.

        Raises:
            UsageError: it has fewer than the schedule asks for.
        """
        for epoch, scans in self.points:
            if scans > groups:
                raise UsageError(
                    f"The scan schedule asks for {scans} scans from epoch {epoch} on, but the "
                    f"dataset has {groups}: write {groups}@{epoch}."
                )
