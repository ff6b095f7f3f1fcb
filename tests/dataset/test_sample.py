"""The built-in sample set: what it is made of, and that it is made once, whole and the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin

from dl2cli.dataset import sample
from dl2cli.dataset.discovery import discover
from dl2cli.dataset.sample import SampleConfig, cache_dir, ensure_sample_set
from dl2cli.dataset.splits import find_splits, union_classes
from dl2cli.errors import StorageError, UsageError

TINY = SampleConfig(train_per_class=1, val_per_class=1, long_side_px=48)


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_it_is_an_imagefolder_in_splits_of_readable_jpegs(sample_set: Path) -> None:
    splits = find_splits(sample_set)
    assert list(splits) == ["train", "val"]
    assert union_classes(splits.values()) == sample.CLASSES
    for split, per_class in ("train", 4), ("val", 2):
        folder = discover(splits[split])
        assert folder.classes == sample.CLASSES
        assert np.bincount([file.label for file in folder.files]).tolist() == [per_class] * 6
        assert folder.ignored == ()
        for file in folder.files:
            with Image.open(folder.root / file.path) as image:
                assert (image.format, image.mode) == ("JPEG", "RGB")
                assert not image.info.get("progressive")
                assert JpegImagePlugin.get_sampling(image) == 2  # 4:2:0
                assert 80 <= max(image.size) <= 160
                image.load()


def test_pictures_are_of_photo_like_size_and_entropy(tmp_path: Path) -> None:
    config = SampleConfig(train_per_class=2, val_per_class=1)
    sizes = [p.stat().st_size for p in ensure_sample_set(config, cache=tmp_path).rglob("*.jpg")]
    assert len(sizes) == 18
    assert min(sizes) > 20_000
    assert max(sizes) < 130_000
    assert 40_000 < np.mean(sizes) < 80_000


def test_the_same_bytes_whatever_the_workers_and_others_with_another_seed(tmp_path: Path) -> None:
    one = contents(ensure_sample_set(TINY, cache=tmp_path / "1", workers=1))
    three = contents(ensure_sample_set(TINY, cache=tmp_path / "3", workers=3))
    assert one == three
    assert len(one) == 12
    assert len(set(one.values())) == 12
    other = SampleConfig(1, 1, long_side_px=48, seed=1)
    assert not set(contents(ensure_sample_set(other, cache=tmp_path)).values()) & set(one.values())


def test_it_is_made_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    root = ensure_sample_set(TINY, cache=tmp_path, on_image=lambda *call: calls.append(call))
    assert calls == [(i, 12) for i in range(1, 13)]
    before = {p: p.stat().st_mtime_ns for p in root.rglob("*")}
    again = ensure_sample_set(TINY, cache=tmp_path, on_image=lambda *_: pytest.fail("made again"))
    assert again == root
    assert {p: p.stat().st_mtime_ns for p in root.rglob("*")} == before
    assert list(tmp_path.iterdir()) == [root]


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dl2cli.dataset.sample import *;"
        "print(ensure_sample_set(SampleConfig(2, 1, 64), cache=Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    names = {process.communicate()[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert [str(p) for p in tmp_path.iterdir()] == sorted(names)
    assert len(contents(Path(names.pop()))) == 18


def test_a_killed_process_leaves_no_half_set_and_no_litter_for_long(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from dl2cli.dataset.sample import *;"
        "ensure_sample_set(SampleConfig(500, 1), cache=Path(sys.argv[1]), workers=1,"
        " on_image=lambda done, _: print(done, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
    (litter,) = tmp_path.iterdir()
    assert litter.name.startswith(sample.TEMPORARY_PREFIX)
    long_ago = time.time() - 2 * sample.STALE_S
    os.utime(litter, (long_ago, long_ago))
    root = ensure_sample_set(TINY, cache=tmp_path)
    assert list(tmp_path.iterdir()) == [root]


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    config = SampleConfig(200, 1, long_side_px=64)
    with pytest.raises(KeyboardInterrupt):
        ensure_sample_set(config, cache=tmp_path, workers=2, on_image=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_cache_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be written to .*file.*Set DL2_HOME"):
        ensure_sample_set(TINY, cache=tmp_path / "file")


def test_a_config_that_cannot_be() -> None:
    for arguments in (0, 1, 100), (1, 0, 100), (1, 1, 10), (1, 1, 10**6):
        with pytest.raises(UsageError, match="at least one image"):
            SampleConfig(*arguments)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"DL2_HOME": "/d", "XDG_CACHE_HOME": "/x", "HOME": "/h"}.items():
        monkeypatch.setenv(name, value)
    assert cache_dir() == Path("/d/cache")
    monkeypatch.delenv("DL2_HOME")
    assert cache_dir() == Path("/x/dl2")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path("/h/.cache/dl2")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path("/h/.cache/dl2")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user that nobody knows")
def test_a_user_without_a_home_is_told_what_to_set() -> None:
    """A container may run with any user id."""
    program = (
        "import os; from dl2cli.dataset.sample import cache_dir; "
        "[os.environ.pop(name, None) for name in ('HOME', 'DL2_HOME', 'XDG_CACHE_HOME')]; "
        "os.setuid(45678); cache_dir()"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "UsageError: There is no home folder here: set DL2_HOME" in run.stderr


def colour_features(rgb: np.ndarray) -> np.ndarray:
    """Brightness, red against blue, green against both: of the mean colour."""
    red, green, blue = rgb.mean((0, 1))
    return np.array([red + green + blue, red - blue, green - (red + blue) / 2])


def structure_features(rgb: np.ndarray) -> np.ndarray:
    """The 2nd and 4th circular harmonic of the gradients' directions, which no rotation changes.

    Stripes have one direction, a lattice has two at a right angle, spots have all.
    """
    dy, dx = np.gradient(rgb, axis=(0, 1))
    gradient = dx + 1j * dy
    power = np.abs(gradient) ** 2
    fourth = gradient**4 / np.maximum(power, 1e-9)
    return np.abs([(gradient**2).sum(), fourth.sum()]) / power.sum()


def nearest_centroid_accuracy(
    train: np.ndarray, train_labels: np.ndarray, val: np.ndarray, val_labels: np.ndarray
) -> float:
    mean, deviation = train.mean(0), train.std(0)
    train, val = (train - mean) / deviation, (val - mean) / deviation
    centroids = np.stack([train[train_labels == label].mean(0) for label in range(6)])
    nearest = ((val[:, None] - centroids) ** 2).sum(-1).argmin(1)
    return float((nearest == val_labels).mean())


def test_only_colour_and_structure_together_tell_the_classes_apart(tmp_path: Path) -> None:
    root = ensure_sample_set(SampleConfig(20, 20, long_side_px=200), cache=tmp_path)
    features: list[np.ndarray] = []
    labels: list[np.ndarray] = []
    for split in "train", "val":
        folder = discover(root / split)
        rows = []
        for file in folder.files:
            with Image.open(folder.root / file.path) as image:
                half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
            rgb = np.asarray(half, np.float64) / 255
            rows.append(np.concatenate([colour_features(rgb), structure_features(rgb)]))
        features.append(np.array(rows))
        labels.append(np.array([file.label for file in folder.files]))

    def accuracy(columns: slice) -> float:
        train, val = (rows[:, columns] for rows in features)
        return nearest_centroid_accuracy(train, labels[0], val, labels[1])

    colour, structure, both = accuracy(slice(0, 3)), accuracy(slice(3, 5)), accuracy(slice(0, 5))
    assert colour < 0.4  # two groups of three classes: at best 1/3, and luck
    assert structure < 0.6  # three groups of two classes: at best 1/2, and luck
    assert both > 0.8


def test_a_temporary_folder_may_vanish_while_it_is_looked_at(tmp_path: Path) -> None:
    """What another process's clean-up does between the listing and the look."""
    (tmp_path / f"{sample.TEMPORARY_PREFIX}gone").symlink_to("nowhere")
    folder = ensure_sample_set(SampleConfig(1, 1, 64), cache=tmp_path, workers=1)
    assert folder.is_dir()
