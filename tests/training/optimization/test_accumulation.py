"""Groups of batches, weighted: the mean over all of their images, however they are divided."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.loaders.order.lanes import Lanes
from dl2cli.training.optimization.accumulation import Accumulation


def cut(images: int, batch: int, rank: int, ranks: int, *, drop: bool) -> Lanes:
    return Lanes(images, batch, lanes=ranks, rank=rank, world_size=ranks, drop=drop)


def test_full_batches_count_alike():
    groups = Accumulation(cut(24, 4, 0, 1, drop=True), batches=3)
    assert [groups.weight(batch) for batch in range(6)] == [1 / 3] * 6
    assert [groups.ends(batch) for batch in range(6)] == [False, False, True] * 2


def test_a_group_that_the_epoch_cuts_short_is_divided_by_what_it_has():
    groups = Accumulation(cut(16, 4, 0, 1, drop=True), batches=3)
    assert [groups.weight(batch) for batch in range(4)] == [1 / 3, 1 / 3, 1 / 3, 1]
    assert groups.ends(3)


def test_groups_begin_where_a_process_begins():
    groups = Accumulation(cut(24, 4, 0, 1, drop=True), batches=2, first=1)
    assert [groups.ends(batch) for batch in range(1, 6)] == [False, True, False, True, True]


@given(
    images=st.integers(1, 60),
    batch=st.integers(1, 7),
    ranks=st.integers(1, 4),
    batches=st.integers(1, 4),
)
def test_it_is_the_mean_over_all_images(images: int, batch: int, ranks: int, batches: int):
    """By hand: each image has a gradient of its own; ranks' means are averaged as DDP does."""
    gradients = torch.arange(1.0, images + 1, dtype=torch.float64) ** 2
    cuts = [cut(images, batch, rank, ranks, drop=False) for rank in range(ranks)]
    groups = [Accumulation(lanes, batches) for lanes in cuts]
    steps, used, total, seen = cuts[0].steps, 0, torch.tensor(0.0, dtype=torch.float64), []
    for number in range(steps):
        for lanes, group in zip(cuts, groups, strict=True):
            own, _ = lanes.images_in(number)
            mine, used = gradients[used : used + own], used + own
            seen.append(mine)
            if own:
                total += mine.mean() * group.weight(number) / ranks
        assert len({group.ends(number) for group in groups}) == 1
        if groups[0].ends(number):
            assert float(total) == pytest.approx(float(torch.cat(seen).mean()), rel=1e-12)
            total, seen = torch.zeros_like(total), []
    assert used == images
    assert not seen


@given(images=st.integers(1, 60), batch=st.integers(1, 7), ranks=st.integers(1, 4))
def test_the_smallest_batch_of_all_ranks(images: int, batch: int, ranks: int):
    cuts = [cut(images, batch, rank, ranks, drop=False) for rank in range(ranks)]
    sizes = {lanes.images_in(number)[0] for lanes in cuts for number in range(lanes.steps)} - {0}
    assert {lanes.smallest_batch for lanes in cuts} == {min(sizes)}
