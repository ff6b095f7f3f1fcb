"""What the pytorch loader says where its workers cannot send, or are gone."""

import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from dl2cli.errors import StorageError  # noqa: E402
from dl2cli.loaders import LoaderConfig  # noqa: E402
from dl2cli.loaders.pytorch.loader import PytorchLoader, _start_worker  # noqa: E402
from dl2cli.loaders.pytorch.sending import batch_bytes, failed_send, lost_worker  # noqa: E402

LOAD = """
import resource, sys
from pathlib import Path
from dl2cli.errors import Dl2Error
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader
config = LoaderConfig(Path(sys.argv[1]), batch_size=8, workers=2, prefetch=2, tail="pad",
                      transform=TransformConfig(size=224))
def show(prepare):
    try:
        batches = iter(create_loader("pytorch", config))
        first = next(batches)
        prepare()
        print(len(first) + sum(map(len, batches)), "images")
    except Dl2Error as error:
        print(type(error).__name__, error)
"""
FILL = """
def fill():
    with open("/dev/shm/full", "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
show(fill)
"""
FEW_FILES = """
import os
show(lambda: None)
"""


def run(code, folder, prefix=()):
    return subprocess.run(
        [*prefix, sys.executable, "-c", LOAD + code, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def small_shm(size):
    """Run a command with a /dev/shm of its own, as containers have one."""
    prefix = ("unshare", "-m", "sh", "-c")
    mount = f"mount -t tmpfs -o size={size} tmpfs /dev/shm"
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, mount], check=False, capture_output=True).returncode
    ):
        pytest.skip("this user may not mount a /dev/shm of its own")
    return (*prefix, f'{mount} && exec "$@"', "sh")


def test_too_little_shared_memory_is_said_before_the_start(folder):
    done = run("show(lambda: None)", folder, small_shm("2m"))
    assert done.stdout.startswith("StorageError /dev/shm has 2 MB free, and"), done.stderr
    assert "--shm-size" in done.stdout
    assert "5 MB there for 4 batches" not in done.stdout  # but for 3: two on their way, one here


def test_shared_memory_that_is_filled_by_others_is_an_error_and_no_hang(folder):
    done = run(FILL, folder, small_shm("6m"))
    assert done.stdout.startswith("StorageError A worker of the pytorch loader cannot"), done.stderr
    assert "--shm-size" in done.stdout


def test_few_descriptors_are_an_error_and_no_hang(folder):
    done = run(FEW_FILES, folder, ("sh", "-c", 'ulimit -n 24; exec "$@"', "sh"))
    assert "images" in done.stdout or "open files" in done.stdout, done.stdout + done.stderr


def test_a_killed_worker_has_a_sentence(folder, small):
    config = LoaderConfig(folder, batch_size=2, transform=small, workers=1, prefetch=1)
    before = set(multiprocessing.active_children())
    batches = iter(PytorchLoader(config))
    next(batches)
    (worker,) = set(multiprocessing.active_children()) - before
    with pytest.raises(StorageError, match=r"worker of the pytorch .*memory.* fewer workers"):
        os.kill(worker.pid, signal.SIGKILL)  # torch hears of it in a signal handler, anywhere
        list(batches)


def test_what_torch_says_is_understood():
    bus = RuntimeError(
        "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that ..."
    )
    assert "/dev/shm is full" in str(lost_worker(bus))
    assert lost_worker(RuntimeError("CUDA error")) is None
    files = RuntimeError("unable to open shared memory object </x> in read-write mode: (24)")
    assert "too many open files" in str(failed_send(files))
    assert "too many open files" in str(lost_worker(OSError(24, "Too many open files")))


def test_the_bytes_of_a_batch(folder, small):
    config = LoaderConfig(folder, batch_size=2, transform=small)
    assert batch_bytes(config) == 2 * 3 * 40 * 40
    normalized = replace(config, output=replace(config.output, normalized=True))
    assert batch_bytes(normalized) == 4 * batch_bytes(config)


def _report_limit(queue):
    _start_worker(1234, multiprocessing.Semaphore(0), 0)
    gc.collect()
    queue.put(Image.MAX_IMAGE_PIXELS)


def test_the_limit_of_pixels_holds_for_the_life_of_a_worker():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=_report_limit, args=(queue,))
    worker.start()
    assert queue.get(timeout=60) == 1234
    worker.join(60)
