from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.bench.storage.read_plan import (
    MAX_SKIPPED_LISTED,
    AccessPattern,
    DatasetFiles,
    SkippedFiles,
    choose_files,
    plan_reads,
)
from dl2cli.dataset.location import DatasetKind

counts = st.integers(1, 3000)
limits = st.integers(1, 3000)
seeds = st.integers(0, 2**32)


@given(counts, limits, seeds, st.sampled_from(AccessPattern))
def test_a_choice_has_no_file_twice_and_can_be_repeated(count, limit, seed, order):
    chosen = choose_files(count, order, seed, limit)
    assert len(chosen) == len(set(chosen)) == min(count, limit)
    assert all(0 <= i < count for i in chosen)
    assert chosen == choose_files(count, order, seed, limit)


@given(counts, limits, seeds)
def test_a_sequence_is_a_stretch_of_neighbours(count, limit, seed):
    chosen = choose_files(count, AccessPattern.SEQUENTIAL, seed, limit)
    assert all((after - before) % count == 1 % count for before, after in pairwise(chosen))
    if limit >= count:
        assert chosen == list(range(count))


def test_a_random_choice_reaches_everything():
    seen = {i for seed in range(60) for i in choose_files(50, AccessPattern.RANDOM, seed, 5)}
    assert seen == set(range(50))


def records(folder, lengths):
    """A PCR dataset of made-up record files."""
    ends = np.cumsum(np.array(lengths, np.int64), axis=1)
    names = tuple(f"PCR_{i}.db" for i in range(len(lengths)))
    for name, size in zip(names, ends[:, -1], strict=True):
        (folder / name).write_bytes(bytes(int(size)))
    return DatasetFiles(DatasetKind.PCR, folder, names, (3,) * len(names), ends)


def test_every_fidelity_reads_the_same_records(tmp_path):
    dataset = records(tmp_path, [[1 + i, 10, 20 + i] for i in range(20)])
    for order in AccessPattern:
        plan = plan_reads(dataset, order, 3, 200, SkippedFiles())
        full, first = plan.extents(2), plan.extents(1)
        assert 1 < len(full) < 20
        assert sum(extent.length for extent in full) <= 200
        assert [extent.path for extent in full] == [extent.path for extent in first]
        assert [e.length for e in first] == [int(dataset.ends[i, 1]) for i in plan.chosen]
        assert plan.extents(None) == full


def test_one_file_is_read_however_large_it_is(tmp_path):
    dataset = records(tmp_path, [[100, 100]])
    assert len(plan_reads(dataset, AccessPattern.RANDOM, 0, 1, SkippedFiles()).chosen) == 1


def test_files_that_are_too_short_are_skipped(tmp_path):
    dataset = records(tmp_path, [[10, 10], [10, 10], [10, 10]])
    (tmp_path / "PCR_1.db").write_bytes(bytes(19))
    (tmp_path / "PCR_2.db").unlink()
    skipped = SkippedFiles()
    for order in AccessPattern:
        assert plan_reads(dataset, order, 0, 10**9, skipped).chosen == (0,)
    assert len(skipped) == 2
    reasons = {each.path: each.reason for each in skipped.listed()}
    assert "19 bytes, the index says 20" in reasons[f"{tmp_path}/PCR_1.db"]
    assert "No such file" in reasons[f"{tmp_path}/PCR_2.db"]


@given(st.lists(st.integers(0, 500), max_size=600))
def test_skipped_files_are_counted_once_and_listed_to_a_limit(names):
    skipped = SkippedFiles()
    for name in names:
        skipped.add(str(name), "bad")
    assert len(skipped) == len(set(names))
    assert len(skipped.listed()) == min(len(set(names)), MAX_SKIPPED_LISTED)
