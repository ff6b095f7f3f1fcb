"""Splits of a dataset (train, val, ...): which folders are splits, and which only look like them.

Taking a split for a class is the worst mistake: every label is wrong, and nothing fails. So a
folder whose layout has only one sensible meaning is read in that way, and one that would give wrong
labels is refused with the path that was probably meant.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dl2cli.dataset.discovery import class_names, holds_images, read_root
from dl2cli.errors import UsageError

SPLIT_NAMES: Final = ("train", "val", "valid", "validation", "test")
# What people call such folders: Train, TRAINING, Testing, train_set, test-images, ...
_SPLIT_FOLDER: Final = re.compile(
    r"(train|val|valid|validation|test)(?:ing)?(?:[-_ ]?(?:set|data|images|split))?", re.IGNORECASE
)
_TRAIN: Final = "train"
_FIRST_FOLDERS: Final = 5  # that are looked into: there may be thousands of classes
_MOST_LOOSE: Final = 100  # files beside the class folders of a split; more make it a class


def find_splits(root: Path, *, labels: bool = True) -> dict[str, Path]:
    """Return the ImageFolders under `root` by the name of their split, train first.

    A root whose visible folders all have names of splits, in any case, is a dataset in splits if
    one of them holds class folders. Folders beside them that hold no images at all (annotations)
    are left out. Any other root is one ImageFolder: `{"": root}`.

    Args:
        root: the folder.
        labels: whether splits without class folders are refused, because they give no labels.

    Raises:
        UsageError: `root` does not exist or is not a folder; or its layout would give wrong
            labels, and the message says what to name instead.
        StorageError: `root` cannot be read.
    """
    names = class_names(root)
    splits = _named_like_splits(root, names)
    labelled = [split for split, name in splits.items() if class_names(root / name)]
    if not labelled:
        if labels:
            _refuse_unlabelled(root, names, splits)
        _refuse_datasets(root, names)
        return {"": root}
    others = [name for name in names if name not in splits.values()]
    if not any(holds_images(root, name) for name in others):
        return {split: root / splits[split] for split in SPLIT_NAMES if split in splits}
    if all(_has_images_directly(root / splits[split]) for split in labelled):
        return {"": root}  # classes of things that are called so: a train, a test
    if len(labelled) == 1 and not any(
        _is_like(root / name, root / splits[labelled[0]]) for name in others
    ):
        return {"": root}
    beside = next(name for name in others if holds_images(root, name))
    example = root / splits[labelled[0]]
    raise UsageError(
        f"{root} holds {_listed([splits[split] for split in labelled])}, which look like splits of "
        f"a dataset, beside {beside}, which holds images: as classes, all labels would be wrong. "
        f"Move {beside} elsewhere, or name one split, such as {example}."
    )


def union_classes(roots: Iterable[Path]) -> tuple[str, ...]:
    """Return the sorted names of the classes of all `roots`, so that splits can share labels."""
    return tuple(sorted({name for root in roots for name in class_names(root)}))


def _named_like_splits(root: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the folders that are named like splits, by the name of the split."""
    splits: dict[str, str] = {}
    for name in names:
        split = _split_of(name)
        if split is None:
            continue
        if split in splits:
            raise UsageError(
                f"{root} holds {splits[split]} and {name}, and both look like the split {split}: "
                "move one elsewhere."
            )
        splits[split] = name
    return splits


def _split_of(folder: str) -> str | None:
    """Return the split that a folder is named after, if any."""
    match = _SPLIT_FOLDER.fullmatch(folder)
    return match[1].lower() if match else None


def _refuse_unlabelled(root: Path, names: tuple[str, ...], splits: dict[str, str]) -> None:
    """Refuse splits that hold images without classes: they would become the classes."""
    if _TRAIN in splits and len(splits) == len(names) > 1:
        raise UsageError(
            f"{root} holds {_listed(list(splits.values()))}, which look like splits of a dataset, "
            "but no class folders in them, so their images have no labels: sort the images into "
            f"folders such as {root / splits[_TRAIN] / 'CLASS'}."
        )


def _refuse_datasets(root: Path, names: tuple[str, ...]) -> None:
    """Refuse a folder around a dataset or several, whose names would become the classes."""
    for name in names[:_FIRST_FOLDERS]:
        folder = root / name
        if not _is_in_splits(folder):
            continue
        if len(names) == 1:
            raise UsageError(
                f"{root} holds only the folder {name}, and that holds a dataset in splits: name "
                f"{folder} instead."
            )
        raise UsageError(f"{root} holds several datasets; name one of them, such as {folder}.")


def _is_in_splits(folder: Path) -> bool:
    """Tell whether a folder holds a training split with class folders and little else."""
    names, loose = read_root(folder, most_loose=_MOST_LOOSE)
    if len(loose) > _MOST_LOOSE:
        return False
    train = [name for name in names if _split_of(name) == _TRAIN]
    return any(class_names(folder / name) for name in train)


def _has_images_directly(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(entry.is_file() and holds_images(folder, entry.name) for entry in entries)


def _is_like(folder: Path, split: Path) -> bool:
    """Tell whether a folder could be more of a split: it holds images, or the same classes."""
    if _has_images_directly(folder):
        return True
    return not set(class_names(folder)).isdisjoint(class_names(split))


def _listed(names: list[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
