"""How soon threads give up the GIL, and that a program's own choice is left as it is."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import time

import pytest

from dl2cli.watching.sampling import StackSampler
from dl2cli.watching.switching import QuickSwitches, quick_switches


def test_blocks_that_overlap_restore_the_interval() -> None:
    usual_s = sys.getswitchinterval()
    block = QuickSwitches()
    with block:
        inside_s = sys.getswitchinterval()
        with block:
            assert sys.getswitchinterval() == inside_s < usual_s
        assert sys.getswitchinterval() == inside_s
    assert sys.getswitchinterval() == usual_s


def test_what_the_program_sets_meanwhile_stays() -> None:
    usual_s = sys.getswitchinterval()
    try:
        with QuickSwitches():
            sys.setswitchinterval(0.5)
        assert sys.getswitchinterval() == 0.5
        sys.setswitchinterval(1e-6)  # quicker than ours
        with QuickSwitches():
            assert sys.getswitchinterval() == pytest.approx(1e-6)
    finally:
        sys.setswitchinterval(usual_s)


def exit_with_switches(usual_s: float) -> None:
    forgotten = sys.getswitchinterval() != usual_s
    with quick_switches:
        works = sys.getswitchinterval() < usual_s
    sys.exit(forgotten or not works or sys.getswitchinterval() != usual_s)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_the_usual_interval() -> None:
    usual_s = sys.getswitchinterval()
    with quick_switches:
        child = multiprocessing.get_context("fork").Process(
            target=exit_with_switches, args=(usual_s,)
        )
        child.start()
        child.join()
    assert child.exitcode == 0


def test_a_sampler_that_stops_leaves_the_interval_as_it_was() -> None:
    usual_s = sys.getswitchinterval()
    sampler = StackSampler(lambda: [(threading.get_ident(), threading.get_native_id())], {})
    while not sampler.seen().busy:
        time.sleep(0.01)
    sampler.stop()
    for thread in threading.enumerate():
        if thread.name == "dl2-watch":
            thread.join()
    assert sys.getswitchinterval() == usual_s
