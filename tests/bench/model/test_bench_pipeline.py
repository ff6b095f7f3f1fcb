"""The recurrence against what can be worked out by hand, and its laws."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import MonkeyPatch as Patch

from dl2cli.bench.model.pipeline import EpochShape, Service, epoch_seconds, long_run_rate, rate

BYTES = 10_000.0


def records(count: int, images: int, **changes: object) -> EpochShape:
    """An epoch of `count` records of `images` images, in batches of 8, in order."""
    shape = EpochShape(
        batch_size=8,
        visit=np.arange(count * images) // images,
        visit_bytes={10: [BYTES * images] * count},
        max_visits=4,
        prefetch=3,
        fetchers=1,
        in_worker=False,
        workers=2,
    )
    return replace(shape, **changes)  # type: ignore[arg-type]


def files(count: int, workers: int) -> EpochShape:
    shape = records(count, 1, in_worker=True, workers=workers)
    return replace(shape, visit_bytes={10: [BYTES] * count})


FREE = Service(math.inf, 0.0, 0.0, 0.0, 0.0)


def test_one_record_overlaps_nothing() -> None:
    service = replace(FREE, bandwidth_bytes_s=1e6, decode_s=0.01)
    # 64 images of 10 kB: 0.64 s to fetch all of it, and then 0.64 s to decode.
    assert epoch_seconds(records(1, 64), 10, service) == pytest.approx(0.64 + 0.64)


def test_records_overlap_but_for_the_first_fetch() -> None:
    service = replace(FREE, bandwidth_bytes_s=1e6, decode_s=0.01)
    # 8 records of 8 images: fetching one and decoding one both take 0.08 s.
    assert epoch_seconds(records(8, 8), 10, service) == pytest.approx(0.08 + 8 * 0.08)


def test_memory_for_records_limits_reading_ahead() -> None:
    # Decoders that are slow at the end would let all records be fetched early, had they room.
    service = replace(FREE, bandwidth_bytes_s=1e6, decode_s=0.001, compute_s=0.02)
    roomy = epoch_seconds(records(8, 8), 10, service)
    tight = epoch_seconds(records(8, 8, max_visits=1, prefetch=1), 10, service)
    assert roomy == pytest.approx(0.08 + 8 * 0.001 + 64 * 0.02)
    assert tight >= roomy


def test_compute_waits_for_the_first_batch_alone() -> None:
    service = replace(FREE, decode_s=0.001, compute_s=0.01)
    assert epoch_seconds(records(4, 16), 10, service) == pytest.approx(8 * 0.001 + 64 * 0.01)


def test_latency_is_paid_once_a_record_and_shared_by_threads() -> None:
    service = replace(FREE, latency_s=0.1)
    assert epoch_seconds(records(8, 8), 10, service) == pytest.approx(0.8)
    assert epoch_seconds(records(8, 8, fetchers=4), 10, service) == pytest.approx(0.2)


def test_a_worker_that_fetches_decodes_nothing_meanwhile() -> None:
    service = replace(FREE, latency_s=0.01, decode_s=0.005)  # 2 workers: 0.01 s of one of them
    assert epoch_seconds(files(64, workers=2), 10, service) == pytest.approx(32 * 0.02)


def test_workers_share_one_link() -> None:
    service = replace(FREE, bandwidth_bytes_s=1e6)
    assert epoch_seconds(files(64, workers=4), 10, service) == pytest.approx(0.64)


def test_a_cache_takes_its_share_off_the_fetching() -> None:
    service = replace(FREE, bandwidth_bytes_s=1e6, missed=0.25)
    assert epoch_seconds(records(8, 8), 10, service) == pytest.approx(0.16)


seconds = st.floats(1e-5, 1e-2)


@settings(max_examples=20)
@given(st.floats(1e5, 1e9), seconds, seconds)
def test_a_long_epoch_comes_to_the_minimum_of_three_rates(
    bandwidth: float, decode_s: float, compute_s: float
) -> None:
    service = Service(bandwidth, 0.0, 0.0, decode_s, compute_s)
    found = rate(records(400, 8), 10, service)
    expected = long_run_rate(BYTES, 8, service)
    assert found <= expected * 1.0001
    assert found == pytest.approx(expected, rel=0.05)


@settings(max_examples=30)
@given(st.floats(1e5, 1e9), seconds, seconds, st.integers(1, 64), st.booleans())
def test_nothing_gets_slower_with_faster_parts(
    bandwidth: float, decode_s: float, compute_s: float, images: int, in_worker: bool
) -> None:
    shape = files(100, 3) if in_worker else records(5, images)
    service = Service(bandwidth, 1e-4, 1e-10, decode_s, compute_s)
    now = epoch_seconds(shape, 10, service)
    faster = (
        replace(service, bandwidth_bytes_s=2 * bandwidth),
        replace(service, decode_s=decode_s / 2),
        replace(service, compute_s=compute_s / 2),
        replace(service, missed=0.5),
        replace(service, latency_s=0.0),
    )
    for each in faster:
        assert epoch_seconds(shape, 10, each) <= now * (1 + 1e-9)


def test_a_long_epoch_in_portions_is_as_long_as_image_by_image(monkeypatch: Patch) -> None:
    service = Service(2e6, 1e-3, 0.0, 0.004, 0.003)
    shape = records(60, 100, batch_size=64)
    in_portions = epoch_seconds(shape, 10, service)
    monkeypatch.setattr("dl2cli.bench.model.pipeline._STEPS", len(shape.visit))
    assert in_portions == pytest.approx(epoch_seconds(shape, 10, service), rel=0.01)
