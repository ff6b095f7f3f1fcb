"""What the pcr loader gives: coverage, bytes, resuming, fidelity, formats."""

import shutil
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from loader_batches import load, same  # noqa: E402
from loader_photos import IMAGES  # noqa: E402

from dl2cli import pcr  # noqa: E402
from dl2cli.errors import UsageError  # noqa: E402
from dl2cli.loaders import LoaderConfig  # noqa: E402
from dl2cli.loaders.native.pcr import PcrLoader  # noqa: E402


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


def test_bad_options_are_refused(config):
    for change in (
        {"transform": replace(config.transform, scale=(0.5, 0.1))},
        {"transform": replace(config.transform, size=0)},
        {"transform": replace(config.transform, resize_short=10)},
        {"scans": 0},
    ):
        with pytest.raises(UsageError):
            PcrLoader(replace(config, **change))
    for change in ({"workers": 0}, {"batch_size": 0}, {"lanes": 0}, {"on_damage": "ignore"}):
        with pytest.raises(UsageError):
            replace(config, **change)


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
