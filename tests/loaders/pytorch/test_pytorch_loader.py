import gc
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from loader_children import fill  # noqa: E402
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter  # noqa: E402

from dl2cli.errors import DataError, UsageError  # noqa: E402
from dl2cli.loaders import LoaderConfig  # noqa: E402
from dl2cli.loaders.pytorch.auto_augment import POLICY, auto_augment  # noqa: E402
from dl2cli.loaders.pytorch.loader import PytorchLoader  # noqa: E402
from dl2cli.loaders.pytorch.shared_cache import SharedCache  # noqa: E402
from dl2cli.loaders.pytorch.worker import augment_uniforms  # noqa: E402


@pytest.fixture
def config(folder, small):
    return LoaderConfig(folder, batch_size=4, transform=small, tail="pad")


def pixels(loader):
    return torch.cat([batch.images for batch in loader])


def test_a_cache_that_holds_all_reads_storage_once(config):
    loader = PytorchLoader(replace(config, dataset_class="MinIOFolder", cache_bytes=1 << 20))
    plain = PytorchLoader(config)
    assert torch.equal(pixels(loader), pixels(plain))
    first = loader.stats()
    assert first.bytes_read == plain.stats().bytes_read == loader.cache.used_bytes
    assert first.cache_hits == 0
    assert torch.equal(pixels(loader), pixels(plain))
    assert loader.stats().bytes_read == first.bytes_read
    assert loader.stats().cache_hits == loader.image_count


