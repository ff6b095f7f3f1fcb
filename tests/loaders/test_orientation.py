"""EXIF orientations, applied: every loader shows what Pillow's exif_transpose shows, or refuses."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image, ImageOps

torch = pytest.importorskip("torch")

from dl2cli import pcr  # noqa: E402
from dl2cli.dataset.discovery import discover  # noqa: E402
from dl2cli.errors import UsageError  # noqa: E402
from dl2cli.loaders import (  # noqa: E402
    LoaderConfig,
    PcrDataset,
    TransformConfig,
    create_loader,
    transform,
)
from dl2cli.pcr.config import ConvertConfig  # noqa: E402
from dl2cli.pcr.convert import convert  # noqa: E402


@pytest.fixture(scope="module")
def turned_photos(tmp_path_factory):
    """A photo in each orientation, as JPEG (4:2:0, odd sizes) and as PNG, and the PCR dataset."""
    root = tmp_path_factory.mktemp("orientation")
    random = np.random.default_rng(5)
    for number in range(1, 9):
        coarse = random.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        photo = Image.fromarray(coarse).resize((117, 75), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[0x0112] = number
        folder = root / "photos" / f"c{number}"
        folder.mkdir(parents=True)
        photo.save(folder / "a.jpg", quality=90, subsampling=2, exif=exif)
        photo.save(folder / "b.png", exif=exif)
    convert(ConvertConfig(root / "photos", root / "pcr", images_per_record=5, quality=95))
    return root / "photos", root / "pcr"


@pytest.mark.parametrize("name", ["jpeg", "pytorch", "pcr"])
@pytest.mark.parametrize("train", [True, False])
def test_loaders_show_what_pillow_turns(name, train, turned_photos):
    photos, records = turned_photos
    small = TransformConfig(size=40, train=train)
    data = records if name == "pcr" else photos
    config = LoaderConfig(data, batch_size=3, transform=small, tail="pad", exif_orientation="apply")
    listing = [photos / file.path for file in discover(photos).files]
    opened = pcr.open(records)
    starts = np.cumsum([0, *(record.images for record in opened.records)])
    sources = {(info.record, info.slot): photos / info.path for info in opened.sources()}
    seen = 0
    for batch in create_loader(name, config):
        for image, (unit, slot) in zip(batch.images, batch.ids, strict=True):
            if name == "pcr":
                path = sources[opened.records[unit].id, slot]
                sample = int(starts[unit] + slot)
            else:
                path, sample = listing[unit], int(unit)
            with Image.open(path) as stored:
                shown = ImageOps.exif_transpose(stored).convert("RGB")
            placements = transform.place(
                small, seed=0, epoch=0, samples=[sample], widths=[shown.width],
                heights=[shown.height],
            )  # fmt: skip
            wanted = np.asarray(transform.cut_out(shown, small, placements)).astype(int)
            difference = np.abs(image.permute(1, 2, 0).numpy() - wanted)
            encoded = name == "pcr" and path.suffix == ".png"  # and then 4:4:4 at quality 95
            assert difference.max() <= (12 if encoded else 1), path
            seen += 1
    assert seen == 16


def test_the_index_knows_the_orientation_also_for_single_images(turned_photos):
    photos, records = turned_photos
    items = PcrDataset(records, exif_orientation="apply", output="pil")
    sources = {(i.record, i.slot): photos / i.path for i in items.dataset.sources()}
    index = 0
    for record in items.dataset.records:
        for slot in range(record.images):
            with Image.open(sources[record.id, slot]) as stored:
                shown = np.asarray(ImageOps.exif_transpose(stored).convert("RGB")).astype(int)
            image = np.asarray(items[index][0])
            assert image.shape == shown.shape
            assert np.abs(image - shown).mean() < 2
            index += 1


def test_what_cannot_be_applied_is_refused(turned_photos):
    photos, records = turned_photos
    config = LoaderConfig(photos, batch_size=2)
    with pytest.raises(UsageError, match="must be ignore or apply, not 'turn'"):
        replace(config, exif_orientation="turn")
    with pytest.raises(UsageError, match="must be ignore or apply, not 'turn'"):
        PcrDataset(records, exif_orientation="turn")
    if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
        return
    for name, data in (("dali-cpu", photos), ("pcr-dali", records)):
        asked = replace(config, data=data, exif_orientation="apply")
        with pytest.raises(UsageError, match="choose pcr, jpeg or pytorch"):
            create_loader(name, asked)
