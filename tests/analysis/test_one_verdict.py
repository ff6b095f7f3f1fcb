"""Convert, analyze-images and inspect agree about every file, whatever is wrong with it."""

import errno
import io
import os
import random
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from jpeg_samples import damaged, jpeg, picture
from PIL import Image

from dl2cli import pcr
from dl2cli.analysis.image.quality import Engine
from dl2cli.analysis.run import AnalysisConfig, analyse_dataset
from dl2cli.analysis.sources import FileReader, Item, Opened
from dl2cli.analysis.table.rows import Analysis, Note
from dl2cli.analysis.worker import Task, WorkerConfig, analyse_with
from dl2cli.dataset.pixels import UnsupportedImage, decode_source
from dl2cli.errors import StorageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.verify import verify
from dl2cli_native import _core


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    out = io.BytesIO()
    (image or picture()).save(out, kind, **options)
    return out.getvalue()


def sound_files() -> dict[str, bytes]:
    base = jpeg()
    gray = np.asarray(picture().convert("L"))
    scan = base.index(b"\xff\xda")
    parameters = scan + 5 + 2 * base[scan + 4]
    return {
        "plain.jpg": base,
        "progressive.jpg": jpeg(progressive=True),
        "gray.jpg": jpeg(picture().convert("L")),
        "cmyk.jpg": jpeg(picture().convert("CMYK")),
        "tiny.jpg": jpeg(picture(3, 3)),
        "no_end.jpg": base[:-2],
        "progressive_no_end.jpg": jpeg(progressive=True)[:-2],
        "end_damaged.jpg": base[:-1] + b"\xe9",
        "trailing.jpg": base + b"more",
        "zero_scan_header.jpg": base[:parameters] + bytes(3) + base[parameters + 3 :],
        "12bit.jpg": imagecodecs.jpeg8_encode(gray.astype(np.uint16) * 16, bitspersample=12),
        "lossless.jpg": imagecodecs.jpeg8_encode(gray, lossless=True),
        "named.png": base,
        **{f"a.{kind.lower()}": encoded(kind) for kind in ("PNG", "WEBP", "GIF", "BMP", "TIFF")},
        "16bit.png": encoded("PNG", Image.fromarray(gray.astype(np.uint16) * 257)),
        "lab.tif": encoded("TIFF", Image.new("LAB", (20, 20), (120, 10, 10))),
        "rgba.png": encoded("PNG", picture().convert("RGBA")),
        "junk_exif.webp": encoded("WEBP", exif=b"junkjunkjunk"),
    }


def damaged_files() -> dict[str, bytes]:
    rng = random.Random(5)
    sound = sound_files()
    return {
        "float.tif": encoded("TIFF", picture().convert("F")),
        "text.jpg": b"no image",
        "empty.jpg": b"",
        "missing_scan.jpg": jpeg(progressive=True)[:-300],
    } | {f"{number}_{name}": damaged(sound[name], rng) for number in range(12) for name in sound}


def verdicts(folder: Path, analyses: frozenset[Analysis]) -> dict[str, str]:
    """The damaged files of an analysis, with their reasons."""
    config = AnalysisConfig(folder, analyses, workers=1, fidelity_samples=10_000)
    return {each.file: each.reason for each in analyse_dataset(config).summary.failures}


@pytest.mark.parametrize("analyses", [{Analysis.STATS}, set(Analysis)])
def test_what_is_rejected_and_what_is_damaged_are_the_same_files(tmp_path, analyses):
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name, content in {**sound_files(), **damaged_files()}.items():
        (tmp_path / "in" / "a" / name).write_bytes(content)
    result = convert(ConvertConfig(tmp_path / "in", tmp_path / "out", workers=2))
    rejected = {each.path: each.reason for each in result.rejected}
    found = verdicts(tmp_path / "in", frozenset(analyses))
    # "Not supported" is a reason to reject a file, and no damage.
    undecided = {path for path, reason in rejected.items() if "range is not known" in reason}
    assert undecided == {"a/float.tif"}
    assert {p: rejected.get(p) for p in (rejected.keys() - undecided) ^ found.keys()} == {}
    assert len(found) > 50
    assert not {f"a/{name}" for name in sound_files()} & rejected.keys()
    check = verify(pcr.open(tmp_path / "out"), tmp_path / "in")
    assert check.damage == ()
    # The images that came of it are sound at every fidelity.
    for scans in (1, 5, None):
        config = AnalysisConfig(
            tmp_path / "out", frozenset({Analysis.STATS}), workers=1, scans=scans
        )
        assert analyse_dataset(config).summary.failures == ()


