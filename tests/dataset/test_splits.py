"""Splits of a dataset are told from its classes, or refused; labels are never silently wrong."""

from pathlib import Path

import pytest

from dl2cli.dataset.discovery import class_names, discover
from dl2cli.dataset.splits import find_splits, union_classes
from dl2cli.errors import DataError, UsageError


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_given_classes_set_the_labels(tmp_path: Path) -> None:
    touch(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "train/c/3.jpg", "val/c/4.jpg", "val/d/5.jpg")
    splits = find_splits(tmp_path)
    assert splits == {"train": tmp_path / "train", "val": tmp_path / "val"}
    assert list(splits) == ["train", "val"]
    classes = union_classes(splits.values())
    assert classes == ("a", "b", "c", "d")
    val = discover(splits["val"], classes)
    assert val.classes == classes
    assert [(f.path, f.label) for f in val.files] == [("c/4.jpg", 2), ("d/5.jpg", 3)]
    with pytest.raises(DataError, match="class folder 'd', which is not among the 3 classes"):
        discover(splits["val"], class_names(splits["train"]))


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train/a/1.jpg"], ["train"]),
        (["train/a/1.jpg", "test/a/1.jpg", "valid/a/1.jpg", "README"], ["train", "valid", "test"]),
        (["train/a/1.jpg", ".cache/x"], ["train"]),
        (["train/a/1.jpg", "plane/b/1.jpg"], [""]),
        (["plane/1.jpg", "train/1.jpg", "train/old/2.jpg"], [""]),
        (["val/a/1.jpg"], ["val"]),
        (
            ["train/a/1.jpg", "val/a/1.jpg", "__MACOSX/train/a/._1.jpg", "lost+found/"],
            ["train", "val"],
        ),
        (
            ["train/a/1.jpg", "val/a/1.jpg", "annotations/a.xml", "annotations/b/c.xml"],
            ["train", "val"],
        ),
        (["train/a/1.jpg", "test/1.jpg"], ["train", "test"]),
        (["data/cat/1.jpg", "data/dog/1.jpg"], [""]),
    ],
)
def test_find_splits(tmp_path: Path, names: list[str], splits: list[str]) -> None:
    touch(tmp_path, *names)
    assert find_splits(tmp_path) == {name: tmp_path / name for name in splits}


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("Train", "Test"), ("train", "test")),
        (("TRAIN", "VAL"), ("train", "val")),
        (("Training", "Testing"), ("train", "test")),
        (("train_set", "test-images"), ("train", "test")),
        (("training_set", "Validation"), ("train", "validation")),
    ],
)
def test_splits_are_known_in_any_case(
    tmp_path: Path, folders: tuple[str, ...], splits: tuple[str, ...]
) -> None:
    for folder in folders:
        touch(tmp_path, f"{folder}/cat/1.jpg", f"{folder}/dog/1.jpg")
    found = dict(zip(splits, (tmp_path / folder for folder in folders), strict=True))
    assert find_splits(tmp_path) == found


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["in/train/a/1.jpg", "in/val/a/1.jpg"], "holds only the folder in, .*/in instead"),
        (["__MACOSX/x", "in/Training/a/1.jpg"], "holds only the folder in"),
        (["x/train/a/1.jpg", "y/train/b/1.jpg"], "several datasets; name one of them, .*/x"),
        (["train/a/1.jpg", "val/a/1.jpg", "more/1.jpg"], "train and val, which look like splits"),
        (["train/a/1.jpg", "unlabelled/1.jpg"], "beside unlabelled, which holds images"),
        (["train/a/1.jpg", "extra/a/1.jpg"], "beside extra, which holds images"),
        (["train/1.jpg", "val/2.jpg"], "their images have no labels"),
        (["train/a/1.jpg", "Train/a/1.jpg"], "both look like the split train"),
    ],
)
def test_a_layout_that_would_give_wrong_labels_is_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match=message):
        find_splits(tmp_path)


def test_splits_without_classes_do_where_labels_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "val/2.jpg")
    assert find_splits(tmp_path, labels=False) == {"": tmp_path}


@pytest.mark.parametrize(
    ("names", "warnings"),
    [
        (["a/1.jpg", "b/2.jpg"], []),
        (["a/images/1.jpg", "b/images/1.jpg"], []),  # as in Tiny ImageNet
        (["a/x/1.jpg", "b/y/1.jpg", "b/2.jpg"], []),
        (["a/1.jpg", "b/", "c/notes.txt"], ["no images of 2 of its 3 classes: 'b', 'c'."]),
        (["data/cat/1.jpg", "data/dog/1.jpg"], ["one label, 'data': the folders in it (cat, dog)"]),
        (["one/1.jpg"], []),
        (
            ["fold1/cat/1.jpg", "fold1/dog/1.jpg", "fold2/cat/1.jpg"],
            ["fold1, fold2; each holds only folders (cat, dog)"],
        ),
    ],
)
def test_labels_that_look_like_a_mistake_are_told(
    tmp_path: Path, names: list[str], warnings: list[str]
) -> None:
    touch(tmp_path, *names)
    found = discover(tmp_path).warnings
    assert len(found) == len(warnings)
    for sentence, part in zip(found, warnings, strict=True):
        assert part in sentence


def test_system_folders_are_left_out_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "__MACOSX/cat/2.jpg", "cat/1.jpg", "cat/@eaDir/1.jpg", "$RECYCLE.BIN/3.jpg")
    folder = discover(tmp_path)
    assert folder.classes == ("cat",)
    assert [file.path for file in folder.files] == ["cat/1.jpg"]
    assert {file.path for file in folder.ignored} == {"__MACOSX", "$RECYCLE.BIN", "cat/@eaDir"}


def test_a_folder_of_other_files_says_what_was_seen(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.mp4", "a/2.MP4", "b/notes.txt")
    with pytest.raises(DataError, match=r"other files \(2 \.mp4, 1 \.txt\)"):
        discover(tmp_path)


def test_files_that_need_a_plug_in_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dl2cli.dataset import discovery, pixels

    touch(tmp_path, "a/1.heic", "a/2.HEIC")
    for formats, readable in ((pixels.FORMATS, False), ((*pixels.FORMATS, "HEIF"), True)):
        discovery._plugin_reason.cache_clear()
        monkeypatch.setattr(pixels, "readable_formats", lambda formats=formats: formats)
        if readable:
            assert len(discover(tmp_path).files) == 2
        else:
            with pytest.raises(DataError, match=r"2 \.heic.*HEIF: install pillow-heif"):
                discover(tmp_path)
    discovery._plugin_reason.cache_clear()
