"""The pixels of the pcr loader: against Pillow's decoder, and numpy's and Pillow's resize."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from loader_batches import load, same  # noqa: E402
from loader_photos import IMAGES, pillow_image  # noqa: E402

from dl2cli import pcr  # noqa: E402
from dl2cli.loaders import LoaderConfig, OutputConfig, create_loader, transform  # noqa: E402


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
