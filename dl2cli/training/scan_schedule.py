"""Which fidelity when: `2@0,5@45,10@80`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScanSchedule:
    """Fidelity as a function of the epoch: pairs of first epoch (0-based) and scans, ascending."""

    points: tuple[tuple[int, int], ...]
