import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from loader_photos import IMAGES, pillow_image  # noqa: E402

from dl2cli import pcr  # noqa: E402
from dl2cli.errors import DataError, UsageError  # noqa: E402
from dl2cli.loaders import LoaderConfig, OutputConfig, create_loader, transform  # noqa: E402
from dl2cli.loaders.pcr import PcrLoader  # noqa: E402


def load(config, epoch=0):
    loader = PcrLoader(config)
    loader.set_epoch(epoch)
    return list(loader)


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and np.array_equal(a.ids, b.ids)
        and a.padding == b.padding
        for a, b in zip(left, right, strict=True)
    )


def weights(size, begin, end, out):
    """The antialiased triangle filter in units of 2^-22: (out, size)."""
    begin, end = np.float32(begin), np.float32(end)
    scale = float(end - begin) / out
    support = max(scale, 1.0)
    rows = np.zeros((out, size), dtype=np.int64)
    for i in range(out):
        center = float(begin) + (i + 0.5) * scale
        low = int(max(center - support + 0.5, 0))
        high = int(min(center + support + 0.5, size))
        distance = np.abs((np.arange(low, high) - center + 0.5) * (1 / support))
        share = np.maximum(1 - distance, 0)
        rows[i, low:high] = (share / share.sum() * (1 << 22) + 0.5).astype(np.int64)
    return rows


def resize_exactly(pixels, part, size):
    """The resize that dl2 documents, in numpy: horizontally first, rounded to bytes in between."""
    left, top, right, bottom = part
    for axis, begin, end in ((1, left, right), (0, top, bottom)):
        rows = weights(pixels.shape[axis], begin, end, size)
        sums = np.moveaxis(np.tensordot(rows, pixels.astype(np.int64), (1, axis)), 0, axis)
        pixels = np.clip((sums + (1 << 21)) >> 22, 0, 255)
    return pixels


def expected_images(dataset, config, epoch, record, slot, scans):
    """A sample by independent ways: Pillow's decode, then numpy's and Pillow's resize."""
    counts = [info.images for info in dataset.records]
    image = pillow_image(dataset, record, slot, scans)
    placements = transform.place(
        config.transform,
        seed=config.seed,
        epoch=epoch,
        samples=[sum(counts[:record]) + slot],
        widths=[image.width],
        heights=[image.height],
    )
    x, y, width, height = placements.boxes[0]
    box = np.asarray(image)[y : y + height, x : x + width]
    exact = resize_exactly(box, placements.parts[0], config.transform.size)
    if placements.flips[0]:
        exact = exact[:, ::-1]
    return exact, np.asarray(transform.cut_out(image, config.transform, placements)).astype(int)


@pytest.mark.parametrize("train", [True, False])
def test_batches_are_the_crops_resized_as_documented(config, dataset, train):
    opened = pcr.open(dataset)
    config = replace(config, tail="pad", transform=replace(config.transform, train=train))
    seen = 0
    for batch in load(config, epoch=3):
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (len(batch), 3, 40, 40)
        for image, label, (record, slot) in zip(batch.images, batch.labels, batch.ids, strict=True):
            exact, pillow = expected_images(opened, config, 3, int(record), int(slot), 10)
            got = image.permute(1, 2, 0).numpy().astype(int)
            assert np.array_equal(got, exact), (record, slot)  # CMYK and gray among them
            assert np.abs(got - pillow).max() <= 1  # the stated tolerance
            assert label == opened.read(int(record), 1).labels[slot]
            seen += 1
    assert seen == IMAGES


def test_every_image_comes_once_and_bytes_are_counted_once(config, dataset):
    opened = pcr.open(dataset)
    for scans in (1, 4, 10):
        loader = PcrLoader(replace(config, tail="pad", scans=scans))
        batches = list(loader)
        ids = [tuple(pair) for batch in batches for pair in batch.ids]
        assert len(ids) == len(set(ids)) == IMAGES
        assert sum(batch.bytes_read for batch in batches) == opened.prefix_bytes(scans)
        stats = loader.stats()
        assert stats.bytes_read == opened.prefix_bytes(scans)
        assert (stats.images, stats.batches) == (IMAGES, len(loader))
        assert stats.records_read == len(opened.records)
        assert stats.decode_s > 0
        assert stats.fetch_s > 0


def test_threads_prefetch_and_fetchers_change_nothing(config):
    one = load(replace(config, workers=1, prefetch=1))
    for workers, prefetch, fetchers in [(2, 3, 1), (7, 1, 3), (3, 50, 2)]:
        changed = replace(config, workers=workers, prefetch=prefetch, fetch_threads=fetchers)
        assert same(one, load(changed))


