"""What lies at a path: an ImageFolder, a PCR dataset, splits of either, or loose images.

    location = locate(Path("photos"))
    location.train          # Split("train", Path("photos/train"), DatasetKind.PCR)
    location.validation     # the first other split, or None

Every command asks here, so that all of them understand a path in the same way. Which loader reads
what was found is answered in `dl2cli.loaders.registry`.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from dl2cli.dataset.discovery import IMAGE_SUFFIXES, class_names
from dl2cli.dataset.splits import SPLIT_NAMES, find_splits
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.stores.local_copy import local_copy
from dl2cli.stores.path import StorePath, dataset_path

PCR_INDEX: Final = "PCR.db"  # the file that makes a folder a PCR dataset
_TRAIN: Final = SPLIT_NAMES[0]
_SHOWN: Final = 5  # names in a message


class DatasetKind(StrEnum):
    """The kinds of dataset; the values are the names for the user."""

    IMAGE_FOLDER = "ImageFolder"
    PCR = "PCR dataset"
    LOOSE_IMAGES = "folder of images"  # images directly in it, without classes


@dataclass(frozen=True)
class Split:
    """One dataset.

    Attributes:
        name: "train", "val", ...; empty for a dataset that is not part of a folder of splits.
        path: its folder.
        kind: what it is.
    """

    name: str
    path: Path
    kind: DatasetKind


@dataclass(frozen=True)
class DatasetLocation:
    """What lies at a path.

    Attributes:
        root: the path.
        splits: its datasets, train first, then in the order of `SPLIT_NAMES`; at least one. A
            training set of one kind may lie beside a validation set of the other.
    """

    root: Path
    splits: tuple[Split, ...]

    @property
    def train(self) -> Split:
        """The training images. Raises UsageError where there are only other splits."""
        first = self.splits[0]
        if first.name in ("", _TRAIN):
            return first
        raise UsageError(
            f"{self.root} has no {_TRAIN}/, only {', '.join(split.name for split in self.splits)}: "
            f"name one of them, such as {first.path}."
        )

    @property
    def validation(self) -> Split | None:
        """The validation images: the first split that is not the training set, if there is one."""
        return next((split for split in self.splits if split.name not in ("", _TRAIN)), None)

    def of_kind(self, kind: DatasetKind) -> tuple[Split, ...]:
        """Return the splits of one kind."""
        return tuple(split for split in self.splits if split.kind is kind)


def is_pcr_dataset(folder: Path) -> bool:
    """Tell whether a folder holds the index of a PCR dataset. Raises StorageError.

    The index of a dataset in a store is fetched for that, unless a copy of it is there.
    """
    file = folder / PCR_INDEX
    if isinstance(file, StorePath):
        return local_copy(file) is not None
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StorageError(f"{file} cannot be read: {error.strerror}.") from error


def locate(root: Path, *, loose_images: bool = False) -> DatasetLocation:
    """Find out what lies at a path.

    No image is opened. The root is listed, and of a folder of splits each split; in a store nothing
    is listed, and only PCR datasets are found.

    Args:
        root: the path that the user names.
        loose_images: accept images without labels: a folder with images directly in it, or splits
            of such folders.

    Raises:
        UsageError: there is nothing at `root`, or nothing that is a dataset; the message says what
            is there instead.
        StorageError: the system refuses to read it.
    """
    root = dataset_path(root)
    if isinstance(root, StorePath):
        return _locate_in_store(root)
    if not os.path.lexists(root):
        raise UsageError(f"There is no {root}{_nearby(root)}.")
    if is_pcr_dataset(root):
        return DatasetLocation(root, (Split("", root, DatasetKind.PCR),))
    folders = {name: root / name for name in SPLIT_NAMES}
    found = {
        name: Split(name, path, DatasetKind.PCR)
        for name, path in folders.items()
        if is_pcr_dataset(path)
    }
    if _TRAIN in found:  # the class folders of plain validation images may lie beside it
        plain = {
            name: path for name, path in folders.items() if path.is_dir() and class_names(path)
        }
    else:
        plain = find_splits(root, labels=not loose_images)
    if "" in plain and not found:
        return DatasetLocation(root, (_single(root, loose_images=loose_images),))
    for name in plain.keys() - {""}:
        found.setdefault(name, Split(name, plain[name], DatasetKind.IMAGE_FOLDER))
    return DatasetLocation(root, tuple(sorted(found.values(), key=_rank)))


def folders_to_convert(root: Path) -> dict[str, Path]:
    """Return the ImageFolders at a path by the names of their splits; "" for one without splits.

    Raises:
        UsageError: as `locate`; or there is a PCR dataset, which is converted already.
        DataError: a split holds no class folders.
        StorageError: the system refuses to read it.
    """
    if root.is_dir() and not class_names(root) and not is_pcr_dataset(root):
        return {"": root}  # `discover` says what it lacks
    splits = locate(root).splits
    for split in splits:
        if split.kind is DatasetKind.PCR:
            raise UsageError(
                f"{split.path} is a PCR dataset: dl2 extract makes an ImageFolder of it, and "
                "dl2 copy copies it, also with fewer scans."
            )
        if not class_names(split.path):
            raise DataError(
                f"{split.path} holds no class folders, so it has no labels: move it out of "
                f"{root}, or convert the other splits one by one."
            )
    return {split.name: split.path for split in splits}


def _locate_in_store(root: StorePath) -> DatasetLocation:
    """Find PCR datasets by their indexes alone: nothing is listed, and each costs one request."""
    refused: StorageError | None = None
    try:
        if is_pcr_dataset(root):
            return DatasetLocation(root, (Split("", root, DatasetKind.PCR),))
    except StorageError as error:
        # Who may not list a bucket is refused what is not there: its splits may be.
        if not isinstance(error.__cause__, PermissionError):
            raise
        refused = error
    with contextlib.suppress(StorageError) if refused else contextlib.nullcontext():
        found = [
            Split(name, root / name, DatasetKind.PCR)
            for name in SPLIT_NAMES
            if is_pcr_dataset(root / name)
        ]
        if found:
            return DatasetLocation(root, tuple(found))
    if refused is not None:
        raise refused
    raise UsageError(
        f"{root} holds no PCR dataset: there is no {PCR_INDEX} there, nor in {_TRAIN}/ or another "
        "split below it. Only PCR datasets are read from a store."
    )


def _rank(split: Split) -> int:
    return SPLIT_NAMES.index(split.name) if split.name in SPLIT_NAMES else len(SPLIT_NAMES)


def _single(root: Path, *, loose_images: bool) -> Split:
    """Return the one dataset at `root`, which is neither a PCR dataset nor has splits."""
    classes = class_names(root)
    if classes:
        _check_is_one(root, classes)
        return Split("", root, DatasetKind.IMAGE_FOLDER)
    if loose_images and _holds_images(root):
        return Split("", root, DatasetKind.LOOSE_IMAGES)
    expected = "a PCR dataset (PCR.db), one folder a class, or train/ and val/ of either kind"
    if loose_images:
        expected = f"images, {expected}"
    raise UsageError(f"{root} holds no dataset: expected {expected}{_listing(root)}.")


def _check_is_one(root: Path, classes: tuple[str, ...]) -> None:
    """Refuse a folder of PCR datasets; `find_splits` refuses folders of ImageFolders.

    Only the first folders are looked at: there may be thousands of classes.
    """
    for name in classes[:_SHOWN]:
        path = root / name
        if is_pcr_dataset(path):
            raise UsageError(f"{root} holds several datasets; name one of them, such as {path}.")


def _holds_images(root: Path) -> bool:
    try:
        with os.scandir(root) as entries:
            return any(
                Path(entry.name).suffix.lower() in IMAGE_SUFFIXES and not entry.name.startswith(".")
                for entry in entries
            )
    except OSError as error:
        raise StorageError(f"{root} cannot be read: {error.strerror}.") from error


def _nearby(path: Path) -> str:
    """Return a phrase about what exists near a path that does not."""
    parent = path.parent
    missing = path.name
    while not parent.exists() and parent != parent.parent:
        missing, parent = parent.name, parent.parent
    names = _names(parent)
    alike = difflib.get_close_matches(missing, names, n=1, cutoff=0.6)
    if alike:
        return f"; there is {parent / alike[0]}"
    return f"; {parent} {_content(names)}" if names else ""


def _listing(folder: Path) -> str:
    names = _names(folder)
    return f"; it {_content(names)}" if names else "; it is empty"


def _content(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"holds {', '.join(names[:_SHOWN])}{more}"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except OSError:
        return []
