"""What every loader keeps, whatever decodes: coverage, order, resume, ranks, forms, agreement."""

import io
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from loader_batches import same  # noqa: E402
from loader_photos import IMAGES  # noqa: E402

from dl2cli import pcr  # noqa: E402
from dl2cli.dataset.discovery import discover  # noqa: E402
from dl2cli.errors import DataError, MissingDependency, UsageError  # noqa: E402
from dl2cli.loaders import (  # noqa: E402
    LOADERS,
    LoaderConfig,
    OutputConfig,
    TransformConfig,
    create_loader,
    create_validation_loader,
    transform,
)

needs_dali = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None,
    reason="NVIDIA DALI is not installed",
)
DALI = [pytest.param(name, marks=needs_dali) for name in ("dali-cpu", "pcr-dali")]
DECODING = ["pcr", "jpeg", "pytorch", *DALI]
# DALI's resize works in floating point, and CMYK JPEGs are beyond it.
DALI_TOLERANCE = 2


@pytest.fixture(scope="module")
def plain(folder, tmp_path_factory):
    """The photos without the CMYK ones: an ImageFolder and its PCR dataset."""
    from dl2cli.pcr.config import ConvertConfig
    from dl2cli.pcr.convert import convert

    root = tmp_path_factory.mktemp("plain")
    for path in folder.glob("*/*.jpg"):
        with Image.open(path) as image:
            if image.mode == "CMYK":
                continue
        target = root / "photos" / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    convert(ConvertConfig(root / "photos", root / "pcr", images_per_record=7, workers=2))
    return root / "photos", root / "pcr"


def make(name, plain, **options):
    data = plain[1] if name.startswith("pcr") else plain[0]
    config = LoaderConfig(data, **{"batch_size": 4, **options}, transform=TransformConfig(size=40))
    return create_loader(name, config)