def test_ranks_share_an_epoch(config):
    batches = [load(replace(config, rank=rank, world_size=3, tail="pad")) for rank in range(3)]
    assert len({len(each) for each in batches}) == 1
    ids = [tuple(pair) for rank in batches for batch in rank for pair in batch.ids]
    assert len(set(ids)) == IMAGES


def test_resuming_anywhere_goes_on_exactly(config):
    config = replace(config, tail="pad")
    whole = load(config, epoch=2)
    for cut in range(len(whole)):
        loader = PcrLoader(config)
        loader.set_epoch(2)
        iterator = iter(loader)
        for _ in range(cut):
            next(iterator)
        state = loader.state_dict()
        iterator.close()
        other = PcrLoader(replace(config, workers=1))
        other.load_state_dict(state)
        assert same(list(other), whole[cut:])
        assert len(list(other)) == len(other) == len(whole)  # and then the epoch begins anew


def test_a_state_of_another_loader_is_refused(config):
    state = PcrLoader(config).state_dict()
    changes = {
        "seed 5": {"seed": 5},
        "global_batch 3": {"batch_size": 3},
        "global_batch 8": {"world_size": 2, "lanes": 1},
        "lanes 2": {"lanes": 2},
        "shuffle_window 1": {"shuffle_window": 1},
    }
    for words, change in changes.items():
        with pytest.raises(UsageError, match=f"has {words}, the saved state has"):
            PcrLoader(replace(config, **change)).load_state_dict(state)


def test_fidelity_changes_between_epochs_and_between_batches(config):
    low, high = load(replace(config, scans=2)), load(replace(config, scans=10))
    assert not same(low, high)
    loader = PcrLoader(replace(config, scans=2))
    mixed = []
    for batch in loader:
        mixed.append(batch)
        loader.set_scans(10 if len(mixed) in (2, 3, 4) else 2)
    assert same(mixed[:2] + mixed[5:], low[:2] + low[5:])
    assert same(mixed[2:5], high[2:5])
    with pytest.raises(UsageError, match="fidelities 1 to 10"):
        loader.set_scans(11)


def test_output_forms(config):
    plain = load(config)[0].images
    last = load(replace(config, output=OutputConfig(channels_last=True)))[0].images
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(plain, last)
    for channels_last in (False, True):
        output = OutputConfig(normalized=True, channels_last=channels_last)
        images = load(replace(config, output=output))[0].images
        mean = torch.tensor(output.mean).view(1, 3, 1, 1)
        std = torch.tensor(output.std).view(1, 3, 1, 1)
        assert images.dtype == torch.float32
        assert torch.allclose(images, (plain / 255 - mean) / std, atol=1e-6)


def test_smoothing_is_an_option_that_shows_below_full_fidelity(config, dataset):
    off, on = (load(replace(config, scans=2, smoothing=value)) for value in (False, True))
    assert not same(off, on)
    full = (load(replace(config, scans=10, smoothing=value)) for value in (False, True))
    assert same(*full)


def test_bad_options_are_refused(config):
    for change in (
        {"transform": replace(config.transform, scale=(0.5, 0.1))},
        {"transform": replace(config.transform, size=0)},
        {"transform": replace(config.transform, resize_short=10)},
        {"scans": 0},
    ):
        with pytest.raises(UsageError):
            PcrLoader(replace(config, **change))
    for change in ({"workers": 0}, {"batch_size": 0}, {"on_damage": "ignore"}):
        with pytest.raises(UsageError):
            replace(config, **change)


