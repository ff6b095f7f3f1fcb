"""The jpeg loader: an ImageFolder by the native core; other formats, damage, names, limits."""

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from failing_calls import fail, run_python  # noqa: E402
from loader_batches import same  # noqa: E402
from loader_photos import IMAGES  # noqa: E402
from loader_threads import native_threads, only_threads_left  # noqa: E402

from dl2cli.dataset.discovery import discover  # noqa: E402
from dl2cli.dataset.pillow_limits import pillow_limits  # noqa: E402
from dl2cli.dataset.pixels import read_pixels  # noqa: E402
from dl2cli.errors import DataError, StorageError, UsageError  # noqa: E402
from dl2cli.loaders import LoaderConfig, Throttle, create_loader, transform  # noqa: E402
from dl2cli.loaders.native.jpeg import JpegLoader  # noqa: E402
from dl2cli.loaders.native.pcr import PcrLoader  # noqa: E402
from dl2cli_native import _core  # noqa: E402


@pytest.fixture
def config(folder, small):
    return LoaderConfig(folder, batch_size=4, transform=small, tail="pad")


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "photos")


def save_odd_formats(root):
    """Files that no JPEG decoder reads, each as a class of its own, and one JPEG."""
    gray = np.linspace(0, 255, 64 * 48).reshape(48, 64)
    color = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    images = {
        "a.png": Image.fromarray(gray.astype(np.uint8)),
        "b.png": Image.fromarray((gray * 257).astype(np.uint16)),
        "c.tif": Image.fromarray((gray * 257).astype(np.uint16)),
        "d.png": Image.fromarray(color).convert("P"),
        "e.png": Image.fromarray(color).convert("RGBA"),
        "f.webp": Image.fromarray(color),
        "g.jpg": Image.fromarray(color),
        "h.jpg": Image.fromarray(color),  # what the name says counts for nothing
    }
    for name, image in images.items():
        path = root / name[0] / name
        path.parent.mkdir(parents=True)
        image.save(path, format="PNG" if name == "h.jpg" else None)
    return root


def expected(path, config, sample, epoch=0):
    content = path.read_bytes()
    if path.name == "g.jpg":
        with Image.open(path) as image:
            rgb = image.convert("RGB")
    else:
        with pillow_limits(config.limits):
            rgb = read_pixels(content, config.limits).convert("RGB")
    placements = transform.place(
        config.transform,
        seed=0,
        epoch=epoch,
        samples=[sample],
        widths=[rgb.width],
        heights=[rgb.height],
    )
    return np.asarray(transform.cut_out(rgb, config.transform, placements)).astype(int)


@pytest.mark.parametrize("name", ["jpeg", "pytorch"])
@pytest.mark.parametrize("train", [True, False])
def test_other_formats_look_as_a_conversion_takes_them(name, train, tmp_path, small):
    root = save_odd_formats(tmp_path / "odd")
    listing = discover(root)
    small = replace(small, train=train)
    config = LoaderConfig(root, batch_size=3, transform=small, tail="pad")
    loader = create_loader(name, config)
    seen = []
    for batch in loader:
        for image, label, (number, _) in zip(batch.images, batch.labels, batch.ids, strict=True):
            wanted = expected(root / listing.files[number].path, config, int(number))
            assert np.abs(image.permute(1, 2, 0).numpy() - wanted).max() <= 1
            seen.append(int(label))
    assert sorted(seen) == list(range(8))


def test_a_12_bit_jpeg_is_read_as_a_conversion_does(tmp_path, small):
    imagecodecs = pytest.importorskip("imagecodecs")
    ramp = np.linspace(0, 4095, 64 * 48).reshape(48, 64).astype(np.uint16)
    (tmp_path / "a").mkdir()
    rare = bytes(imagecodecs.jpeg8_encode(ramp, level=100, bitspersample=12))
    (tmp_path / "a" / "1.jpg").write_bytes(rare)
    for name in ("jpeg", "pytorch"):
        config = LoaderConfig(tmp_path, batch_size=1, transform=replace(small, train=False))
        (batch,) = create_loader(name, config)
        mean = batch.images.float().mean()
        assert 120 < mean < 135, name


