"""Lanes: the global batches do not depend on the number of ranks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl2cli.errors import UsageError
from dl2cli.loaders.order.lanes import Lanes
from dl2cli.loaders.order.sample_order import SampleOrder

counts_lists = st.lists(st.integers(0, 9), min_size=1, max_size=25).filter(sum)


@st.composite
def runs(draw):
    """Counts, options without ranks, a global batch, and the world sizes that divide it."""
    counts = draw(counts_lists)
    global_batch = draw(st.sampled_from([1, 2, 4, 6, 12, 24]))
    worlds = [w for w in range(1, global_batch + 1) if global_batch % w == 0]
    options = {
        "seed": draw(st.integers(-(2**63), 2**63)),
        "shuffle": draw(st.booleans()),
        "shuffle_window": draw(st.one_of(st.none(), st.integers(1, 4))),
        "lanes": draw(st.sampled_from(worlds)),
        "tail": draw(st.sampled_from(["drop", "pad"])),
    }
    if sum(counts) < global_batch:
        options["tail"] = "pad"
    return counts, options, global_batch, worlds


def orders(counts, options, global_batch, world):
    return [
        SampleOrder(
            counts, rank=rank, world_size=world, batch_size=global_batch // world, **options
        )
        for rank in range(world)
    ]


def real_steps(group, epoch, first=0):
    """The samples of each step on all ranks, without padding, from batch `first` on."""
    steps = [[] for _ in range(first, group[0].steps)]
    for order in group:
        size = order.lanes.batch_size
        rest = order.epoch(epoch).tail(first * size)
        for begin in range(0, len(rest), size):
            end = min(begin + size, len(rest))
            real = rest.sample[begin : end - rest.padding_in(begin, end)]
            steps[begin // size].extend(real.tolist())
    return steps


@settings(max_examples=300, deadline=None)
@given(runs(), st.integers(0, 5))
def test_the_steps_are_the_same_for_every_number_of_ranks(run, epoch):
    counts, options, global_batch, worlds = run
    alone = real_steps(orders(counts, options, global_batch, 1), epoch)
    assert [len(step) for step in alone[:-1]] == [global_batch] * (len(alone) - 1)
    seen = [sample for step in alone for sample in step]
    assert len(set(seen)) == len(seen)
    if options["tail"] == "pad":
        assert sorted(seen) == list(range(sum(counts)))
    else:
        assert len(seen) == sum(counts) // global_batch * global_batch
    for world in worlds[1:]:
        assert real_steps(orders(counts, options, global_batch, world), epoch) == alone


@settings(max_examples=150, deadline=None)
@given(runs(), st.data())
def test_any_number_of_ranks_goes_on_where_any_other_stopped(run, data):
    counts, options, global_batch, worlds = run
    before = orders(counts, options, global_batch, data.draw(st.sampled_from(worlds)))
    after = orders(counts, options, global_batch, data.draw(st.sampled_from(worlds)))
    assert before[0].identity() == after[-1].identity()
    cut = data.draw(st.integers(0, before[0].steps))
    assert real_steps(before, 2)[:cut] + real_steps(after, 2, cut) == real_steps(before, 2)


@settings(max_examples=150, deadline=None)
@given(runs(), st.data())
def test_ranks_have_equal_batches_and_pad_one_image_at_most(run, data):
    counts, options, global_batch, worlds = run
    group = orders(counts, options, global_batch, data.draw(st.sampled_from(worlds)))
    assert len({(order.samples, order.steps) for order in group}) == 1
    for order in group:
        one = order.epoch(1)
        assert len(one) == order.samples
        assert one.padding == order.lanes.padding <= 1
        if one.padding and len(one) > 1:
            assert one.sample[-1] == one.sample[-2]


@settings(max_examples=200, deadline=None)
@given(runs(), st.data())
def test_two_windows_of_records_a_lane_are_enough(run, data):
    counts, options, global_batch, worlds = run
    for order in orders(counts, options, global_batch, data.draw(st.sampled_from(worlds))):
        cut = data.draw(st.integers(0, order.steps - 1))
        one = order.epoch(0).tail(cut * order.lanes.batch_size)
        # What the native core checks: visits are fetched in turn, kept until their last use.
        left = np.bincount(one.visit, minlength=len(one.visits))
        assert left.all()
        fetched = alive = most = 0
        for visit in one.visit:
            while fetched <= visit:
                alive += 1
                fetched += 1
            most = max(most, alive)
            left[visit] -= 1
            alive -= left[visit] == 0
        assert most <= order.max_records // 2


@settings(max_examples=100, deadline=None)
@given(runs())
def test_with_a_lane_for_each_rank_records_are_read_by_one(run):
    counts, options, global_batch, worlds = run
    if sum(counts) < global_batch:
        counts = counts * global_batch  # else some ranks have nothing of their own
    for world in worlds:
        group = orders(counts, {**options, "lanes": world}, global_batch, world)
        assert all(order.max_records == 2 * order.window for order in group)
        visits = sum(len(order.epoch(0).visits) for order in group)
        # Once each, and once more where a lane ends within a record.
        assert visits <= len(counts) + 2 * world - 1


def test_three_ranks_share_two_lanes():
    lanes = [Lanes(30, 4, 2, rank, 3, drop=True) for rank in range(3)]
    assert [each.used for each in lanes] == [(0,), (0, 1), (1,)]
    assert [each.stretch(lane) for each in lanes[:1] for lane in (0, 1)] == [(0, 12), (12, 24)]
    lane, within = lanes[1].places()
    assert list(zip(lane, within, strict=True)) == [
        (0, 4), (0, 5), (1, 0), (1, 1), (0, 10), (0, 11), (1, 6), (1, 7)
    ]  # fmt: skip


def test_lanes_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(UsageError, match=r"8 images .* does not divide into 3 lanes: choose"):
        SampleOrder([30], batch_size=4, world_size=2, lanes=3)
    with pytest.raises(UsageError, match="0 lanes"):
        SampleOrder([30], batch_size=4, lanes=0)
