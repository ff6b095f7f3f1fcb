"""What a stack says of a thread."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from functools import partial
from pathlib import Path

from dl2cli.watching import stages
from dl2cli.watching.sampling import StackSampler, WorkerInit, seen_by_workers
from dl2cli.watching.stages import Inside, Place, find_place, merged, stage_of, stages_of_code
from dl2cli_native import _core


def here(known=None):
    stack = [(frame.f_code, line) for frame, line in traceback.walk_stack(sys._getframe())]
    return find_place(stack, known or {})


def my_transform():
    return here()


class Squeeze:
    def __call__(self):
        return here(stages_of_code(Data(self)))


class Data:
    def __init__(self, transform: object) -> None:
        self.transform = transform


def test_the_line_and_the_function_are_found() -> None:
    place = here()
    assert place.function == "here"
    assert place.stage == stages.DECODE
    assert str(place).startswith("test_stages.py:")


def test_transforms_are_known_by_name_and_by_the_dataset() -> None:
    assert my_transform().stage == stages.TRANSFORM
    assert Squeeze()().stage == stages.TRANSFORM


def test_the_code_of_wrapped_transforms_is_found() -> None:
    class Subset:
        dataset = None

    subset = Subset()
    subset.dataset = Data(partial(my_transform))
    assert stages_of_code(subset) == {my_transform.__code__: stages.TRANSFORM}
    assert stages_of_code(None, my_transform) == {my_transform.__code__: stages.COLLATE}
    compose = type("Compose", (), {"__call__": here})()
    compose.transforms = [Squeeze()]
    found = stages_of_code(Data(compose))
    assert set(found) == {here.__code__, Squeeze.__call__.__code__}


def test_a_blocked_line_that_reads_waits_for_storage(tmp_path: Path) -> None:
    file = tmp_path / "data.py"
    file.write_text("x = image.rotate(3)\ny = open(path).read()\n")
    computes, reads = (Place(str(file), line, "f", stages.TRANSFORM) for line in (1, 2))
    assert stage_of(computes, blocked=True) == stages.TRANSFORM
    assert stage_of(reads, blocked=True) == stages.STORAGE
    assert stage_of(reads, blocked=False) == stages.TRANSFORM


def test_what_was_seen_adds_up_and_subtracts() -> None:
    place = Place("a.py", 1, "f", stages.DECODE)
    one, two = Inside({(place, True): 3}, 1), Inside({(place, True): 1, (place, False): 4}, 2)
    both = merged([one, two])
    assert (both.busy, both.idle) == (8, 3)
    assert both.stages() == {stages.STORAGE: 0.5, stages.DECODE: 0.5}
    assert both.since(one) == two
    assert both.busiest(stages.DECODE) == (place, False)


def test_a_thread_that_waits_for_work_is_idle_and_a_sleeping_one_is_blocked() -> None:
    release = threading.Event()
    waits = threading.Thread(target=release.wait)
    sleeps = threading.Thread(target=time.sleep, args=(1.0,))
    waits.start()
    sleeps.start()
    threads = [(each.ident, each.native_id) for each in (waits, sleeps)]
    sampler = StackSampler(lambda: threads, {})
    while sampler.seen().idle < 3:
        time.sleep(0.02)
    sampler.stop()
    release.set()
    waits.join()
    sleeps.join()
    assert all(blocked for _, blocked in sampler.seen().samples)


def test_a_looker_sleeps_until_it_is_stopped() -> None:
    looker = _core.StackLooker()
    own = threading.get_ident(), threading.get_native_id()
    assert looker.wait(0.001)
    ((stack, _, cpu_ns), (gone, blocked, no_ns)) = looker.look(0.001, [own, (1, 2**22 + 1)])
    assert stack[0] == (sys._getframe().f_code, sys._getframe().f_lineno - 1)
    assert cpu_ns > 0
    assert (gone, blocked, no_ns) == ([], False, 0)
    looker.stop()
    assert not looker.wait(60)
    assert looker.look(60, [own]) is None


def test_workers_tell_through_files(tmp_path: Path) -> None:
    place = Place("a.py", 7, "read", stages.DECODE)
    WorkerInit(tmp_path, None)._publish(Inside({(place, True): 5}, 2))
    (tmp_path / "0.json").write_text("{")  # one that is being written, say
    assert seen_by_workers(tmp_path) == Inside({(place, True): 5}, 2)
