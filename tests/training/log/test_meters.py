"""Meters: means that are right, and the same however often a run was interrupted."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dl2cli.loaders.base import LoaderStats
from dl2cli.stores.counters import Counters, StoreStats
from dl2cli.training.log.events import Phase
from dl2cli.training.log.meters import Meter, split_states


def meter(world_size: int = 1, reduce=lambda values: values) -> Meter:
    return Meter(Phase.TRAIN, 0, world_size, reduce)


def feed(target: Meter, steps: list[tuple[float, int, int, float, float]]) -> Meter:
    """Add iterations of (loss, right, images, data_s, compute_s)."""
    for loss, right, images, _, _ in steps:
        target.add(torch.tensor(loss), torch.tensor(right), torch.tensor(images), images)
    target.add_times([step[3:] for step in steps])
    return target


seconds = st.floats(1e-6, 1e3)
losses = st.floats(-1e6, 1e6, width=32)
steps = st.lists(
    st.tuples(losses, st.integers(0, 5), st.integers(1, 300), seconds, seconds), min_size=1
)


@settings(max_examples=40)
@given(steps)
def test_means_are_those_of_numpy(taken):
    report = feed(meter(), taken).report(len(taken), 0.1, 5)
    loss, right, images, data, compute = (np.array(c, float) for c in zip(*taken, strict=True))
    assert report.images == images.sum()
    scale = np.abs(loss).max()
    assert report.loss == pytest.approx(np.average(loss, weights=images), abs=1e-9 * (1 + scale))
    assert report.top1_pct == pytest.approx(100 * right.sum() / images.sum(), rel=1e-12)
    assert report.top5_pct == 100
    assert report.data_s == pytest.approx(data.mean(), rel=1e-12)
    assert report.data_s + report.compute_s == report.iteration_s
    assert report.wall_s == pytest.approx((data + compute).sum(), rel=1e-12)
    assert report.data_speed_img_s == pytest.approx((images / data).mean(), rel=1e-12)
    assert report.iteration_speed_img_s == pytest.approx(
        (images / (data + compute)).mean(), rel=1e-12
    )
    for q, value in report.compute_latency_s.items():
        assert value == np.quantile(compute, q, method="nearest")


@settings(max_examples=40)
@given(steps, st.data())
def test_an_interruption_changes_nothing(taken, data):
    """Windows of 7 and an epoch, interrupted anywhere: the same to the last bit."""
    cut = data.draw(st.integers(0, len(taken)))

    def run(interrupt: bool) -> list:
        total, window, reports = meter(), meter(), []
        for index, step in enumerate(taken):
            if interrupt and index == cut:
                states = [json.loads(json.dumps(m.state_dict())) for m in (total, window)]
                total, window = meter(), meter()
                total.load_state_dict(states[0])
                window.load_state_dict(states[1])
            feed(window, [step])
            if index % 7 == 6:
                reports.append(window.report(index + 1, None, None))
                total.merge(window)
                window = meter()
        total.merge(window)
        return [*reports, total.report(len(taken), None, None)]

    assert run(True) == run(False)


def test_an_epoch_is_the_sum_of_its_windows():
    taken = [(1.5, 1, 4, 0.1, 0.2), (0.5, 3, 2, 0.3, 0.1), (2.0, 0, 6, 0.2, 0.2)]
    total = feed(meter(), taken[:1])
    total.merge(feed(meter(), taken[1:]))
    assert total.report(3, None, None) == feed(meter(), taken).report(3, None, None)


def test_ranks_are_summed_up():
    """Images of all ranks weigh alike; times are this rank's; the speed is of all."""
    others = torch.tensor([2.0 * 30, 15, 30, 30, 500], dtype=torch.float64)
    mine = feed(meter(2, lambda values: values + others), [(1.0, 5, 10, 0.1, 0.3)])
    mine.add_loader(LoaderStats(), LoaderStats(bytes_read=100))
    report = mine.report(1, None, None)
    assert report.images == 40
    assert report.loss == pytest.approx((1.0 * 10 + 2.0 * 30) / 40)
    assert (report.top1_pct, report.top5_pct) == (50, 100)
    assert report.bytes_read == 600
    assert report.data_s == 0.1
    assert report.data_speed_img_s == pytest.approx(2 * 10 / 0.1)


def test_a_loss_that_is_no_number_stays_one():
    report = feed(meter(), [(1.0, 1, 2, 0.1, 0.1), (math.nan, 1, 2, 0.1, 0.1)]).report(
        2, None, None
    )
    assert math.isnan(report.loss)
    assert report.top1_pct == 50
    assert math.isinf(feed(meter(), [(math.inf, 0, 1, 0.1, 0.1)]).report(1, None, None).loss)


