"""What is in an ImageFolder: its classes, its images, and what was left out and why.

The rules, which agree with torchvision's `ImageFolder` where that has one:

* Classes are the visible folders directly under the root, in the order of Python's string sort.
  An empty class keeps its label, so that labels always agree with the listing of the folder.
* Files anywhere below a class folder belong to that class, in the order of their sorted paths.
* A file is taken for an image by its ending (`IMAGE_SUFFIXES`, in any case); what it really holds
  is found out when it is read. HEIC, AVIF and JPEG XL count where Pillow has a plug-in for them.
* Links to files and folders are followed, except a link to a folder that contains it.
* Names are bytes: those that are not UTF-8 are kept in the form of `os.fsdecode`.
* Left out, each with its reason: hidden files and folders (a leading dot), folders of the operating
  system (`SYSTEM_FOLDERS`: what a Mac adds to a zip file, lost+found), files directly under the
  root, files with another ending, broken links, folders without read permission, and everything
  that is not a regular file (a FIFO, a socket, a device: never opened).
* A folder that the system fails to list (a lost share, a failing disk) ends the listing with a
  StorageError: to go on without it would drop its images and change labels without a word.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dl2cli.errors import DataError, UsageError, is_file_fault, system_failure

# fmt: off
JPEG_SUFFIXES = frozenset({".jpg", ".jpeg", ".jpe", ".jfif"})
IMAGE_SUFFIXES = JPEG_SUFFIXES | frozenset({
    ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm",
    ".jp2", ".j2k", ".jpx",
})
# Endings that only a plug-in of Pillow reads, and the format that `readable_formats` names then.
_PLUGIN_SUFFIXES = {
    ".heic": "HEIF", ".heif": "HEIF", ".hif": "HEIF", ".avif": "AVIF", ".jxl": "JXL",
}
# What operating systems and NAS boxes put into folders; compared in lower case.
SYSTEM_FOLDERS = frozenset({
    "__macosx", "lost+found", "system volume information", "$recycle.bin", "recycler", "found.000",
    "@eadir", "@tmp", "#recycle", "#snapshot",
})

# fmt: on
# Links to folders can multiply paths without end (40 levels of two links each are 2**40 paths),
# so the count of names is bounded before their memory is taken; the largest ImageFolders in use
# (ImageNet-21k) hold 14 million.
MAX_ENTRIES = 50_000_000

HIDDEN = "hidden (its name starts with a dot)"
NO_CLASS = "not in a class folder"
NO_IMAGE_ENDING = "not an image by its ending"
_FILE, _FOLDER = "file", "folder"
NO_PLUGIN = "there is no plug-in to read"
BROKEN_LINK = "a broken link"
LINK_CYCLE = "a link to a folder that it lies in"
NOT_REGULAR = "not a regular file"
SYSTEM_FOLDER = "a folder of the operating system"

_SHOWN = 5  # names in a message
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
    """The listing of an ImageFolder: `classes[label]` is the name of a label.

    `warnings` are sentences about labels that are probably not what was meant.
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[ImageFile, ...]
    ignored: tuple[IgnoredFile, ...]
    warnings: tuple[str, ...] = ()

    def jpegs(self) -> list[Path]:
        """Return the paths of the files that have the ending of a JPEG, in any case."""
        paths = [self.root / file.path for file in self.files]
        return [path for path in paths if path.suffix.lower() in JPEG_SUFFIXES]

    def fingerprint(self) -> str:
        """Return a SHA-256 (hex) of the class names and of each image's path and label.

        It changes when a class or an image is added, removed or renamed. It does not depend on
        where the root is, on the content of the images, or on what is ignored. No name holds a NUL
        or is empty, so no two listings hash the same bytes.
        """
        digest = hashlib.sha256()
        for name in self.classes:
            digest.update(os.fsencode(name) + b"\0")
        digest.update(b"\0")
        for file in self.files:
            digest.update(b"%b\0%d\0" % (os.fsencode(file.path), file.label))
        return digest.hexdigest()


