"""DALI's threads: none is left behind, and a forked child does not wait for those of its parent."""

import gc
import os
import shutil
import signal
import threading
import weakref
from dataclasses import replace
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")
if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
    pytest.skip("NVIDIA DALI is not installed", allow_module_level=True)

from loader_threads import native_threads, only_threads_left  # noqa: E402

from dl2cli.errors import DataError  # noqa: E402
from dl2cli.loaders import create_loader, files  # noqa: E402


@pytest.fixture(params=["dali-cpu", "pcr-dali"])
def make(request, folder, dataset, config):
    """Makes loaders of data that somebody else may have put in the place of the usual."""

    def make(data=None, **changes):
        usual = dataset if request.param.startswith("pcr") else folder
        return create_loader(request.param, replace(config, data=data or usual, **changes))

    return make


def test_no_thread_is_left_when_the_iterator_goes(make):
    loader = make()
    list(loader)  # DALI keeps a thread of its own from here on
    before = native_threads()
    for _ in range(2):
        iterator = iter(loader)
        next(iterator)
        assert native_threads() > before
        del iterator
        assert only_threads_left(before)
    loader.set_epoch(1)
    assert len(list(loader)) == len(loader)
    assert only_threads_left(before)


def test_no_thread_is_left_by_a_failure_that_is_kept(make, tmp_path):
    loader = make()
    list(loader)
    before = native_threads()
    copy = shutil.copytree(loader.config.data, tmp_path / "copy")
    victims = sorted([*copy.glob("PCR_[0-9]*.db"), *copy.glob("*/*.jpg")])
    for number, keep in enumerate((20, victims[1].stat().st_size // 2)):
        victims[number].write_bytes(victims[number].read_bytes()[:keep])
        with pytest.raises(DataError, match=victims[number].name) as failure:
            list(make(copy, shuffle=False))
        assert only_threads_left(before), failure.value
        shutil.copy(loader.config.data / victims[number].relative_to(copy), victims[number])


def test_a_forked_child_does_not_end_the_pipelines_of_its_parent(make):
    class Holder:
        """Garbage in a cycle, which only the collector finds."""

    iterator = iter(make())
    next(iterator)
    holder = Holder()
    holder.me, holder.iterator = holder, iterator
    gone = weakref.ref(holder)
    gc.disable()
    try:
        del holder, iterator
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # a wait for threads that are not there would have no end
            gc.collect()
            os._exit(0 if gone() is not None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        gc.enable()
    gc.collect()
    assert gone() is None


def test_files_are_opened_by_threads_ahead_of_the_caller(folder, config, monkeypatch):
    threads = set()
    read_size = files._read_size

    def note(path):
        threads.add(threading.current_thread())
        return read_size(path)

    monkeypatch.setattr(files, "_read_size", note)
    loader = create_loader("dali-cpu", replace(config, data=folder, tail="pad"))
    assert sum(map(len, loader)) == loader.image_count
    assert threads
    assert threading.main_thread() not in threads
