"""Clocks: no time is lost between iterations, and the parts add up."""

from __future__ import annotations

import time

import pytest
import torch

from dl2cli.training.step_clock import CudaClock, HostClock, StepClock

CPU = torch.device("cpu")


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch):
    """Readings of the clock, given by hand."""
    readings: list[float] = []
    monkeypatch.setattr(time, "perf_counter", lambda: readings.pop(0))
    return readings


def test_iterations_begin_where_the_last_ended(ticks: list[float]):
    ticks += [0.0, 10.0, 12.0, 17.0, 18.0, 25.0]
    clock = StepClock.create(CPU)
    clock.start()
    clock.batch_ready()
    assert clock.end() == (2.0, 7.0)
    clock.batch_ready()
    assert clock.end() == (1.0, 8.0)
    assert clock.flush() == [(2.0, 5.0), (1.0, 7.0)]
    assert clock.flush() == []


def test_a_pause_is_no_part_of_an_iteration(ticks: list[float]):
    ticks += [0.0, 1.0, 2.0, 3.0, 100.0, 101.0, 103.0]
    clock = StepClock.create(CPU)
    clock.start()
    clock.batch_ready()
    clock.end()
    clock.start()  # after 97 seconds of a checkpoint
    clock.batch_ready()
    assert clock.end() == (1.0, 3.0)


def test_the_sum_of_iterations_is_the_wall_time():
    clock = StepClock.create(CPU)
    began = time.perf_counter()
    clock.start()
    for _ in range(50):
        time.sleep(1e-4)
        clock.batch_ready()
        sum(range(1000))
        data_s, iteration_s = clock.end()
        assert 0 < data_s < iteration_s
    wall_s = time.perf_counter() - began
    times = clock.flush()
    assert len(times) == 50
    total_s = sum(data_s + compute_s for data_s, compute_s in times)
    assert total_s <= wall_s
    # All that is outside: one reading of the clock before, one after, and the additions' rounding.
    first_s, last_s = clock._began - began, wall_s - (clock._began - began)
    assert total_s == pytest.approx(first_s, abs=last_s + 1e-3)


def test_the_host_waits_for_the_device_before_each_reading(ticks: list[float]):
    events: list[str] = []
    ticks += [0.0, 1.0, 2.0, 3.0]
    clock = HostClock(lambda: events.append("wait"))
    events.clear()
    clock.start()
    clock.batch_ready()
    clock.end()
    assert events == ["wait"] * 3


def test_a_cpu_has_no_device_to_wait_for():
    assert isinstance(StepClock.create(CPU, sync_every_step=True), HostClock)


class _Event:
    """A device's event, as far as the clock uses it; `now_ms` is when the device gets there."""

    now_ms = 0.0
    waited = 0

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing

    def record(self, stream) -> None:
        self.at_ms = _Event.now_ms

    def synchronize(self) -> None:
        _Event.waited += 1

    def elapsed_time(self, end: _Event) -> float:
        return end.at_ms - self.at_ms


def test_a_devices_clock_is_read_when_it_is_flushed_alone(monkeypatch: pytest.MonkeyPatch):
    """The arithmetic of the events; that they are right is seen on a GPU only."""
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    clock = StepClock.create(torch.device("cuda:0"))
    assert isinstance(clock, CudaClock)

    def at(now_ms: float) -> None:
        _Event.now_ms = now_ms

    _Event.waited = 0
    at(0), clock.start()
    at(30), clock.batch_ready(), at(100), clock.end()
    at(100), clock.batch_ready(), at(150), clock.end()  # the device never idled
    assert _Event.waited == 0
    assert clock.flush() == [(0.03, 0.07), (0.0, 0.05)]
    assert _Event.waited == 1
    at(170), clock.batch_ready(), at(200), clock.end()
    assert clock.flush() == [pytest.approx((0.02, 0.03))]  # it began where the one before ended
    at(900), clock.start()
    at(901), clock.batch_ready(), at(903), clock.end()
    assert clock.flush() == [(0.001, 0.002)]
    assert clock.flush() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("sync", [False, True])
def test_a_gpu_that_idles_is_seen_and_one_that_is_busy_too(sync: bool):
    device = torch.device("cuda:0")
    work = torch.randn(4096, 4096, device=device)
    clock = StepClock.create(device, sync_every_step=sync)
    torch.cuda.synchronize()
    clock.start()
    for _ in range(10):
        time.sleep(0.05)
        clock.batch_ready()
        work = torch.nn.functional.normalize(work @ work)
        clock.end()
    stalls = [data_s for data_s, _ in clock.flush()]
    assert min(stalls) > 0.02