def test_an_empty_batch_counts_by_its_time_alone():
    report = feed(meter(), [(1.0, 2, 4, 0.1, 0.1), (9.0, 0, 0, 0.3, 0.1)]).report(2, None, None)
    assert (report.loss, report.top1_pct, report.images, report.iterations) == (1.0, 50, 4, 2)
    assert report.data_s == pytest.approx(0.2)
    assert report.data_speed_img_s == pytest.approx((4 / 0.1 + 0) / 2)


def test_without_any_iteration_there_is_no_mean():
    report = meter().report(0, None, None)
    assert math.isnan(report.loss)
    assert (report.images, report.wall_s, report.compute_latency_s) == (0, 0, {})


def test_a_batch_that_took_no_time_has_a_speed_that_is_a_number():
    report = feed(meter(), [(1.0, 1, 4, 0.0, 0.1)]).report(1, None, None)
    assert math.isfinite(report.data_speed_img_s)


def test_half_precision_losses_and_integers_on_the_device_are_taken():
    it = meter()
    it.add(torch.tensor(1.5, dtype=torch.bfloat16), torch.tensor(1), torch.tensor(2), 2)
    it.add_times([(0.1, 0.2)])
    assert it.report(1, None, None).loss == 1.5


def test_the_data_time_is_split_as_decoders_waited():
    it = feed(meter(), [(1.0, 1, 4, 0.4, 0.1)])
    before = LoaderStats(bytes_read=1000, fetch_s=1.0, decode_s=5.0, fetch_wait_s=2.0, wait_s=1.0)
    after = LoaderStats(bytes_read=1600, fetch_s=2.5, decode_s=6.0, fetch_wait_s=5.0, wait_s=1.5)
    it.add_loader(before, after)
    report = it.report(1, None, None)
    assert report.bytes_read == 600
    assert report.fetch_stall_s == pytest.approx(0.4 * 3 / 4)
    assert report.fetch_stall_s + report.prep_stall_s == pytest.approx(report.data_s)
    assert report.stages_s == {
        "fetch_s": 1.5, "decode_s": 1.0, "fetch_wait_s": 3.0, "wait_s": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "after", [LoaderStats(wait_s=1.0), LoaderStats(decode_s=0.0, fetch_wait_s=0.0)]
)
def test_a_loader_that_cannot_tell_leaves_the_data_time_whole(after: LoaderStats):
    it = feed(meter(), [(1.0, 1, 4, 0.4, 0.1)])
    it.add_loader(LoaderStats(), after)
    report = it.report(1, None, None)
    assert (report.fetch_stall_s, report.prep_stall_s) == (None, None)


@pytest.mark.parametrize("after", [1, 2, 3, 5])
def test_a_resume_with_another_number_of_ranks_keeps_the_sums(after: int):
    states = []
    for rank in range(2):
        it = feed(meter(), [(1.0 + rank, rank, 4, 0.1, 0.2)])
        it.add_loader(LoaderStats(), LoaderStats(bytes_read=10 + rank))
        states.append(json.loads(json.dumps(it.state_dict())))
    sums = torch.zeros(5, dtype=torch.float64)
    for rank in range(after):
        mine = split_states(states, rank, after)
        if mine is not None:
            it = Meter(Phase.TRAIN, 0, after, sums.add_)
            it.load_state_dict(mine)
            report = it.report(1, None, None)
    assert sums.tolist() == [12.0, 1, 8, 8, 21]
    assert report.iterations == 1


@pytest.mark.parametrize("after", [1, 2, 3])
def test_requests_to_a_store_are_summed_over_windows_ranks_and_resumes(after: int):
    """Two ranks make 3 and 4 requests before a resume and none behind it."""
    states = []
    for rank in range(2):
        counters, window, total = Counters(), meter(2), meter(2)
        counters.add_request()  # the index, before the epoch
        before = LoaderStats(store=counters.stats())
        for _ in range(3 + rank):
            counters.add_request()
            counters.add_answer(100, 0.01 * (1 + rank))
        feed(window, [(1.0, 1, 4, 0.1, 0.2)]).add_loader(
            before, LoaderStats(store=counters.stats())
        )
        total.merge(window)
        states.append(json.loads(json.dumps(total.state_dict())))
    sums = torch.zeros(5 + len(StoreStats().counts), dtype=torch.float64)
    quiet = LoaderStats(store=StoreStats())
    for rank in range(after):
        it = Meter(Phase.TRAIN, 0, after, sums.add_)
        if mine := split_states(states, rank, after):
            it.load_state_dict(mine)
        it.add_loader(quiet, quiet)
        store = it.report(1, None, None).store
    assert (store.requests, store.bytes_received, store.retries) == (7, 700, 0)
    assert store.latency_p50_s == pytest.approx(0.02, rel=0.03)
    assert meter().report(0, None, None).store is None
