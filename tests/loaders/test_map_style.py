"""PCR in a DataLoader of the user's: pixels, labels, workers, the sampler, changes of k."""

import pickle
import shutil
from collections import Counter

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from loader_photos import IMAGES, pillow_image  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from dl2cli import pcr  # noqa: E402
from dl2cli.errors import DataError, UsageError  # noqa: E402
from dl2cli.loaders import PcrDataset, RecordBatchSampler  # noqa: E402
from dl2cli_native import _core  # noqa: E402


def smallest(image):
    """A transform: a corner that every photo has, so that batches can be stacked."""
    return image[:, :32, :32]


class Numbered(torch.utils.data.Dataset):
    """The number of each item, the worker that made it, and the records that it has read."""

    def __init__(self, dataset):
        self.dataset = dataset
        self.reads = []
        self.read = dataset.dataset.read

    def __getitem__(self, index):
        before = set(self.dataset._records)
        self.dataset[index]
        new = [number for number, _ in set(self.dataset._records) - before]
        worker = torch.utils.data.get_worker_info().id
        return index, worker, new[0] if new else -1


@pytest.mark.parametrize("scans", [2, None])
def test_images_are_those_of_pillow_with_their_labels(dataset, scans):
    opened = pcr.open(dataset)
    items = PcrDataset(dataset, scans=scans)
    shown = PcrDataset(dataset, scans=scans, output="pil")
    assert len(items) == IMAGES
    assert items.classes == opened.classes
    index = 0
    for number, info in enumerate(opened.records):
        labels = opened.read_labels(number)
        for slot in range(info.images):
            wanted = np.asarray(pillow_image(opened, number, slot, scans or 10)).astype(int)
            image, label = items[index]
            assert image.dtype == torch.uint8
            jpeg = opened.read(number, scans).image(slot)
            box = (0, 0, wanted.shape[1], wanted.shape[0])
            # At less than full fidelity Pillow leaves block smoothing on, which is off here.
            smooth = np.asarray(_core.decode_region([jpeg], box, smoothing=True)).astype(int)
            assert np.abs(smooth - wanted).mean() < (0.1 if scans is None else 1)
            plain = np.asarray(_core.decode_region([jpeg], box))
            assert np.array_equal(image.permute(1, 2, 0).numpy(), plain)
            assert label == labels[slot]
            assert isinstance(shown[index][0], Image.Image)
            assert np.array_equal(np.asarray(shown[index][0]), image.permute(1, 2, 0).numpy())
            index += 1
    for wrong in (-1, IMAGES):
        with pytest.raises(IndexError, match=f"there are 0 to {IMAGES - 1}"):
            items[wrong]


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_workers_load_what_this_process_loads(dataset, method):
    items = PcrDataset(dataset, transform=smallest)
    batches = RecordBatchSampler(items, batch_size=4, workers=2, tail="pad")
    loader = DataLoader(items, batch_sampler=batches, num_workers=2, multiprocessing_context=method)
    for (images, labels), numbers in zip(loader, batches, strict=True):
        for image, label, number in zip(images, labels, numbers, strict=True):
            assert torch.equal(image, items[number][0])
            assert label == items[number][1]


def test_the_sampler_gives_every_image_once_and_each_record_to_one_worker(dataset):
    items = PcrDataset(dataset)
    records = len(items.dataset.records)
    for workers in (1, 2):
        batches = RecordBatchSampler(items, batch_size=4, workers=workers, tail="pad", seed=3)
        epochs = []
        for epoch in (0, 1, 0):
            batches.set_epoch(epoch)
            numbers = [number for batch in batches for number in batch]
            assert len(list(batches)) == len(batches)
            assert set(numbers) == set(range(IMAGES))
            assert len(numbers) <= IMAGES + workers
            epochs.append(numbers)
        assert epochs[0] == epochs[2] != epochs[1]
        loader = DataLoader(Numbered(items), batch_sampler=batches, num_workers=workers)
        reads = Counter()
        for _, _, read in loader:
            reads.update(read[read >= 0].tolist())
        # But for those in which two stretches meet, and what is read anew at a window's end.
        assert sum(reads.values()) <= records + workers


def test_ranks_have_as_many_batches_and_cover_all(dataset):
    items = PcrDataset(dataset)
    ranks = [
        list(RecordBatchSampler(items, batch_size=3, workers=2, rank=r, world_size=2, tail="pad"))
        for r in range(2)
    ]
    assert len(ranks[0]) == len(ranks[1])
    assert {n for rank in ranks for batch in rank for n in batch} == set(range(IMAGES))
    drop = RecordBatchSampler(items, batch_size=3, workers=2)
    assert {len(batch) for batch in drop} == {3}


def test_a_change_of_fidelity_reaches_running_workers(dataset):
    items = PcrDataset(dataset, scans=1, transform=smallest)
    loader = DataLoader(items, batch_size=4, num_workers=1, persistent_workers=True)
    low = torch.cat([images for images, _ in loader])
    items.set_scans(None)
    high = torch.cat([images for images, _ in loader])
    assert not torch.equal(low, high)
    full = PcrDataset(dataset, transform=smallest)
    assert torch.equal(high, torch.stack([full[i][0] for i in range(len(full))]))
    with pytest.raises(UsageError, match="fidelities 1 to 10"):
        items.set_scans(11)


def test_it_can_be_pickled(dataset):
    items = PcrDataset(dataset, scans=3)
    first = items[0][0]
    copy = pickle.loads(pickle.dumps(items))
    assert copy.scans == 3
    assert torch.equal(copy[0][0], first)


def test_damage_and_bad_options_have_a_sentence(dataset, tmp_path):
    copy = shutil.copytree(dataset, tmp_path / "copy")
    info = pcr.open(copy).records[1]
    content = bytearray((copy / info.file).read_bytes())
    content[-20] ^= 4
    (copy / info.file).write_bytes(content)
    items = PcrDataset(copy)
    assert items[0]
    with pytest.raises(DataError, match=f"record {info.file}: scan group 10: wrong checksum"):
        items[8]
    with pytest.raises(UsageError, match='output must be "tensor" or "pil", not \'jpeg\''):
        PcrDataset(dataset, output="jpeg")
    with pytest.raises(UsageError, match="records_in_memory must be at least 1, not 0"):
        PcrDataset(dataset, records_in_memory=0)
