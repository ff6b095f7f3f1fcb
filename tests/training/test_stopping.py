"""Signals and the time budget."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from dl2cli.training.stopping import SAVE, StopRequest


def test_there_is_no_reason_to_stop_at_first():
    with StopRequest() as request:
        assert request.reason is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_a_reason(number: signal.Signals):
    with StopRequest() as request:
        os.kill(os.getpid(), number)
        assert request.reason == number.name


def test_a_second_interrupt_is_impatience():
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert request.reason == "SIGINT"


def test_torchrun_may_add_a_termination_to_an_interrupt():
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.reason == "SIGINT"


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_the_warning_of_a_cluster_saves_once_or_stops():
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.reason is None
        assert [request.take() for _ in range(2)] == [SAVE, None]
    with StopRequest(on_usr1="stop") as request:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.take() == request.reason == "SIGUSR1"


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert request.take() is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_time_budget_that_is_spent_is_a_reason():
    assert StopRequest(time_budget_s=0).reason == "time budget"
    assert StopRequest(time_budget_s=3600).reason is None


def test_another_thread_leaves_signals_alone():
    seen: list[str | None] = []

    def work() -> None:
        with StopRequest() as request:
            seen.append(request.reason)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None]
