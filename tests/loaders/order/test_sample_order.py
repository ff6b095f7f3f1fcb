import hashlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dl2cli.errors import UsageError
from dl2cli.loaders.order.sample_order import SampleOrder, mix64

counts_lists = st.lists(st.integers(0, 9), min_size=1, max_size=20).filter(sum)
orders = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 7),
        "seed": st.integers(-(2**63), 2**63),
        "shuffle": st.booleans(),
        "shuffle_window": st.one_of(st.none(), st.integers(1, 5)),
        "tail": st.sampled_from(["drop", "pad"]),
    }
)


def ranks(counts, options, world_size):
    if options["tail"] == "drop" and sum(counts) < options["batch_size"] * world_size:
        options = {**options, "tail": "pad"}
    return [
        SampleOrder(counts, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]


@settings(max_examples=200, deadline=None)
@given(counts_lists, orders, st.integers(1, 6), st.integers(0, 10))
def test_every_sample_comes_once_an_epoch_and_ranks_have_equal_steps(counts, options, world, epoch):
    group = ranks(counts, options, world)
    assert len({order.steps for order in group}) == 1
    epochs = [order.epoch(epoch) for order in group]
    for order, one in zip(group, epochs, strict=True):
        assert len(one) == order.samples
        assert order.steps == -(-len(one) // order.lanes.batch_size)
    real = np.concatenate([one.sample[: len(one) - one.padding] for one in epochs])
    assert len(np.unique(real)) == len(real)
    if group[0].lanes.drop:
        assert (
            len(real)
            == sum(counts)
            // (group[0].lanes.batch_size * world)
            * group[0].lanes.batch_size
            * world
        )
    else:
        assert sorted(real) == list(range(sum(counts)))
        assert sum(one.padding for one in epochs) == group[0].samples * world - sum(counts)
        assert max(one.padding for one in epochs) <= 1


@settings(max_examples=100, deadline=None)
@given(counts_lists, orders, st.integers(1, 4), st.integers(0, 3))
def test_record_and_slot_are_those_of_the_sample(counts, options, world, epoch):
    starts = np.cumsum(counts) - counts
    for order in ranks(counts, options, world):
        one = order.epoch(epoch)
        assert (starts[one.record] + one.slot == one.sample).all()
        assert (one.slot < np.asarray(counts)[one.record]).all()


@settings(max_examples=100, deadline=None)
@given(counts_lists, orders, st.integers(1, 4), st.data())
def test_the_rest_of_an_epoch_is_the_end_of_the_whole(counts, options, world, data):
    for order in ranks(counts, options, world):
        whole = order.epoch(3)
        cut = data.draw(st.integers(0, order.steps - 1)) * order.lanes.batch_size
        rest = whole.tail(cut)
        assert (rest.sample == whole.sample[cut:]).all()
        assert (rest.record == whole.record[cut:]).all()
        assert (rest.slot == whole.slot[cut:]).all()
        assert set(rest.visit) == set(range(len(rest.visits)))
        assert rest.padding_in(0, len(rest)) == rest.padding


def test_the_order_is_known():
    order = SampleOrder([3, 2, 4], batch_size=2, seed=1, shuffle_window=1)
    first = order.epoch(0)
    assert first.sample.tolist() == order.epoch(0).sample.tolist()
    assert first.sample.tolist() != order.epoch(1).sample.tolist()
    assert (
        first.sample.tolist()
        != SampleOrder([3, 2, 4], batch_size=2, seed=2).epoch(0).sample.tolist()
    )
    # Written down, so that a change of the order does not go unnoticed: old runs could not resume.
    assert first.sample.tolist() == [8, 7, 5, 6, 3, 4, 2, 1]
    # Three ranks with a lane each: what the first version of dl2 gave them.
    counts = [3, 2, 4, 5, 1, 6, 4, 2]
    for tail in ("drop", "pad"):
        known = [
            SampleOrder(
                counts, batch_size=4, seed=7, shuffle_window=2, rank=r, world_size=3, tail=tail
            )
            for r in range(3)
        ]
        stretches = [
            [22, 23, 24, 14, 21, 16, 1, 2, 0],
            [20, 17, 19, 7, 18, 5, 6, 15, 8],
            [9, 12, 10, 4, 11, 3, 13, 26, 25],
        ]
        if tail == "drop":
            stretches = [
                [22, 23, 24, 14, 21, 1, 2, 0],
                [16, 20, 17, 19, 7, 18, 15, 8],
                [9, 12, 10, 11, 13, 5, 6, 3],
            ]
        assert [order.epoch(1).sample.tolist() for order in known] == stretches
    # Published values of SplitMix64 for the states 0, golden ratio, ...
    assert [hex(int(mix64(np.uint64(0))))] == ["0xe220a8397b1dcdaf"]


def test_a_shuffle_is_even():
    order = SampleOrder(np.ones(8, dtype=int), batch_size=1)
    places = np.zeros((8, 8), dtype=int)
    for epoch in range(4000):
        places[np.arange(8), order.epoch(epoch).sample.astype(int)] += 1
    # 500 each on average, with a standard deviation of 21.
    assert abs(places - 500).max() < 110


def test_records_are_read_in_another_order_each_epoch_and_stay_together():
    order = SampleOrder([10] * 6, batch_size=5, shuffle_window=1)
    one = order.epoch(0)
    assert (np.diff(one.visit.astype(int)) >= 0).all()
    assert one.visits.tolist() != order.epoch(1).visits.tolist()


def test_without_shuffle_it_is_the_order_of_the_dataset():
    assert SampleOrder([2, 3], batch_size=5, shuffle=False).epoch(7).sample.tolist() == [
        0,
        1,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize(
    ("counts", "options"),
    [
        ([], {}),
        ([0, 0], {}),
        ([3], {"batch_size": 4}),
        ([30], {"rank": 2, "world_size": 2}),
        ([30], {"tail": "cut"}),
    ],
)
def test_impossible_orders_are_refused(counts, options):
    with pytest.raises(UsageError):
        SampleOrder(counts, **{"batch_size": 2, **options})


def test_the_order_of_one_rank_needs_no_memory_for_the_images_of_all():
    order = SampleOrder([1000] * 10_000, batch_size=25, rank=3, world_size=400)
    tracemalloc.start()
    one = order.epoch(1)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(one) == 25_000
    assert peak_bytes < 10_000_000  # eight bytes for each of 10 million images would be eight times


def test_orders_never_change():
    """A run that is resumed with a newer dl2 sees each image as often as it would have."""
    digest = hashlib.sha256()
    kinds = (
        {"shuffle_window": 2},
        {"shuffle_window": None},
        {"shuffle": False},
        {"shuffle_window": 3, "lanes": 6},
    )
    for options in kinds:
        for rank in range(3):
            order = SampleOrder(
                [5, 0, 7, 3, 9, 1, 0, 6, 8, 4],
                batch_size=4,
                seed=11,
                rank=rank,
                world_size=3,
                tail="pad",
                **options,
            ).epoch(2)
            for each in (order.visits, order.visit, order.slot, order.sample):
                digest.update(each.tobytes())
    assert digest.hexdigest() == "5bb77038ca5458c7c58030b874a0cce60c7f5e00d00ee95358979d32151e35da"