@pytest.mark.parametrize("name", DECODING)
def test_every_image_once_and_exact_length(name, plain):
    count = sum(1 for _ in plain[0].glob("*/*.jpg"))
    loader = make(name, plain, tail="pad")
    batches = list(loader)
    assert len(batches) == len(loader) == -(-count // 4)
    assert loader.image_count == count
    ids = [tuple(pair) for batch in batches for pair in batch.ids]
    assert len(ids) == len(set(ids)) == count
    assert sum(batch.bytes_read for batch in batches) == loader.stats().bytes_read > 0
    stats = loader.stats()
    assert (stats.images, stats.batches) == (count, len(batches))
    if name != "dali-cpu":  # which reads by itself
        assert stats.fetch_s > 0
        assert stats.fetch_wait_s >= 0
    if name.startswith("pcr"):
        assert stats.records_read == -(-count // 7)
    for batch in batches:
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape == (len(batch), 3, 40, 40)
        assert batch.labels.dtype == torch.int64
    full = list(make(name, plain, tail="drop"))
    assert [len(batch) for batch in full] == [4] * (count // 4)


@pytest.mark.parametrize("name", DECODING)
def test_order_and_crops_depend_on_seed_and_epoch_alone(name, plain):
    loader = make(name, plain, workers=1, prefetch=1)
    first = list(loader)
    assert same(first, list(loader))
    assert same(first, list(make(name, plain, workers=2, prefetch=4)))
    loader.set_epoch(1)
    assert not same(first, list(loader))
    assert not same(first, list(make(name, plain, seed=1)))


@pytest.mark.parametrize("name", DECODING)
def test_resuming_goes_on_exactly(name, plain):
    whole = list(make(name, plain, tail="pad"))
    loader = make(name, plain, tail="pad")
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    iterator.close()
    other = make(name, plain, tail="pad")
    other.load_state_dict(state)
    assert same(list(other), whole[3:])
    for _ in loader:
        state = loader.state_dict()
    other.load_state_dict(state)  # of the last batch: nothing is left, and then all is again
    assert list(other) == []
    assert len(list(other)) == len(whole)


@pytest.mark.parametrize("name", [*DECODING, "synthetic"])
def test_a_loop_may_load_a_state_and_choose_the_epoch_as_ever(name, plain):
    loader = make(name, plain)
    loader.set_epoch(1)
    whole = list(loader)
    assert loader.state_dict()["batch"] == len(loader)  # nothing is left of the epoch
    assert same(list(loader), whole)
    iterator = iter(loader)
    for _ in range(3):
        next(iterator)
    state = loader.state_dict()
    iterator.close()
    assert (state["epoch"], state["batch"]) == (1, 3)
    assert len(list(loader)) == len(whole)  # another iterator begins the epoch
    other = make(name, plain)
    other.load_state_dict(state)
    other.set_epoch(1)
    assert same(list(other), whole[3:])
    other.load_state_dict(state)
    other.set_epoch(2)
    assert len(list(other)) == len(whole)
    other.load_state_dict({**state, "batch": len(loader)})
    other.set_epoch(1)
    assert list(other) == []


@pytest.mark.parametrize("name", [*DECODING, "synthetic"])
def test_two_iterators_at_once_do_not_disturb_each_other(name, plain):
    loader = make(name, plain)
    whole = list(loader)
    pairs = list(zip(loader, loader, strict=True))
    assert same([first for first, _ in pairs], whole)
    assert same([second for _, second in pairs], whole)
    older, newer = iter(loader), iter(loader)
    next(newer)
    for _ in range(3):
        next(older)
    assert loader.state_dict()["batch"] == 1  # of the one that was begun last


@pytest.mark.parametrize("name", DECODING)
def test_ranks_take_equal_steps_and_cover_all(name, plain):
    ranks = [list(make(name, plain, rank=r, world_size=2, tail="pad")) for r in range(2)]
    assert len(ranks[0]) == len(ranks[1])
    real = [
        tuple(pair)
        for rank in ranks
        for batch in rank
        for pair in batch.ids[: len(batch) - batch.padding]
    ]
    assert len(real) == len(set(real)) == sum(1 for _ in plain[0].glob("*/*.jpg"))


def all_steps(name, plain, world, state=None, **options):
    """(images, labels, ids) of each step, those of all ranks together, without padding."""
    options = {"lanes": 2, "tail": "pad", "shuffle_window": 1, **options}
    ranks = []
    for rank in range(world):
        loader = make(name, plain, rank=rank, world_size=world, batch_size=12 // world, **options)
        if state is not None:
            loader.load_state_dict(state)
        ranks.append(list(loader))
    steps = []
    for batches in zip(*ranks, strict=True):
        assert len({len(batch) for batch in batches}) == 1
        parts = [(b, len(b) - b.padding) for b in batches]
        steps.append(
            (
                torch.cat([b.images[:n] for b, n in parts]),
                torch.cat([b.labels[:n] for b, n in parts]),
                np.concatenate([b.ids[:n] for b, n in parts]),
            )
        )
    return steps


@pytest.mark.parametrize("name", DECODING)
def test_ranks_do_not_change_the_steps_and_others_can_go_on(name, plain):
    alone = all_steps(name, plain, 1)
    options = {"lanes": 2, "tail": "pad", "shuffle_window": 1}
    two = make(name, plain, rank=1, world_size=2, batch_size=6, **options)
    iterator = iter(two)
    next(iterator)
    state = two.state_dict()
    iterator.close()
    for steps in (
        all_steps(name, plain, 3),
        alone[:1] + all_steps(name, plain, 3, state),
        alone[:1] + all_steps(name, plain, 2, state),
    ):
        assert len(steps) == len(alone) == 3
        for step, wanted in zip(steps, alone, strict=True):
            assert torch.equal(step[0], wanted[0])
            assert torch.equal(step[1], wanted[1])
            assert np.array_equal(step[2], wanted[2])


@pytest.mark.parametrize("name", DECODING)
@pytest.mark.parametrize("train", [True, False])
def test_all_see_what_pillow_sees(name, plain, train):
    folder = discover(plain[0])
    opened = pcr.open(plain[1])
    counts = [record.images for record in opened.records]
    config = TransformConfig(size=40, train=train)
    data = plain[1] if name.startswith("pcr") else plain[0]
    loader = create_loader(name, LoaderConfig(data, batch_size=4, transform=config, tail="pad"))
    loader.set_epoch(1)
    worst, means = 0, []
    for batch in loader:
        for image, label, (record, slot) in zip(batch.images, batch.labels, batch.ids, strict=True):
            if name.startswith("pcr"):
                jpeg = bytes(opened.read(int(record)).image(int(slot)))
                sample = sum(counts[:record]) + slot
                assert label == opened.read(int(record), 1).labels[slot]
            else:
                jpeg = (plain[0] / folder.files[record].path).read_bytes()
                sample = record
                assert label == folder.files[record].label
            with Image.open(io.BytesIO(jpeg)) as opened_image:
                rgb = opened_image.convert("RGB")
            placements = transform.place(
                config, seed=0, epoch=1, samples=[sample], widths=[rgb.width], heights=[rgb.height]
            )
            wanted = np.asarray(transform.cut_out(rgb, config, placements)).astype(int)
            difference = np.abs(image.permute(1, 2, 0).numpy() - wanted)
            worst = max(worst, difference.max())
            means.append(difference.mean())
    assert worst <= {"pytorch": 0, "pcr": 1, "jpeg": 1}.get(name, DALI_TOLERANCE)
    assert np.mean(means) < 0.5


@pytest.mark.parametrize("name", [*DECODING, "synthetic"])
def test_forms_of_output(name, plain):
    plain_images = next(iter(make(name, plain))).images
    for channels_last in (False, True):
        output = OutputConfig(normalized=True, channels_last=channels_last)
        images = next(iter(make(name, plain, output=output))).images
        layout = torch.channels_last if channels_last else torch.contiguous_format
        assert images.is_contiguous(memory_format=layout)
        mean = torch.tensor(output.mean).view(1, 3, 1, 1)
        std = torch.tensor(output.std).view(1, 3, 1, 1)
        assert torch.allclose(images, (plain_images / 255 - mean) / std, atol=1e-5)


def test_synthetic_gives_one_batch_again_and_again(plain):
    loader = make("synthetic", plain)
    batches = list(loader)
    assert len(batches) == len(loader)
    assert all(batch.images.data_ptr() == batches[0].images.data_ptr() for batch in batches)
    assert int(batches[0].labels.max()) < 3
    assert loader.stats().images == 4 * len(loader)


def test_validation_data_may_be_either(plain, dataset):
    config = LoaderConfig(plain[0], batch_size=4, transform=TransformConfig(size=40), seed=9)
    seen = []
    for data in plain:
        loader = create_validation_loader(config, data)
        batches = list(loader)
        assert loader.name == ("pcr" if data == plain[1] else "jpeg")
        assert loader.image_count == sum(map(len, batches))
        loader.set_epoch(5)
        assert same(batches, list(loader))
        seen.append(torch.cat([batch.labels for batch in batches]).bincount())
    assert torch.equal(*seen)


def test_exif_rotation_is_off_everywhere(plain):
    """All loaders see the pixels as they are stored; the folder holds rotated photos."""
    orientations = []
    for path in plain[0].glob("*/*.jpg"):
        with Image.open(path) as image:
            orientations.append(image.getexif().get(0x0112))
    assert 6 in orientations  # test_all_see_what_pillow_sees compares them, and Pillow turns none


def test_unknown_loaders_and_wrong_data_are_refused(plain, tmp_path):
    config = LoaderConfig(tmp_path)
    with pytest.raises(UsageError, match="no loader 'ffcv'; there are pcr"):
        create_loader("ffcv", config)
    with pytest.raises(UsageError, match="holds no PCR dataset"):
        create_loader("pcr", config)
    for name in ("pytorch", "synthetic"):
        with pytest.raises(DataError, match="no class folders"):
            create_loader(name, config)
    with pytest.raises(UsageError, match="does not exist"):
        create_loader("pytorch", replace(config, data=tmp_path / "nothing"))


@needs_dali
def test_dali_says_what_it_cannot_do(plain, tmp_path):
    for name in ("dali-cpu", "pcr-dali"):
        with pytest.raises(UsageError, match="only the damage policy fail"):
            make(name, plain, on_damage="skip")
    if not torch.cuda.is_available():
        for name in ("dali-gpu", "pcr-dali-gpu"):
            with pytest.raises(UsageError, match="a GPU, and this machine has none"):
                make(name, plain)
    copy = shutil.copytree(plain[0], tmp_path / "photos")
    victim = sorted(copy.glob("*/*.jpg"))[0]
    whole = victim.read_bytes()
    config = LoaderConfig(copy, batch_size=4, transform=TransformConfig(size=40))
    for content, reason in (
        (b"\xff\xd8\xff no photo", "cannot be decoded: cannot identify"),
        (whole[: len(whole) // 2], "cannot be decoded: image file is truncated"),
    ):
        victim.write_bytes(content)
        with pytest.raises(DataError, match=f"{victim.name} {reason}"):
            list(create_loader("dali-cpu", config))
    records = shutil.copytree(plain[1], tmp_path / "pcr")
    name = pcr.open(records).records[1].file
    (records / name).write_bytes((records / name).read_bytes()[:-50])
    with pytest.raises(DataError, match=f"record {name}"):
        list(create_loader("pcr-dali", replace(config, data=records)))
    assert list(create_loader("pcr-dali", replace(config, data=records, scans=3)))


def test_without_dali_the_message_names_what_to_install(plain, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "nvidia.dali.fn", None)
    with pytest.raises(MissingDependency, match="dali-cuda"):
        make("dali-cpu", plain)


def test_without_torch_too(plain, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    for name in LOADERS:
        with pytest.raises(MissingDependency, match=r"dl2cli\[train\]"):
            make(name, plain)


def test_images_count_is_that_of_the_folder(folder):
    assert sum(1 for _ in Path(folder).glob("*/*.jpg")) == IMAGES


@needs_dali
def test_dali_refuses_samples_whose_range_is_not_known(tmp_path):
    (tmp_path / "a").mkdir()
    ramp = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    Image.fromarray(ramp).save(tmp_path / "a" / "1.tif")
    config = LoaderConfig(tmp_path, batch_size=1, transform=TransformConfig(size=32))
    for name in ("dali-cpu", "jpeg", "pytorch"):
        with pytest.raises(DataError, match=r"1\.tif.* floating-point samples .mode F., whose"):
            list(create_loader(name, config))