def test_it_shows_what_pcr_shows_of_the_same_files(config, folder, dataset):
    """Pixels at full fidelity are those of the files: the transcoding is lossless."""
    from dl2cli import pcr

    opened = pcr.open(dataset)
    names = {file.path: number for number, file in enumerate(discover(folder).files)}
    center = replace(config, transform=replace(config.transform, train=False), shuffle=False)
    files = torch.cat([batch.images for batch in JpegLoader(center)])
    records = PcrLoader(replace(center, data=dataset))
    counts = [record.images for record in opened.records]
    sources = {(info.record, info.slot): info.path for info in opened.sources()}
    for batch in records:
        for image, (record, slot) in zip(batch.images, batch.ids, strict=True):
            assert record < len(counts)
            number = names[sources[int(opened.records[record].id), int(slot)]]
            assert torch.equal(image, files[number])


def test_damage_fails_or_is_skipped(config, copy):
    victim = sorted(copy.glob("*/*.jpg"))[5]
    whole = victim.read_bytes()
    odd = sorted(copy.glob("*/*.jpg"))[9]
    for path, content, reason in (
        (victim, whole[: len(whole) // 2], "ends|premature|early"),
        (victim, b"", "the file is empty"),
        (odd, b"no image at all", "not an image that can be read"),
    ):
        kept = path.read_bytes()
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"^{path}: .*({reason}).*") as error:
            list(JpegLoader(replace(config, data=copy)))
        assert str(error.value).count(str(path.name)) == 1
        for policy in ("skip", "degrade"):
            loader = JpegLoader(replace(config, data=copy, on_damage=policy))
            assert sum(map(len, loader)) == IMAGES - 1
            stats = loader.stats()
            assert (stats.skipped, stats.degraded, len(stats.messages)) == (1, 0, 1)
            assert stats.messages[0].startswith(f"{path}: ")
        path.write_bytes(kept)
    victim.unlink()
    listed = JpegLoader(replace(config, data=copy))
    odd.unlink()
    with pytest.raises(DataError, match=f"^{odd}: No such file"):
        list(listed)


def test_a_file_that_became_a_fifo_does_not_block(config, copy):
    loader = JpegLoader(replace(config, data=copy, on_damage="skip"))
    victim = sorted(copy.glob("*/*.jpg"))[0]
    victim.unlink()
    os.mkfifo(victim)
    assert sum(map(len, loader)) == IMAGES - 1
    assert "not a regular file" in loader.stats().messages[0]


def test_names_are_any_bytes(config, copy):
    victim = sorted(copy.glob("*/*.jpg"))[0]
    odd = os.fsencode(victim.parent) + b"/\xff\n%s.jpg"
    os.rename(victim, odd)  # noqa: PTH104 - bytes
    assert sum(map(len, JpegLoader(replace(config, data=copy)))) == IMAGES
    with open(odd, "wb"):  # noqa: PTH123
        pass
    with pytest.raises(DataError) as error:
        list(JpegLoader(replace(config, data=copy)))
    assert os.fsdecode(odd) in str(error.value)


def test_too_many_pixels_are_refused_before_they_take_memory(config, folder):
    for name in ("jpeg", "pytorch"):
        with pytest.raises(DataError, match=r"pixels, more than the limit of 100|100 pixels"):
            list(create_loader(name, replace(config, max_pixels=100)))
    with pytest.raises(UsageError, match="max_pixels must be at least 1, not 0"):
        replace(config, max_pixels=0)


def test_a_throttle_counts_every_byte(config):
    loader = JpegLoader(replace(config, throttle=Throttle(1e15)))
    batches = list(loader)
    assert same(batches, list(JpegLoader(config)))
    sizes = [file.stat().st_size for file in config.data.glob("*/*.jpg")]
    assert loader.stats().bytes_read == sum(sizes) == sum(b.bytes_read for b in batches)


def test_threads_go_with_the_iterator_also_those_of_pillow(tmp_path, small):
    root = save_odd_formats(tmp_path / "odd")
    before, limit = native_threads(), Image.MAX_IMAGE_PIXELS
    loader = JpegLoader(LoaderConfig(root, batch_size=2, transform=small, tail="pad"))
    for _ in loader:
        break
    assert only_threads_left(before)
    list(loader)
    assert only_threads_left(before)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_memory_that_runs_out_in_pillow_is_an_error_and_no_hang(tmp_path, small, monkeypatch):
    def refuse(content, limits, **_):
        raise MemoryError

    root = save_odd_formats(tmp_path / "odd")
    monkeypatch.setattr("dl2cli.loaders.native.loader.read_pixels", refuse)
    with pytest.raises(StorageError, match="not enough memory"):
        list(JpegLoader(LoaderConfig(root, batch_size=2, transform=small, tail="pad")))


LOAD = """
import sys
from pathlib import Path
from dl2cli.errors import Dl2Error
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader
name, data, policy = sys.argv[1:]
loader = create_loader(name, LoaderConfig(Path(data), batch_size=4, on_damage=policy, tail="pad",
                                          workers=1, transform=TransformConfig(size=32)))
try:
    print(sum(map(len, loader)), "images", *loader.stats().messages)
except Dl2Error as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("name", "code"),
    [("jpeg", errno.EIO), ("pytorch", errno.ESTALE), ("pcr", errno.EIO), ("jpeg", errno.EMFILE)],
)
def test_a_share_that_fails_is_no_damage(name, code, folder, dataset):
    data = dataset if name == "pcr" else folder
    victim = "PCR_1.db" if name == "pcr" else "c1/007.jpg"
    call = "open" if code == errno.EMFILE else "read"
    rule = fail(call, f"{data.name}/{victim}", code)
    run = run_python("-c", LOAD, name, str(data), "skip", rules=[rule])
    assert run.stdout.startswith("StorageError"), run.stdout + run.stderr
    assert f"{victim} cannot be read: {os.strerror(code)}" in run.stdout


@pytest.mark.parametrize("name", ["jpeg", "pytorch", "pcr"])
def test_a_file_that_may_not_be_read_is_damage(name, folder, dataset):
    data = dataset if name == "pcr" else folder
    victim = "PCR_1.db" if name == "pcr" else "c1/007.jpg"
    rule = fail("open", f"{data.name}/{victim}", errno.EACCES)
    run = run_python("-c", LOAD, name, str(data), "skip", rules=[rule])
    left = 26 if name == "pcr" else 32
    assert run.stdout.startswith(f"{left} images"), run.stdout + run.stderr
    assert "Permission denied" in run.stdout


def test_the_program_ends_while_an_iterator_is_open(tmp_path):
    """A suspended generator is never closed at exit; threads of Pillow must not keep it open."""
    root = save_odd_formats(tmp_path / "odd")
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from dl2cli.loaders import LoaderConfig, create_loader\n"
        "it = iter(create_loader('jpeg', LoaderConfig(Path(sys.argv[1]), batch_size=1)))\n"
        "next(it); print('ended')\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "ended\n", "")


def test_the_native_loader_refuses_pixels_of_another_shape(folder):
    native = _core.FileStore(
        folder=b"/nowhere", names=[b"a"], labels=[0], label_count=1, max_file_bytes=10
    )
    assert isinstance(native, _core.SampleStore)
    with pytest.raises(ValueError, match="as many labels as files"):
        _core.FileStore(
            folder=b"/nowhere", names=[b"a"], labels=[], label_count=1, max_file_bytes=10
        )
