"""The search: scripts that a model expects much of are measured, and teach the model.

Each round anneals (Kirkpatrick, Gelatt and Vecchi, "Optimization by simulated annealing", Science
220, 1983) from the best script so far and from a built-in one, with the model as the judge; what
comes out is measured on the images, and the model is fitted anew to all measurements. At the end
single steps from the best script are judged by measurements alone. All budgets are counts, none is
a time: the same sample and seed give the same script, on any machine that measures the same.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from dl2cli.analysis.scripts.candidate import Candidate, is_on_borders, is_valid, propose
from dl2cli.analysis.scripts.measure import (
    EVERYTHING,
    NOTHING,
    Measurements,
    State,
    Tables,
    states_of,
)
from dl2cli.analysis.scripts.model import QualityModel
from dl2cli.analysis.scripts.objective import Floats, Metric, Objective
from dl2cli.pcr.scan_script import BUILT_IN, DEFAULT, Scan

SEARCH_IMAGES: Final = 64  # that rounds look at; the result is measured on the whole sample
ROUNDS: Final = 6
STEPS: Final = 8_000  # of each annealing
POLISH_ROUNDS: Final = 10
POLISHED: Final = 6  # candidates measured in each
_NEIGHBOURS: Final = 120  # from which they are taken
_HOT_DB, _COLD_DB = 0.4, 0.004


@dataclass(frozen=True)
class Found:
    """The best script of a search, by measurements on the images that it looked at."""

    scans: Candidate
    score_db: float
    scripts_looked_at: int
    scripts_measured: int


class Search:
    """One search; `run` does it.

    Args:
        measurements: of the sample.
        tables: what adds up.
        objective: what is looked for.
        max_groups: the most scan groups that the script may have.
        seed: of the random steps.
        progress: called with (round, rounds, best score in dB) after each round.
    """

    def __init__(
        self,
        measurements: Measurements,
        tables: Tables,
        objective: Objective,
        *,
        max_groups: int,
        seed: int,
        progress: Callable[[int, int, float], None],
    ) -> None:
        self.measurements = measurements
        self.tables = tables
        self.objective = objective
        self.max_groups = max_groups
        self.progress = progress
        self.images = min(SEARCH_IMAGES, len(measurements.sample.images))
        self.model = QualityModel(tables, self.images)
        self.price = objective.price(*whole_cost(tables))
        self.looked_at = 0
        self.rng = random.Random(seed)
        self.scores: dict[Candidate, float] = {}
        self.cost_of: dict[Scan, float] = {}  # a line's own
        self.taught: dict[State, Floats] = {}
        self.nothing = 0.0

    def run(self) -> Found:
        """Search, and return the best script."""
        starts = [s for s in self._starts() if is_valid(s, self.max_groups)]
        self._measure(starts)
        for number in range(ROUNDS):
            best = self._best()
            others = [starts[number % len(starts)], self.rng.choice(starts)]
            found = [self._anneal(best, _HOT_DB / 2)]
            found += [self._anneal(start, _HOT_DB) for start in others[: 1 + (number == 0)]]
            self._measure(found)
            self.progress(number + 1, ROUNDS + POLISH_ROUNDS, self.scores[self._best()])
        for number in range(POLISH_ROUNDS):
            self._polish()
            done = ROUNDS + number + 1
            self.progress(done, ROUNDS + POLISH_ROUNDS, self.scores[self._best()])
        best = self._best()
        return Found(best, self.scores[best], self.looked_at, len(self.scores))

    def _starts(self) -> list[Candidate]:
        """Return the built-in scripts, with as many groups as are allowed."""
        starts = [s.scans for s in BUILT_IN.values() if is_on_borders(s.scans)]
        return [_grouped(scans, self.max_groups) for scans in starts]

    def _best(self) -> Candidate:
        return max(self.scores, key=lambda scans: (self.scores[scans], str(scans)))

    def _measure(self, candidates: Sequence[Candidate]) -> None:
        """Measure candidates, and fit the model to all that is known."""
        new = [scans for scans in dict.fromkeys(candidates) if scans not in self.scores]
        states = {scans: states_of(scans) for scans in new}
        every = [NOTHING, *(state for each in states.values() for state in each)]
        structure = self.objective.metric is not Metric.PSNR
        found = self.measurements.qualities(every, self.images, structure=structure)
        column = self.objective.metric.column
        self.nothing = float(found[NOTHING][column])
        for scans in new:
            qualities = np.array([found[state][column] for state in states[scans]])
            costs = self._costs(scans)
            self.scores[scans] = self.objective.score(costs, qualities, self.nothing)
        for state, values in found.items():
            if state not in (NOTHING, EVERYTHING):
                self.taught[state] = self.objective.decibels(values[column])
        self.model.fit(self.taught)

    def _costs(self, scans: Candidate) -> Floats:
        """Return what the first k groups cost, in shares of the whole images in `default`."""
        per_byte, per_ms = self.price
        costs = []
        for scan in scans:
            cost = self.cost_of.get(scan)
            if cost is None:
                cost = per_byte * self.tables.scan_bytes(scan)
                cost += per_ms * self.tables.scan_decode_ms(scan)
                self.cost_of[scan] = cost
            costs.append(cost)
        base = per_byte * self.tables.header_bytes + per_ms * self.tables.base_decode_ms
        return base + _group_sums(scans, costs)

    def _expect(self, scans: Candidate) -> float:
        """Return the score that the model expects."""
        self.looked_at += 1
        expected = self.objective.quality(self.model.curve(scans))
        return self.objective.score(self._costs(scans), expected, self.nothing)

    def _anneal(self, start: Candidate, hot_db: float) -> Candidate:
        current = best = start
        score = best_score = self._expect(start)
        for step in range(STEPS):
            temperature = hot_db * (_COLD_DB / hot_db) ** (step / STEPS)
            changed = propose(current, self.rng)
            if changed == current or not is_valid(changed, self.max_groups):
                continue
            expected = self._expect(changed)
            if expected >= score or self.rng.random() < math.exp((expected - score) / temperature):
                current, score = changed, expected
                if score > best_score:
                    best, best_score = current, score
        return best

    def _polish(self) -> None:
        """Measure those neighbours of the best script that the model expects most of."""
        best = self._best()
        near: dict[Candidate, float] = {}
        for _ in range(_NEIGHBOURS):
            changed = propose(best, self.rng)
            if self.rng.random() < 0.4:
                changed = propose(changed, self.rng)
            if changed not in self.scores and is_valid(changed, self.max_groups):
                near[changed] = self._expect(changed)
        ranked = sorted(near, key=lambda scans: (-near[scans], str(scans)))
        self._measure(ranked[:POLISHED])


def whole_cost(tables: Tables) -> tuple[float, float]:
    """Return the mean bytes and about the decode time in ms of a whole image in `default`."""
    return byte_curve(tables, DEFAULT.scans)[-1], decode_curve(tables, DEFAULT.scans)[-1]


def byte_curve(tables: Tables, scans: Candidate) -> Floats:
    """Return the mean bytes of an image at each number of scan groups."""
    return tables.header_bytes + _group_sums(scans, [tables.scan_bytes(scan) for scan in scans])


def decode_curve(tables: Tables, scans: Candidate) -> Floats:
    """Return about the decode time in ms of an image at each number of scan groups."""
    times = [tables.scan_decode_ms(scan) for scan in scans]
    return tables.base_decode_ms + _group_sums(scans, times)


def _group_sums(scans: Candidate, values: list[float]) -> Floats:
    ends = [i for i in range(len(scans)) if i + 1 == len(scans) or not scans[i + 1].joins]
    sums: Floats = np.cumsum(values)[ends]
    return sums


def _grouped(scans: Candidate, max_groups: int) -> Candidate:
    """Join the last groups of a script, so that it has no more than so many."""
    groups = 0
    joined = []
    for scan in scans:
        groups += not scan.joins
        joined.append(replace(scan, joins=True) if groups > max_groups else scan)
    return tuple(joined)
