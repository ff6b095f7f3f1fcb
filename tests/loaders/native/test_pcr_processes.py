"""The pcr loader's threads and memory: forks, spawns, Ctrl-C, iterators that are dropped."""

import os
import pickle
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from multiprocessing import get_context

import pytest

torch = pytest.importorskip("torch")

from loader_batches import load, same  # noqa: E402
from loader_threads import native_threads, only_threads_left  # noqa: E402

from dl2cli.errors import UsageError  # noqa: E402
from dl2cli.loaders.native.pcr import PcrLoader  # noqa: E402


def test_no_thread_is_left_when_the_iterator_goes(config):
    loader = PcrLoader(replace(config, workers=5))
    before = native_threads()
    iterator = iter(loader)
    next(iterator)
    assert native_threads() > before
    del iterator
    assert only_threads_left(before)
    for batch in loader:
        assert len(batch)
        break
    assert only_threads_left(before)


def test_loaders_can_be_pickled_with_their_place(config):
    loader = PcrLoader(config)
    iterator = iter(loader)
    next(iterator)
    copy = pickle.loads(pickle.dumps(loader))
    assert same(list(copy), list(iterator))


def _child_loads(config, queue):
    batches = load(config)
    queue.put((len(batches), int(sum(batch.images.sum() for batch in batches))))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_load_the_same(config, method):
    batches = load(config)
    context = get_context(method)
    queue = context.Queue()
    child = context.Process(target=_child_loads, args=(config, queue))
    child.start()
    assert queue.get(timeout=60) == (
        len(batches),
        int(sum(batch.images.sum() for batch in batches)),
    )
    child.join(60)
    assert child.exitcode == 0


def test_a_fork_in_the_middle_of_an_epoch_hurts_nobody(config):
    loader = PcrLoader(config)
    iterator = iter(loader)
    first = next(iterator)
    child = os.fork()
    if child == 0:  # the child ends with objects whose threads it does not have
        code = 1
        try:
            next(iterator)
        except UsageError:
            fresh = next(iter(PcrLoader(config)))
            code = 0 if torch.equal(fresh.images, first.images) else 2
        finally:
            del iterator
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(iterator)) == len(loader) - 1


def test_ctrl_c_ends_it(dataset):
    program = f"""
import sys
from pathlib import Path
from dl2cli.loaders import LoaderConfig, create_loader
loader = create_loader("pcr", LoaderConfig(Path({str(dataset)!r}), batch_size=4, workers=3))
while True:
    for batch in loader:
        print("batch", flush=True)
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=-1, stderr=-1, text=True)
    assert child.stdout.readline() == "batch\n"
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == -signal.SIGINT, errors
    assert "KeyboardInterrupt" in errors


def test_two_iterators_at_once(config):
    loader = PcrLoader(config)
    results = {}
    threads = [
        threading.Thread(target=lambda i=i: results.update({i: list(loader._batches(0, 0))}))
        for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert same(results[0], results[1])


@pytest.mark.slow
def test_memory_stays_within_the_formula(tmp_path):
    """A dataset much larger than what its loader may hold, in a process of its own."""
    program = f"""
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
root = Path({str(tmp_path)!r})
(root / "p" / "c").mkdir(parents=True)
noise = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
for i in range(160):
    Image.fromarray(np.roll(noise, i)).save(root / "p" / "c" / f"{{i}}.jpg", quality=97)
convert(ConvertConfig(root / "p", root / "out", images_per_record=10, workers=1))
config = LoaderConfig(root / "out", batch_size=8, shuffle_window=1, prefetch=2,
                      transform=TransformConfig(size=64))
def rss():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
def reset():
    open("/proc/self/clear_refs", "w").write("5")
def peak():
    line = next(l for l in open("/proc/self/status") if l.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
loader = create_loader("pcr", config)
import torch
torch.empty(10)
reset()
before = rss()
for batch in loader: pass
records = loader.dataset.records
largest = max(-(-sum(r.lengths) // (2 << 20)) * (2 << 20) for r in records)
bound = 2 * largest + 3 * 8 * 3 * 64 * 64 + 2 * (9 * 250000 + 4 * 500 * 64)
total = sum(sum(r.lengths) for r in records)
print(peak() - before, bound, total)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    used, bound, total = map(int, done.stdout.split())
    slack = 8 << 20  # stacks of threads, the allocator's own
    assert used <= bound + slack, f"{used / 1e6:.1f} MB, the formula says {bound / 1e6:.1f} MB"
    assert total > 2 * (bound + slack)