class TestDamage:
    @pytest.fixture
    def copy(self, dataset, tmp_path):
        return shutil.copytree(dataset, tmp_path / "copy")

    def flip(self, copy, record, group):
        info = pcr.open(copy).records[record]
        content = bytearray((copy / info.file).read_bytes())
        content[sum(info.lengths[: group + 1]) - 20] ^= 4
        (copy / info.file).write_bytes(content)
        return info.file

    def test_fail_names_dataset_record_and_group(self, config, copy):
        name = self.flip(copy, 1, 5)
        with pytest.raises(DataError, match=f"{copy}, record {name}: scan group 5: wrong check"):
            load(replace(config, data=copy))
        load(replace(config, data=copy, scans=4))  # does not read that far

    def test_degrade_uses_the_groups_before(self, config, copy, dataset):
        name = self.flip(copy, 1, 5)
        damaged = replace(config, data=copy, on_damage="degrade", tail="pad")
        loader = PcrLoader(damaged)
        batches = list(loader)
        stats = loader.stats()
        assert (stats.degraded, stats.skipped, stats.images) == (7, 0, IMAGES)
        assert stats.messages == (f"{copy}, record {name}: scan group 5: wrong checksum.",)
        low = load(replace(config, scans=4, tail="pad"))
        high = load(replace(config, tail="pad"))
        for batch, a, b in zip(batches, low, high, strict=True):
            for i, (record, _) in enumerate(batch.ids):
                wanted = a if record == 1 else b
                assert torch.equal(batch.images[i], wanted.images[i])

    def test_skip_leaves_the_images_out(self, config, copy):
        self.flip(copy, 1, 5)
        loader = PcrLoader(replace(config, data=copy, on_damage="skip", tail="pad"))
        batches = list(loader)
        whole = load(replace(config, tail="pad"))
        assert len(batches) == len(whole) == len(loader)
        for batch, full in zip(batches, whole, strict=True):
            kept = full.ids[:, 0] != 1
            assert np.array_equal(batch.ids, full.ids[kept])
            assert torch.equal(batch.images, full.images[torch.from_numpy(kept)])
            assert torch.equal(batch.labels, full.labels[torch.from_numpy(kept)])
        assert loader.stats().skipped == 7

    def test_a_record_that_is_cut_missing_or_of_another_dataset(self, config, copy, tmp_path):
        records = pcr.open(copy).records
        path = copy / records[2].file
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError, match=rf"record {path.name}: the file has \d+ bytes, too"):
            load(replace(config, data=copy))
        loader = PcrLoader(replace(config, data=copy, on_damage="degrade"))
        list(loader)
        assert loader.stats().degraded == 7
        path.unlink()
        with pytest.raises(DataError, match=f"record {path.name}: No such file"):
            load(replace(config, data=copy))
        loader = PcrLoader(replace(config, data=copy, on_damage="degrade", tail="pad"))
        list(loader)
        assert loader.stats().skipped == 7
        path.write_bytes((copy / records[0].file).read_bytes().ljust(len(content), b"\0"))
        with pytest.raises(DataError, match=f"record {path.name}: metadata: wrong checksum"):
            load(replace(config, data=copy))

    def test_a_record_that_is_replaced_while_training(self, config, copy):
        loader = PcrLoader(replace(config, data=copy))
        list(loader)
        self.flip(copy, 3, 1)
        loader.set_epoch(1)
        with pytest.raises(DataError, match="record PCR_3"):
            list(loader)


def native_threads():
    return len(list(Path("/proc/self/task").iterdir()))


def test_no_thread_is_left_when_the_iterator_goes(config):
    loader = PcrLoader(replace(config, workers=5))
    before = native_threads()
    iterator = iter(loader)
    next(iterator)
    assert native_threads() > before
    del iterator
    assert native_threads() == before
    for batch in loader:
        assert len(batch)
        break
    assert native_threads() == before


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
bound = 2 * largest + 3 * 8 * 3 * 64 * 64 + 2 * (6 * 250000 + 4 * 500 * 64)
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


def test_the_published_format(folder, small, dataset, tmp_path):
    """Without sizes and checksums: as the published converter leaves its records."""
    copy = shutil.copytree(dataset, tmp_path / "copy")
    import sqlite3

    with sqlite3.connect(copy / "PCR.db") as index:
        for table in ("dataset", "classes", "records"):
            index.execute(f"DROP TABLE {table}")
    config = LoaderConfig(copy, batch_size=4, transform=small)
    published, own = load(config), load(replace(config, data=dataset))
    # Its record order is that of its table, which is ours too.
    assert same(published, own)


def test_real_photos(test_data, tmp_path):
    from dl2cli.pcr.config import ConvertConfig
    from dl2cli.pcr.convert import convert

    found = sorted(Path(test_data).glob("clothing/**/*.jpg"))[:24]
    for i, path in enumerate(found):
        target = tmp_path / "photos" / f"c{i % 2}" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    convert(ConvertConfig(tmp_path / "photos", tmp_path / "out", images_per_record=8))
    config = LoaderConfig(tmp_path / "out", batch_size=8)
    opened = pcr.open(tmp_path / "out")
    loader = create_loader("pcr", config)
    for batch in loader:
        for image, (record, slot) in zip(batch.images, batch.ids, strict=True):
            exact, pillow = expected_images(
                opened, config, 0, int(record), int(slot), opened.groups
            )
            assert np.array_equal(image.permute(1, 2, 0).numpy(), exact)
            assert np.abs(exact - pillow).max() <= 1
