"""What is in an ImageFolder: its classes, its images, and what was left out and why.

The rules, which agree with torchvision's `ImageFolder` where that has one:

* Classes are the visible folders directly under the root, in the order of Python's string sort.
  An empty class keeps its label, so that labels always agree with the listing of the folder.
* Files anywhere below a class folder belong to that class, in the order of their sorted paths.
* A file is taken for an image by its ending (`IMAGE_SUFFIXES`, in any case); what it really holds
  is found out when it is read.
* Links to files and folders are followed. A link to a folder that it lies in is not.
* Names are bytes: those that are not UTF-8 are kept in the form of `os.fsdecode`.
* Left out, each with its reason: hidden files and folders (a leading dot), files directly under the
  root, files with another ending, broken links, folders without read permission, and whatever is
  no regular file (a FIFO, a socket, a device: never opened).
* A folder that the system fails to list (a lost share, a failing disk) ends the listing with a
  StorageError: to go on without it would drop its images and change labels without a word.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dl2cli.errors import DataError, UsageError, is_file_fault, system_failure

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif",
    ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm",
})
# fmt: on
SPLIT_NAMES = ("train", "val", "valid", "validation", "test")

# Links to folders can multiply paths without end (40 levels of two links each are 2**40 paths),
# so the count of names is bounded before their memory is taken; the largest ImageFolders in use
# (ImageNet-21k) hold 14 million.
MAX_ENTRIES = 50_000_000

HIDDEN = "hidden (its name starts with a dot)"
NO_CLASS = "not in a class folder"
NO_IMAGE_ENDING = "not an image by its ending"
BROKEN_LINK = "a broken link"
LINK_CYCLE = "a link to a folder that it lies in"
NOT_REGULAR = "not a regular file"

_EXPECTED = "expected one folder a class, each with its images, as in SOURCE/cat/1.jpg"


@dataclass(frozen=True, slots=True)
class ImageFile:
    """An image: `path` is relative to the root, in the form of `os.fsdecode`."""

    path: str
    label: int


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file or folder that was left out: `path` is relative to the root."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """The listing of an ImageFolder: `classes[label]` is the name of a label."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]
    ignored: tuple[IgnoredFile, ...]

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of the class names and of each image's path and label.

        It changes when a class or an image comes, goes or is renamed; not with the root's place,
        the content of the images, or what is ignored. No name holds a NUL or is empty, so no two
        listings hash the same bytes.
        """
        digest = hashlib.sha256()
        for name in self.classes:
            digest.update(os.fsencode(name) + b"\0")
        digest.update(b"\0")
        for file in self.files:
            digest.update(b"%b\0%d\0" % (os.fsencode(file.path), file.label))
        return digest.hexdigest()


def find_splits(root: Path) -> dict[str, Path]:
    """Return the ImageFolders under `root` by the name of their split, train first.

    A root whose visible folders all have the name of a split (`SPLIT_NAMES`), with a `train` among
    them that holds folders, is a dataset in splits; any other is one ImageFolder: `{"": root}`.

    Raises:
        UsageError: `root` is not there or is no folder.
        StorageError: `root` cannot be read.
    """
    names = class_names(root)
    if "train" in names and set(names) <= set(SPLIT_NAMES) and class_names(root / "train"):
        return {name: root / name for name in SPLIT_NAMES if name in names}
    return {"": root}


def union_classes(roots: Iterable[Path]) -> tuple[str, ...]:
    """Return the sorted names of the classes of all `roots`, so that splits can share labels."""
    return tuple(sorted({name for root in roots for name in class_names(root)}))


def class_names(root: Path) -> tuple[str, ...]:
    """Return the names of the visible folders directly under `root`, sorted.

    Raises:
        UsageError: `root` is not there or is no folder.
        StorageError: `root` cannot be read.
    """
    folders, _ = _split_root(root)
    return tuple(folders)


def discover(root: Path, classes: Sequence[str] | None = None) -> ImageFolder:
    """List the ImageFolder at `root`; the rules are in this module's docstring.

    No file is opened, and only links and folders are stat'ed. Time and memory are linear in the
    number of names, about 200 bytes of memory an image.

    Args:
        root: The folder that holds one folder a class.
        classes: The names of the labels, for a split that shares them with another one; without
            it they are the class folders of `root`.

    Raises:
        UsageError: `root` is not there or is no folder.
        StorageError: `root` cannot be read.
        DataError: There is no class folder or no image, a class folder is not in `classes`, or
            there are more than `MAX_ENTRIES` names.
    """
    folders, loose = _split_root(root)
    if not folders:
        raise DataError(f"{root} holds no class folders: {_EXPECTED}.")
    names = tuple(folders if classes is None else classes)
    labels = {name: label for label, name in enumerate(names)}
    for name in folders:
        if name not in labels:
            raise DataError(
                f"{root} holds the class folder {name!r}, which is none of the {len(names)} "
                "classes of this dataset: rename or remove it, or convert the splits together."
            )
    walk = _Walk(root, ignored=loose)
    files: list[ImageFile] = []
    for name in folders:
        files += [ImageFile(path, labels[name]) for path in walk.images(name)]
    if not files:
        raise DataError(f"{root} holds no images: {_EXPECTED}.")
    ignored = sorted(walk.ignored, key=lambda file: file.path)
    return ImageFolder(root, names, tuple(files), tuple(ignored))


def _split_root(root: Path) -> tuple[list[str], list[IgnoredFile]]:
    """Return the sorted names of the class folders, and what else lies directly under the root."""
    folders: list[str] = []
    loose: list[IgnoredFile] = []
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                kind = _kind(entry)
                if kind == _FOLDER:
                    folders.append(entry.name)
                else:
                    loose.append(IgnoredFile(entry.name, NO_CLASS if kind == _FILE else kind))
    except FileNotFoundError:
        raise UsageError(f"{root} does not exist.") from None
    except NotADirectoryError:
        raise UsageError(f"{root} is not a folder.") from None
    except OSError as error:
        raise system_failure(error.filename or root, error) from error
    return sorted(folders), loose


_FILE, _FOLDER = "file", "folder"


def _kind(entry: os.DirEntry[str]) -> str:
    """Return `_FILE` or `_FOLDER`, or the reason to leave the entry out."""
    if entry.name.startswith("."):
        return HIDDEN
    # For anything but a link the answer is in the folder itself, without a stat a file.
    if entry.is_file(follow_symlinks=False):
        return _FILE
    if entry.is_dir(follow_symlinks=False):
        return _FOLDER
    if not entry.is_symlink():
        return NOT_REGULAR
    try:
        mode = entry.stat().st_mode
    except FileNotFoundError:
        return BROKEN_LINK
    except OSError as error:
        if not is_file_fault(error):
            raise
        return f"{BROKEN_LINK} ({error.strerror})"
    if stat.S_ISDIR(mode):
        return _FOLDER
    return _FILE if stat.S_ISREG(mode) else NOT_REGULAR


@dataclass(slots=True)
class _Walk:
    """Walks class folders without recursion (paths can be 2,000 levels deep)."""

    root: Path
    ignored: list[IgnoredFile]
    entries: int = 0
    _pending: list[tuple[str, frozenset[tuple[int, int]]]] = field(default_factory=list)

    def images(self, name: str) -> list[str]:
        """Return the sorted paths of the images below the class folder `name`."""
        found: list[str] = []
        self._pending.append((name, frozenset([_identity(self.root)])))
        while self._pending:
            folder, above = self._pending.pop()
            try:
                found.extend(self._read(folder, above))
            except OSError as error:
                if not is_file_fault(error):
                    raise system_failure(error.filename or self.root / folder, error) from error
                self.ignored.append(IgnoredFile(folder, f"cannot be read: {error.strerror}"))
        found.sort()
        return found

    def _read(self, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        """Yield the images directly in `folder`, and put its folders on the list."""
        full = Path(self.root, folder)
        identity = _identity(full)
        if identity in above:
            self.ignored.append(IgnoredFile(folder, LINK_CYCLE))
            return
        above |= {identity}
        with os.scandir(full) as entries:
            for entry in entries:
                self._count()
                path = f"{folder}/{entry.name}"
                kind = _kind(entry)
                if kind == _FOLDER:
                    self._pending.append((path, above))
                elif kind != _FILE:
                    self.ignored.append(IgnoredFile(path, kind))
                elif _is_image(entry.name):
                    yield path
                else:
                    self.ignored.append(IgnoredFile(path, NO_IMAGE_ENDING))

    def _count(self) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise DataError(
                f"{self.root} holds more than {MAX_ENTRIES:,} files: convert it in parts, and look "
                "for links that lead to the same folders again and again."
            )


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - 5 times as fast


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