def class_names(root: Path) -> tuple[str, ...]:
    """Return the names of the visible folders directly under `root`, sorted.

    Raises:
        UsageError: `root` does not exist or is not a folder.
        StorageError: `root` cannot be read.
    """
    folders, _ = read_root(root)
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
        UsageError: `root` does not exist or is not a folder.
        StorageError: `root` cannot be read.
        DataError: There is no class folder or no image, a class folder is not in `classes`, or
            there are more than `MAX_ENTRIES` names.
    """
    folders, loose = read_root(root)
    if not folders:
        raise DataError(f"{root} holds no class folders: {_EXPECTED}.")
    names = tuple(folders if classes is None else classes)
    labels = {name: label for label, name in enumerate(names)}
    for name in folders:
        if name not in labels:
            raise DataError(
                f"{root} holds the class folder {name!r}, which is not among the {len(names)} "
                "classes of this dataset: rename or remove it, or convert the splits together."
            )
    walk = _Walk(root, ignored=loose)
    files: list[ImageFile] = []
    for name in folders:
        files += [ImageFile(path, labels[name]) for path in walk.images(name)]
    if not files:
        raise DataError(f"{root} holds no images: {_EXPECTED}{_seen(walk.ignored)}.")
    ignored = sorted(walk.ignored, key=lambda file: file.path)
    warnings = tuple(_warnings(root, names, files))
    return ImageFolder(root, names, tuple(files), tuple(ignored), warnings)


def holds_images(root: Path, name: str) -> bool:
    """Tell whether `name` in `root` is an image by its ending, or a folder with one below it.

    Raises StorageError as `discover` does.
    """
    if not (root / name).is_dir():
        return not name.startswith(".") and image_reason(name) is None
    return next(_Walk(root, ignored=[]).each_image(name), None) is not None


def _seen(ignored: Iterable[IgnoredFile]) -> str:
    """Return a phrase about the files that lie there instead of images."""
    reasons = (NO_IMAGE_ENDING, NO_PLUGIN)
    left_out = [each for each in ignored if each.reason.startswith(reasons)]
    if not left_out:
        return ""
    endings = Counter(os.path.splitext(each.path)[1].lower() for each in left_out)  # noqa: PTH122
    counts = ", ".join(
        f"{count:,} {ending or 'without an ending'}" for ending, count in endings.most_common(3)
    )
    plugin = next((each.reason for each in left_out if each.reason.startswith(NO_PLUGIN)), "")
    return f"; its class folders hold other files ({counts}){'; ' if plugin else ''}{plugin}"


def _warnings(root: Path, classes: tuple[str, ...], files: list[ImageFile]) -> Iterator[str]:
    """Yield a sentence for each thing that makes the labels look like a mistake."""
    counts = Counter(file.label for file in files)
    empty = [repr(name) for label, name in enumerate(classes) if label not in counts]
    if empty:
        yield (
            f"{root} has no images of {len(empty):,} of its {len(classes):,} classes: "
            f"{_some(empty)}."
        )
    inner = _inner_folders(files)
    if inner is None:
        return
    if len(counts) == 1:
        only = classes[files[0].label]
        if len(inner) > 1:
            yield (
                f"All images of {root} have one label, {only!r}: the folders in it "
                f"({_some(inner)}) are not classes. If they should be, name {root / only} instead."
            )
    elif len(inner) > 1:
        yield (
            f"The classes of {root} are {_some([classes[label] for label in sorted(counts)])}; "
            f"each holds only folders ({_some(inner)}), which are not classes. If they should be, "
            f"name one folder more, such as {root / classes[files[0].label]}."
        )


def _inner_folders(files: list[ImageFile]) -> list[str] | None:
    """Return the folders that lie directly in class folders; None if some image does."""
    inner: dict[str, None] = {}
    for file in files:
        _, name, *deeper = file.path.split("/", 2)
        if not deeper:
            return None
        inner[name] = None
    return sorted(inner)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def read_root(root: Path, most_loose: int | None = None) -> tuple[list[str], list[IgnoredFile]]:
    """Return the sorted names of the class folders, and what else lies directly under the root.

    With `most_loose` the listing ends once more than so many other entries were found.

    Raises:
        UsageError: `root` does not exist or is not a folder.
        StorageError: `root` cannot be read.
    """
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
                    if most_loose is not None and len(loose) > most_loose:
                        break
    except FileNotFoundError:
        raise UsageError(f"{root} does not exist.") from None
    except NotADirectoryError:
        raise UsageError(f"{root} is not a folder.") from None
    except OSError as error:
        raise system_failure(error.filename or root, error) from error
    return sorted(folders), loose


def _kind(entry: os.DirEntry[str]) -> str:
    """Return `_FILE` or `_FOLDER`, or the reason to leave the entry out."""
    if entry.name.startswith("."):
        return HIDDEN
    # For anything but a link the answer is in the folder itself, without a stat a file.
    if entry.is_file(follow_symlinks=False):
        return _FILE
    if entry.name.lower() in SYSTEM_FOLDERS:
        return SYSTEM_FOLDER
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
        return sorted(self.each_image(name))

    def each_image(self, name: str) -> Iterator[str]:
        """Yield the paths of the images below the class folder `name`, in any order."""
        self._pending.append((name, frozenset([_identity(self.root)])))
        while self._pending:
            folder, above = self._pending.pop()
            try:
                yield from self._read(folder, above)
            except OSError as error:
                if not is_file_fault(error):
                    raise system_failure(error.filename or self.root / folder, error) from error
                self.ignored.append(IgnoredFile(folder, f"cannot be read: {error.strerror}"))

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
                elif reason := image_reason(entry.name):
                    self.ignored.append(IgnoredFile(path, reason))
                else:
                    yield path

    def _count(self) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise DataError(
                f"{self.root} holds more than {MAX_ENTRIES:,} files: convert it in parts, and look "
                "for links that lead to the same folders again and again."
            )


def image_reason(name: str) -> str | None:
    """Return None for an image by its ending, else the reason why it is left out."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 - 5 times as fast
    if suffix in IMAGE_SUFFIXES:
        return None
    kind = _PLUGIN_SUFFIXES.get(suffix)
    return NO_IMAGE_ENDING if kind is None else _plugin_reason(kind)


@functools.cache
def _plugin_reason(kind: str) -> str | None:
    from dl2cli.dataset.pixels import OPTIONAL_FORMATS, readable_formats

    if kind in readable_formats():
        return None
    return f"{NO_PLUGIN} {kind}: install {OPTIONAL_FORMATS[kind][1]}, or convert the files to JPEG"


def _identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino
