"""Whatever the steps of a search lead to is a script, for the parser and for other decoders."""

from __future__ import annotations

import random

import pytest

from dl2cli.analysis.scripts.candidate import (
    BORDERS,
    Candidate,
    bands_of,
    is_on_borders,
    is_valid,
    ladders,
    propose,
)
from dl2cli.pcr.scan_script import BUILT_IN, Scan, ScanScript, parse


@pytest.mark.parametrize("script", BUILT_IN.values(), ids=lambda s: s.name)
def test_built_in_scripts_are_candidates(script: ScanScript) -> None:
    assert is_on_borders(script.scans)
    assert is_valid(script.scans, script.groups)
    assert not is_valid(script.scans, script.groups - 1)


def walk(seed: int, steps: int = 3000, groups: int = 10) -> list[Candidate]:
    rng = random.Random(seed)
    current = BUILT_IN["default"].scans
    found = []
    for _ in range(steps):
        changed = propose(current, rng)
        if changed != current and is_valid(changed, groups):
            current = changed
            found.append(current)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_every_valid_candidate_is_a_script_and_its_scans_are_weighed(seed: int) -> None:
    known = {scan for ladder in ladders() for scan in ladder}
    found = walk(seed)
    assert len(found) > 100
    for scans in found[:: max(1, len(found) // 100)]:
        script = ScanScript("walked", scans)
        assert parse(script.text, "walked") == script
        assert script.groups <= 10
        for scan in scans:
            alone = Scan(scan.components, scan.ss, scan.se, scan.ah, scan.al)
            apart = [Scan((c,), scan.ss, scan.se, scan.ah, scan.al) for c in scan.components]
            assert alone in known if scan.ss == 0 else known.issuperset(apart)


def test_a_walk_reaches_every_kind_of_step() -> None:
    found = walk(0)
    assert any(scan.joins for scans in found for scan in scans)
    assert {len(scans) for scans in found} >= {8, 12}
    assert {scan.components for scans in found for scan in scans} > {(0,), (1, 2), (0, 1, 2)}


def test_what_is_no_script_is_no_candidate() -> None:
    default = BUILT_IN["default"].scans
    assert not is_valid((), 10)
    assert not is_valid(default[1:], 10)
    assert not is_valid(default[:-1], 10)
    assert not is_valid((*default[1:3], default[0], *default[3:]), 10)


def test_bands_cover_the_coefficients() -> None:
    assert list(bands_of(Scan((0,), 0, 0, 0, 0))) == [0]
    assert list(bands_of(Scan((0,), 1, 63, 0, 0))) == list(range(1, len(BORDERS)))
