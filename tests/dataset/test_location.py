"""What lies at a path: kinds, splits, and what is said where there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from dl2cli.dataset.location import PCR_INDEX, DatasetKind, Split, is_pcr_dataset, locate
from dl2cli.errors import StorageError, UsageError

FOLDER, PCR, LOOSE = DatasetKind.IMAGE_FOLDER, DatasetKind.PCR, DatasetKind.LOOSE_IMAGES


def make(root: Path, *files: str) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def kinds(root: Path) -> list[tuple[str, DatasetKind]]:
    return [(split.name, split.kind) for split in locate(root).splits]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["cat/1.jpg", "dog/2.png"], [("", FOLDER)]),
        ([PCR_INDEX, "PCR_0.db"], [("", PCR)]),
        (["val/cat/1.jpg", "train/cat/2.jpg"], [("train", FOLDER), ("val", FOLDER)]),
        ([f"test/{PCR_INDEX}", f"train/{PCR_INDEX}"], [("train", PCR), ("test", PCR)]),
        ([f"train/{PCR_INDEX}", "val/cat/1.jpg"], [("train", PCR), ("val", FOLDER)]),
        (["train/cat/1.jpg", f"val/{PCR_INDEX}"], [("train", FOLDER), ("val", PCR)]),
        ([f"val/{PCR_INDEX}"], [("val", PCR)]),
        ([f"train/{PCR_INDEX}", "notes/a.txt"], [("train", PCR)]),
    ],
)
def test_kinds_and_splits(tmp_path, files, expected):
    assert kinds(make(tmp_path, *files)) == expected
    for split in locate(tmp_path).splits:
        assert split.path == (tmp_path / split.name if split.name else tmp_path)
        assert is_pcr_dataset(split.path) == (split.kind is PCR)


def test_training_and_validation_images(tmp_path):
    make(tmp_path, "train/cat/1.jpg", "valid/cat/2.jpg", "test/cat/3.jpg")
    location = locate(tmp_path)
    assert location.train == Split("train", tmp_path / "train", FOLDER)
    assert location.validation == Split("valid", tmp_path / "valid", FOLDER)
    assert location.of_kind(PCR) == ()
    alone = locate(tmp_path / "train")
    assert alone.train == Split("", tmp_path / "train", FOLDER)
    assert alone.validation is None


def test_without_training_images_the_other_splits_are_named(tmp_path):
    location = locate(make(tmp_path, f"val/{PCR_INDEX}", f"test/{PCR_INDEX}"))
    assert location.validation == Split("val", tmp_path / "val", PCR)
    with pytest.raises(UsageError, match=r"has no train/, only val, test: .* such as .*/val\."):
        _ = location.train


def test_loose_images_where_they_are_asked_for(tmp_path):
    make(tmp_path, "a.JPG")
    assert locate(tmp_path, loose_images=True).splits == (Split("", tmp_path, LOOSE),)
    with pytest.raises(UsageError, match=r"holds no dataset: .*; it holds a\.JPG\."):
        locate(tmp_path)
    make(tmp_path, "cat/1.jpg")
    assert locate(tmp_path, loose_images=True).train.kind is FOLDER


def test_what_is_no_dataset(tmp_path):
    for loose in (False, True):
        with pytest.raises(UsageError, match=r"holds no dataset: .*; it is empty\."):
            locate(tmp_path, loose_images=loose)
    make(tmp_path, "notes.txt")
    with pytest.raises(UsageError, match=r"it holds notes\.txt\."):
        locate(tmp_path, loose_images=True)
    with pytest.raises(UsageError, match="is not a folder"):
        locate(tmp_path / "notes.txt")
    with pytest.raises(UsageError, match=r"There is no .*/nots\.txt; there is .*/notes\.txt\."):
        locate(tmp_path / "nots.txt")
    with pytest.raises(UsageError, match=r"There is no .*; .* holds notes\.txt\."):
        locate(tmp_path / "photographs" / "2024")


def test_a_folder_of_datasets_is_no_dataset(tmp_path):
    make(tmp_path, "photos/train/cat/1.jpg", "photos/val/cat/1.jpg", f"records/{PCR_INDEX}")
    with pytest.raises(UsageError, match=r"several datasets; name one of them, such as .*/photos"):
        locate(tmp_path)


def test_what_the_system_refuses_is_no_answer(tmp_path):
    name = "x" * 300  # longer than any file name: ENAMETOOLONG, whoever runs this
    with pytest.raises(StorageError, match="cannot be read"):
        is_pcr_dataset(tmp_path / name)
