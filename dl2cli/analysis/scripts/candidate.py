"""A script on its way: the steps that lead from one valid scan script to another.

A candidate is a tuple of scans. Each step changes one thing (a split of frequencies, a bit of
successive approximation, which components go together, the order, the grouping); whether the result
is a script is decided afterwards, by `is_valid`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Final

from dl2cli.pcr.scan_script import Scan

BORDERS: Final = (1, 2, 3, 6, 10, 15, 21, 28, 36, 45, 54, 64)
"""Where bands of coefficients may begin and end: mostly at diagonals of a block."""

MAX_AC_BIT: Final = 5
MAX_DC_BIT: Final = 3
MAX_LINES: Final = 24  # so that a CMYK image, which has four scans a line, stays below 100
DC_SETS: Final = ((0, 1, 2), (0,), (1, 2), (1,), (2,))

Candidate = tuple[Scan, ...]
_UNKNOWN: Final = -1


def is_valid(scans: Candidate, max_groups: int) -> bool:
    """Tell whether the scans are a lossless progressive script of at most so many groups."""
    if not scans or scans[0].joins or 0 not in scans[0].components or len(scans) > MAX_LINES:
        return False
    if sum(not scan.joins for scan in scans) > max_groups:
        return False
    reached = [[_UNKNOWN] * len(BORDERS) for _ in range(3)]  # DC, then the bands
    for scan in scans:
        if scan.al > (MAX_AC_BIT if scan.ss else MAX_DC_BIT):
            return False
        before = _UNKNOWN if scan.ah == 0 else scan.ah
        for component in scan.components:
            bits = reached[component]
            if scan.ss and bits[0] == _UNKNOWN:
                return False
            for band in bands_of(scan):
                if bits[band] != before:
                    return False
                bits[band] = scan.al
    return not any(any(bits) for bits in reached)


def bands_of(scan: Scan) -> range:
    """Return the bands that a scan holds: 0 is DC, band i begins at BORDERS[i - 1]."""
    if scan.ss == 0:
        return range(1)
    return range(BORDERS.index(scan.ss) + 1, BORDERS.index(scan.se + 1) + 1)


def is_on_borders(scans: Candidate) -> bool:
    """Tell whether a script of someone else's divides frequencies only where a search does."""
    return all(
        scan.ss == 0 or (scan.ss in BORDERS and scan.se + 1 in BORDERS and scan.al <= MAX_AC_BIT)
        for scan in scans
    )


def propose(scans: Candidate, rng: random.Random) -> Candidate:
    """Return a neighbour, valid or not; `scans` itself where a step does not fit."""
    step = rng.choice(_STEPS)
    changed = step(list(scans), rng)
    changed[0] = replace(changed[0], joins=False)
    return tuple(changed)


