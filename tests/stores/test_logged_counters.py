"""The account of requests: percentiles, differences and sums are what the requests were."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.stores.counters import Counters, StoreStats

latencies = st.lists(st.floats(2e-4, 900), min_size=1, max_size=300)


def counted(times: list[float]) -> Counters:
    counters = Counters()
    for latency_s in times:
        counters.add_request()
        counters.add_answer(10, latency_s)
    return counters


@given(latencies)
def test_percentiles_are_those_of_the_latencies(times: list[float]) -> None:
    stats = counted(times).stats()
    for share, found in ((0.5, stats.latency_p50_s), (0.99, stats.latency_p99_s)):
        true = np.quantile(times, share, method="lower")
        assert found is not None
        assert true * (1 - 1e-9) <= found <= true * 1.0235


@given(latencies, latencies)
def test_what_came_between_two_moments(before: list[float], after: list[float]) -> None:
    counters = counted(before)
    then = counters.stats()
    for latency_s in after:
        counters.add_request()
        counters.add_answer(10, latency_s)
    counters.add_retry()
    between = counters.stats().since(then)
    assert (between.requests, between.bytes_received, between.retries) == (
        len(after),
        10 * len(after),
        1,
    )
    assert between.latency_p99_s == counted(after).stats().latency_p99_s
    assert then.plus(between) == counters.stats()


def test_nothing_was_read() -> None:
    stats = StoreStats()
    assert (stats.requests, stats.latency_p50_s, stats.latency_p99_s) == (0, None, None)
    assert Counters().percentile(0.99, 1) is None


def test_odd_latencies_have_a_place() -> None:
    stats = counted([0.0, 1e9]).stats()
    assert stats.latency_p50_s == 1e-4
    assert sum(stats.counts[5:]) == 2
