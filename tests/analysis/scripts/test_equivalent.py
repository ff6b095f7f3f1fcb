from itertools import pairwise

from jpegs import jpeg_bytes, photo

from dl2cli.analysis.scripts.equivalent import equivalent_scans
from dl2cli.pcr.scan_script import DEFAULT, RATE, SPECTRAL


def test_a_script_is_its_own_equal() -> None:
    jpegs = [jpeg_bytes(photo(150, 120, seed=i), quality=95) for i in range(3)]
    for scans in range(1, DEFAULT.groups):
        assert equivalent_scans(jpegs, DEFAULT, scans, DEFAULT) == scans


def test_a_better_fidelity_needs_no_fewer_groups() -> None:
    jpegs = [jpeg_bytes(photo(150, 120, seed=i), quality=95) for i in range(3)]
    found = [equivalent_scans(jpegs, DEFAULT, k, RATE) for k in range(1, 6)]
    assert all(a is not None and b is not None and a <= b for a, b in pairwise(found))


def test_without_a_measure_there_is_no_equal() -> None:
    cmyk, tiny = jpeg_bytes(photo(mode="CMYK")), jpeg_bytes(photo(5, 5))
    assert equivalent_scans([cmyk, tiny, b"nothing"], DEFAULT, 5, RATE) is None
    whole = [jpeg_bytes(photo(150, 120))]
    assert equivalent_scans(whole, DEFAULT, DEFAULT.groups, RATE) is None
    assert equivalent_scans(whole, DEFAULT, 9, SPECTRAL) in (None, 5)