def _move(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Put a scan elsewhere; it takes its grouping with it, or not."""
    scan = scans.pop(rng.randrange(len(scans)))
    if rng.random() < 0.3:
        scan = replace(scan, joins=not scan.joins)
    scans.insert(rng.randrange(len(scans) + 1), scan)
    return scans


def _swap(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Exchange two neighbours."""
    at = rng.randrange(len(scans) - 1)
    scans[at], scans[at + 1] = scans[at + 1], scans[at]
    return scans


def _toggle(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Join a scan to the group before it, or let it begin one."""
    at = rng.randrange(len(scans))
    scans[at] = replace(scans[at], joins=not scans[at].joins)
    return scans


def _split_band(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Divide the frequencies of a scan; the upper part comes at once, or later."""
    at = rng.randrange(len(scans))
    scan = scans[at]
    inside = [border for border in BORDERS if scan.ss < border <= scan.se and scan.ss > 0]
    if not inside:
        return scans
    border = rng.choice(inside)
    scans[at] = replace(scan, se=border - 1)
    scans.insert(_later(at, scans, rng), replace(scan, ss=border, joins=rng.random() < 0.5))
    return scans


def _merge_bands(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Make one scan of two whose frequencies lie side by side."""
    return _merge(scans, rng, lambda a, b: replace(a, se=b.se) if _side_by_side(a, b) else None)


def _side_by_side(a: Scan, b: Scan) -> bool:
    same = (a.components, a.ah, a.al) == (b.components, b.ah, b.al)
    return same and a.ss > 0 and a.se + 1 == b.ss


def _split_components(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Divide the components of a scan."""
    at = rng.randrange(len(scans))
    scan = scans[at]
    if len(scan.components) == 1:
        return scans
    first, rest = scan.components[:1], scan.components[1:]
    scans[at] = replace(scan, components=first)
    other = replace(scan, components=rest, joins=rng.random() < 0.5)
    scans.insert(_later(at, scans, rng), other)
    return scans


def _merge_components(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Make one scan of two that differ only in their components."""

    def together(a: Scan, b: Scan) -> Scan | None:
        if (a.ss, a.se, a.ah, a.al) != (b.ss, b.se, b.ah, b.al) or {*a.components} & {
            *b.components
        }:
            return None
        components = tuple(sorted(a.components + b.components))
        return replace(a, components=components) if components in _SETS else None

    return _merge(scans, rng, together)


_SETS: Final = {(0, 1, 2), (1, 2), (0,), (1,), (2,)}


def _merge(
    scans: list[Scan], rng: random.Random, join: Callable[[Scan, Scan], Scan | None]
) -> list[Scan]:
    pairs = [
        (i, j, joined)
        for i, a in enumerate(scans)
        for j, b in enumerate(scans)
        if i != j and (joined := join(a, b)) is not None
    ]
    if not pairs:
        return scans
    i, j, joined = rng.choice(pairs)
    keep, drop = (i, j) if rng.random() < 0.5 else (j, i)
    scans[keep] = replace(joined, joins=scans[keep].joins)
    del scans[drop]
    return scans


def _delay_bit(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Leave one more bit of a first scan to a refinement."""
    firsts = [i for i, scan in enumerate(scans) if scan.ah == 0]
    at = rng.choice(firsts)
    scan = scans[at]
    bit = scan.al
    scans[at] = replace(scan, al=bit + 1)
    after = [
        i for i, each in enumerate(scans) if i > at and each.ah == bit and _overlap(each, scan)
    ]
    end = after[0] if after else len(scans)
    refinement = replace(scan, ah=bit + 1, al=bit, joins=rng.random() < 0.5)
    scans.insert(rng.randint(at + 1, end), refinement)
    return scans


def _overlap(a: Scan, b: Scan) -> bool:
    return bool({*a.components} & {*b.components}) and a.ss <= b.se and b.ss <= a.se


def _hasten_bit(scans: list[Scan], rng: random.Random) -> list[Scan]:
    """Let a first scan bring the bit that a refinement of the same coefficients brings."""
    pairs = [
        (i, j)
        for i, first in enumerate(scans)
        for j, fine in enumerate(scans)
        if first.ah == 0 < first.al == fine.ah
        and (first.components, first.ss, first.se) == (fine.components, fine.ss, fine.se)
    ]
    if not pairs:
        return scans
    i, j = rng.choice(pairs)
    scans[i] = replace(scans[i], al=scans[j].al)
    del scans[j]
    return scans


def _later(at: int, scans: list[Scan], rng: random.Random) -> int:
    return at + 1 if rng.random() < 0.5 else rng.randint(at + 1, len(scans))


_STEPS: Final = (
    _move,
    _move,
    _swap,
    _swap,
    _toggle,
    _split_band,
    _merge_bands,
    _split_components,
    _merge_components,
    _delay_bit,
    _hasten_bit,
)


def ladders() -> list[tuple[Scan, ...]]:
    """Return every scan that a candidate may hold, each of one component, but for DC scans."""
    bits = [(0, al) for al in range(MAX_AC_BIT + 1)]
    bits += [(ah, ah - 1) for ah in range(1, MAX_AC_BIT + 1)]
    dc_bits = [(0, al) for al in range(MAX_DC_BIT + 1)]
    dc_bits += [(ah, ah - 1) for ah in range(1, MAX_DC_BIT + 1)]
    dc = tuple(Scan(each, 0, 0, ah, al) for each in DC_SETS for ah, al in dc_bits)
    ac = [
        tuple(
            Scan((component,), first, end - 1, ah, al)
            for i, first in enumerate(BORDERS)
            for end in BORDERS[i + 1 :]
            for ah, al in bits
        )
        for component in range(3)
    ]
    return [dc, *ac]


assert all(a < b for a, b in pairwise(BORDERS)), "bands are in order"
