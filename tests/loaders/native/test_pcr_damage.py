"""Damaged, missing and foreign records, and what each policy makes of them."""

import os
import shutil
import sqlite3
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from loader_batches import load  # noqa: E402
from loader_photos import IMAGES  # noqa: E402

from dl2cli import pcr  # noqa: E402
from dl2cli.errors import DataError  # noqa: E402
from dl2cli.loaders import create_loader  # noqa: E402
from dl2cli.loaders.native.pcr import PcrLoader  # noqa: E402
from dl2cli.pcr import index  # noqa: E402
from dl2cli.pcr.scan_script import DEFAULT  # noqa: E402
from dl2cli_native import _core  # noqa: E402

needs_dali = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None,
    reason="NVIDIA DALI is not installed",
)


def relabel(copy, folder, *, slot, label):
    """Write record 1 anew, with checksums that are right and a label of one image that is not."""
    info = pcr.open(copy).records[1]
    labels = [0] * info.images
    labels[slot] = label
    paths = sorted(folder.glob("*/*.jpg"))[: info.images]
    converter = _core.Converter(
        script=DEFAULT.native,
        keep="none",
        keep_damaged=False,
        limits=_core.Limits(),
        threads=1,
    )
    job = converter.submit([os.fsencode(path) for path in paths], labels)
    assert job.wait(60_000)
    entry = job.write(os.fsencode(copy / info.file), DEFAULT.groups)
    with sqlite3.connect(copy / "PCR.db") as connection:
        connection.execute(
            "UPDATE records SET lengths = ?, crc32c = ? WHERE id = ?",
            (index.pack_lengths(entry.lengths), entry.metadata_crc32c, info.id),
        )
    connection.close()
    return info.file


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


@pytest.mark.parametrize("name", ["pcr", pytest.param("pcr-dali", marks=needs_dali)])
@pytest.mark.parametrize("label", [-100, 3, 2**31 - 1])
def test_a_label_without_a_class_is_damage(name, label, config, dataset, folder, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "copy")
    file = relabel(copy, folder, slot=4, label=label)
    with pytest.raises(DataError, match=f"{file}, image 4: its label is {label}, and there are 3"):
        list(create_loader(name, replace(config, data=copy)))
    if name == "pcr":
        loader = create_loader(name, replace(config, data=copy, on_damage="skip", tail="pad"))
        assert sum(map(len, loader)) == IMAGES - 1