def test_a_small_cache_keeps_what_it_has(config):
    whole = sum(path.stat().st_size for path in config.data.glob("*/*.jpg"))
    capacity = whole // 3
    loader = PytorchLoader(
        replace(config, dataset_class="MinIOFolder", cache_bytes=capacity, workers=2)
    )
    reads = []
    for epoch in range(3):
        loader.set_epoch(epoch)
        before = loader.stats().bytes_read
        list(loader)
        reads.append(loader.stats().bytes_read - before)
    assert reads[0] == whole
    # Never evicted: the later epochs read exactly what did not fit.
    assert reads[1] == reads[2] == whole - loader.cache.used_bytes
    assert 0 < loader.cache.used_bytes <= capacity


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_a_cache(method):
    context = multiprocessing.get_context(method)
    cache = SharedCache(50, 1 << 20, context)
    children = [context.Process(target=fill, args=(cache, range(50))) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert cache.used_bytes == sum(100 + number for number in range(50))
    for number in range(50):
        content, cached = cache.get(number, lambda: b"")
        assert cached
        assert content == bytes([number]) * (100 + number)


def test_impossible_caches_are_refused(config):
    for size in (0, -1, 1 << 60):
        with pytest.raises(UsageError, match="cache"):
            PytorchLoader(replace(config, dataset_class="MinIOFolder", cache_bytes=size))
    with pytest.raises(UsageError, match="MinIOFolder"):
        PytorchLoader(replace(config, dataset_class="LRUFolder"))


def test_spawned_workers_load_the_same(config):
    spawned = PytorchLoader(replace(config, multiprocessing_context="spawn", workers=1))
    assert torch.equal(pixels(spawned), pixels(PytorchLoader(config)))


@pytest.fixture
def others():
    """Processes that earlier tests have left, in cycles that nobody has collected yet."""
    gc.collect()
    return set(multiprocessing.active_children())


def test_damaged_files_fail_or_are_skipped(config, tmp_path, others):
    copy = shutil.copytree(config.data, tmp_path / "copy")
    victims = sorted(copy.glob("*/*.jpg"))[:3]
    victims[0].write_bytes(victims[0].read_bytes()[:200])
    victims[1].write_bytes(b"")
    victims[2].write_text("no photo")
    config = replace(config, data=copy)
    with pytest.raises(DataError, match=r"cannot be decoded|bytes"):
        list(PytorchLoader(config))
    assert not set(multiprocessing.active_children()) - others
    loader = PytorchLoader(replace(config, on_damage="skip"))
    batches = list(loader)
    stats = loader.stats()
    assert stats.skipped == 3
    assert stats.images == sum(map(len, batches)) == loader.image_count - 3
    for victim in victims:
        assert any(str(victim) in message for message in stats.messages)


def test_workers_end_although_somebody_refers_to_their_iterator(config, others):
    """As the traceback of an error does that was pickled with its frames."""
    batches = iter(PytorchLoader(config))
    next(batches)
    kept = [each for each in gc.get_objects() if type(each) is _MultiProcessingDataLoaderIter]
    assert set(multiprocessing.active_children()) - others
    batches.close()
    assert not set(multiprocessing.active_children()) - others
    del kept


def test_no_worker_is_left(config, others):
    iterator = iter(PytorchLoader(config))
    next(iterator)
    workers = set(multiprocessing.active_children()) - others
    assert len(workers) == 2
    del iterator
    for worker in workers:
        worker.join(20)
        assert not worker.is_alive()


def test_persistent_workers_live_on_and_change_nothing(config, others):
    loader = PytorchLoader(replace(config, persistent_workers=True))
    plain = PytorchLoader(config)
    list(loader)
    workers = set(multiprocessing.active_children()) - others
    assert len(workers) == 2
    for epoch in (1, 2, 3):
        loader.set_epoch(epoch)
        plain.set_epoch(epoch)
        iterator = iter(loader)
        next(iterator)
        if epoch == 1:  # left in the middle, and taken up by other workers at the same time
            assert torch.equal(pixels(loader._batches(1, 0)), pixels(plain))
        iterator.close()
        loader.set_epoch(epoch)
        assert torch.equal(pixels(loader), pixels(plain))
    assert {worker.pid for worker in workers} <= {
        worker.pid for worker in multiprocessing.active_children()
    }
    children = set(multiprocessing.active_children()) - others
    del loader, iterator
    for child in children:
        child.join(20)
        assert not child.is_alive()


def test_persistent_workers_outlive_a_damaged_file(config, tmp_path):
    copy = shutil.copytree(config.data, tmp_path / "copy")
    victim = sorted(copy.glob("*/*.jpg"))[0]
    content = victim.read_bytes()
    victim.write_bytes(b"no photo")
    loader = PytorchLoader(replace(config, data=copy, persistent_workers=True, shuffle=False))
    with pytest.raises(DataError, match=victim.name):
        list(loader)
    workers = {worker.pid for worker in multiprocessing.active_children()}
    victim.write_bytes(content)
    loader.set_epoch(0)
    assert len(list(loader)) == len(loader)
    assert {worker.pid for worker in multiprocessing.active_children()} == workers


def test_ctrl_c_ends_it_without_a_word_of_the_workers(folder):
    program = f"""
from pathlib import Path
from dl2cli.loaders import LoaderConfig, create_loader
loader = create_loader("pytorch", LoaderConfig(Path({str(folder)!r}), batch_size=4))
try:
    while True:
        for batch in loader:
            print("batch", flush=True)
except KeyboardInterrupt:
    pass
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdout=-1, stderr=-1, text=True, start_new_session=True
    )
    assert child.stdout.readline() == "batch\n"
    workers = psutil.Process(child.pid).children()
    os.killpg(child.pid, signal.SIGINT)  # to the whole group, as a terminal does it
    _, errors = child.communicate(timeout=30)
    assert (child.returncode, errors) == (0, "")
    assert not psutil.wait_procs(workers, timeout=20)[1]


def test_auto_augment_changes_images_by_the_same_seed_in_the_same_way(config):
    plain = pixels(PytorchLoader(config))
    changed = pixels(PytorchLoader(replace(config, auto_augment=True)))
    assert not torch.equal(plain, changed)
    assert torch.equal(
        changed, pixels(PytorchLoader(replace(config, auto_augment=True, workers=1)))
    )


def test_the_published_policy_has_25_sub_policies_and_each_runs():
    assert len(POLICY) == 25
    gradient = np.indices((32, 32)).sum(axis=0).astype(np.uint8) * 4
    image = Image.fromarray(np.stack([gradient, gradient[::-1], gradient.T[:, ::-1]], axis=2))
    for number in range(25):
        for sign in (0.0, 0.9):
            uniforms = np.array([(number + 0.5) / 25, 0.0, sign, 0.0, sign])
            result = auto_augment(image, uniforms)
            assert (result.mode, result.size) == ("RGB", (32, 32))
            assert result.tobytes() != image.tobytes()
    never = auto_augment(image, np.array([0.5 / 25, 0.999, 0, 0.999, 0]))
    assert never.tobytes() == image.tobytes()


def test_the_random_numbers_of_auto_augment_are_even_and_keyed():
    numbers = np.array([augment_uniforms(0, 0, sample) for sample in range(2000)])
    assert abs(numbers.mean(axis=0) - 0.5).max() < 0.03
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert len(np.unique(numbers)) == numbers.size
    assert not np.array_equal(numbers[0], augment_uniforms(0, 1, 0))
    assert not np.array_equal(numbers[0], augment_uniforms(1, 0, 0))
