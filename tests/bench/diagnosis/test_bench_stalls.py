"""Stalls and utilisation by hand."""

from dataclasses import replace

import pytest

from dl2cli.bench.diagnosis.bottleneck import find_bottleneck
from dl2cli.bench.diagnosis.stalls import differential, utilisation
from dl2cli.bench.model.rates import Gains
from dl2cli.bench.probes.timed_run import Limit, RunTimes


def times(images: int, wall_s: float, first_batch_s: float) -> RunTimes:
    return RunTimes(
        images=images,
        batches=images // 10,
        wall_s=wall_s,
        first_batch_s=first_batch_s,
        wait_s=(first_batch_s,),
        bytes_read=1000,
        batch_bytes=1000,
        fetch_s=None,
        decode_s=None,
        cpu_s=1.0,
        device_bytes=960,
        whole_epoch=True,
    )


def test_the_parts_add_up_to_the_whole() -> None:
    cold = times(images=100, wall_s=1.0, first_batch_s=0.2)
    stalls = differential(0.002, 0.006, 0.010, [cold])
    assert (stalls.compute_s, stalls.prep_s, stalls.fetch_s) == pytest.approx((0.002, 0.004, 0.004))
    assert stalls.total_s == pytest.approx(0.010)
    assert stalls.shares == pytest.approx((0.2, 0.4, 0.4))
    # 100 images of 2 ms in 1 s, of which the 0.2 s before the first step do not count.
    assert stalls.au == pytest.approx(0.2 / 0.8)
    assert stalls.steps == 10


def test_a_faster_run_is_no_negative_stall() -> None:
    stalls = differential(0.010, 0.009, 0.0095, [times(100, 1.0, 0.0)])
    assert (stalls.prep_s, stalls.fetch_s, stalls.total_s) == (0.0, 0.0, 0.010)


def test_utilisation_is_never_more_than_all() -> None:
    assert utilisation(times(100, 1.0, 0.5), compute_s=0.01) == 1.0


def test_a_run_of_one_step_is_not_utilised_by_definition() -> None:
    # 10 images of 2 ms in the only step: nothing but the wait for it could be left out.
    assert utilisation(times(10, 0.1, 0.08), compute_s=0.002) == pytest.approx(0.2)
    assert utilisation(times(20, 0.1, 0.06), compute_s=0.002) == pytest.approx(1.0)


def test_where_bytes_came_from() -> None:
    run = times(10, 1.0, 0.1)
    assert run.served(in_memory=False) == "storage"
    assert replace(run, device_bytes=940).served(in_memory=False) == "page cache"
    assert replace(run, device_bytes=None).served(in_memory=False) == "unknown"
    assert run.served(in_memory=True) == "memory"
    assert times(10, 1.0, 0.1).rate_img_s == 10


def test_limits() -> None:
    assert Limit(batches=3).reached(3, 0.0)
    assert not Limit(batches=3).reached(2, 1e9)
    assert Limit(run_s=1.0).reached(2, 1.1)
    assert not Limit(run_s=1.0).reached(1, 1.1)
    assert Limit(run_s=1.0).reached(1, 100.0)
    # A run of a known length is only cut when it takes far longer than it should.
    assert not Limit(batches=10, run_s=1.0).reached(5, 4.0)
    assert Limit(batches=10, run_s=1.0).reached(5, 6.0)


@pytest.mark.parametrize(
    ("gains", "bound", "word"),
    [
        (Gains(storage=3.0, prep=1.2, compute=1.0), "storage", "Bottleneck: storage."),
        (Gains(storage=1.0, prep=2.0, compute=1.0), "prep", "Bottleneck: decoding."),
        (Gains(storage=1.0, prep=1.0, compute=5.0), "compute", "Bottleneck: compute."),
        (Gains(storage=1.02, prep=1.05, compute=1.01), "compute", "Bottleneck: compute."),
    ],
)
def test_the_verdict_names_what_would_gain_most(gains: Gains, bound: str, word: str) -> None:
    stalls = differential(0.002, 0.006, 0.010, [times(100, 1.0, 0.2)])
    verdict = find_bottleneck("pcr k=10", 100.0, stalls, gains, noise=0.05, data_img_s=400.0)
    assert verdict.bound == bound
    assert verdict.sentence.startswith(word)
    assert verdict.certain
    assert "40% is fetch stall" in verdict.sentence


def test_a_gain_within_the_noise_is_not_certain() -> None:
    stalls = differential(0.002, 0.006, 0.010, [times(100, 1.0, 0.2)])
    gains = Gains(storage=1.15, prep=1.0, compute=1.0)
    assert not find_bottleneck("x", 100.0, stalls, gains, noise=0.4, data_img_s=400.0).certain