def test_images_above_the_default_limit_are_sound_in_a_dataset_that_let_them_in(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    side = 10_100
    gray = Image.new("L", (side, side), 90)
    gray.save(tmp_path / "in" / "a" / "large.jpg", quality=20)
    folder = verdicts(tmp_path / "in", frozenset({Analysis.STATS, Analysis.JPEG}))
    assert folder == {}  # not decoded, which is no damage
    limits = _core.Limits(max_pixels=200_000_000)
    convert(ConvertConfig(tmp_path / "in", tmp_path / "out", limits=limits))
    assert verdicts(tmp_path / "out", frozenset({Analysis.STATS})) == {}


def test_max_pixels_moves_the_limit_of_files_and_only_lowers_that_of_a_dataset(tmp_path):
    (tmp_path / "in" / "a").mkdir(parents=True)
    Image.new("L", (100, 100), 90).save(tmp_path / "in" / "a" / "large.jpg", quality=20)
    convert(ConvertConfig(tmp_path / "in", tmp_path / "out"))
    for root in (tmp_path / "in", tmp_path / "out"):
        for most, decoded in ((9_999, 0), (10_000, 1), (1 << 40, 1), (None, 1)):
            config = AnalysisConfig(root, frozenset({Analysis.STATS}), max_pixels=most, workers=1)
            summary = analyse_dataset(config).summary
            assert (summary.colour is not None) == bool(decoded), (root, most)
            assert (Note.LARGE.value in {odd.text for odd in summary.oddities}) != bool(decoded)


class BrokenStream(io.BytesIO):
    """A file that was opened before its disk failed with an errno."""

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(self.code, os.strerror(self.code))


class FailingDisk:
    """A reader of images on a disk that fails with an errno: when a file is opened, or read."""

    def __init__(self, root: Path, code: int, *, when: str) -> None:
        self.files = FileReader(str(root))
        self.code = code
        self.when = when
        self.limits = self.files.limits
        self.path = self.files.path

    def open(self, item: Item) -> Opened:
        if self.when == "open":
            raise OSError(self.code, os.strerror(self.code))
        return Opened(BrokenStream(self.code), 1000, 0, whole_file=True)


@pytest.mark.parametrize("when", ["open", "read"])
def test_a_disk_that_fails_says_nothing_about_the_image(tmp_path, when):
    def look(code: int):
        disk = FailingDisk(tmp_path, code, when=when)
        config = WorkerConfig(disk, frozenset({Analysis.STATS}), Engine.NATIVE, ())
        return analyse_with(config, Task(Item("a.jpg", "")))

    for code in (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.EMFILE, errno.ENOMEM):
        with pytest.raises(StorageError, match=r"a\.jpg"):
            look(code)
    assert "Permission denied" in look(errno.EACCES).error


def test_a_lack_of_memory_stops_the_analysis(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(jpeg())

    def fail(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr("dl2cli.analysis.image.examine.decode_source", fail)
    config = WorkerConfig(FileReader(str(tmp_path)), frozenset({Analysis.STATS}), Engine.NATIVE, ())
    with pytest.raises(StorageError, match="not enough memory"):
        analyse_with(config, Task(Item("a.jpg", "")))


def test_a_kind_that_is_not_supported_has_an_error_of_its_own():
    with pytest.raises(UnsupportedImage):
        decode_source(encoded("TIFF", picture().convert("F")), _core.Limits())
