"""Where the images come from: an ImageFolder, with or without splits, a flat folder, or PCR."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dl2cli.analysis.scan_prefixes import prefixes_of_jpeg
from dl2cli.dataset.discovery import IMAGE_SUFFIXES, discover
from dl2cli.dataset.location import PCR_INDEX, DatasetKind, Split, locate
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.dataset_files import local_file
from dl2cli_native import _core

if TYPE_CHECKING:
    from dl2cli.pcr.dataset import Dataset, Record


class Item(NamedTuple):
    """An image: its name as split/class/name, its class, and its place in a PCR dataset.

    A tuple, because each one is sent to a worker, and dataclasses take ten times as long.
    """

    name: str
    class_name: str
    split: str = ""
    record: int = -1
    slot: int = -1


@dataclass(frozen=True, slots=True)
class Opened:
    """An image's bytes. `mtime_ns` is None where they are part of a larger file.

    `whole_file` says that it is a source file, and not the scan groups of an image.
    """

    stream: io.RawIOBase | io.BytesIO
    size_bytes: int
    mtime_ns: int | None
    whole_file: bool


class Reader(Protocol):
    """Opens images in a worker process, to which it is sent."""

    def open(self, item: Item) -> Opened:
        """Return the bytes. Raises OSError or Dl2Error."""

    def prefixes(self, item: Item) -> list[bytes]:
        """Return the JPEG at 1, 2, ... scan groups. Raises OSError or DataError."""

    def limits(self, item: Item) -> _core.Limits:
        """Return the limits that an image must keep to be decoded."""

    def path(self, item: Item) -> str:
        """Return the file to name when it cannot be read."""


@dataclass(frozen=True, slots=True)
class Source:
    """The images of a dataset, in their order."""

    root: Path
    kind: str
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    ignored: int  # files that are left out: hidden ones, and those that are not images
    groups: int  # scan groups of a PCR dataset, else 0
    reader: Reader
    state: tuple[tuple[int, int], ...] = ()  # size and mtime_ns of each index of a PCR dataset

    def fingerprint(self, indices: Iterable[int]) -> str:
        """Return a SHA-256 (hex) of the names of the images at `indices`."""
        digest = hashlib.sha256()
        for index in indices:
            digest.update(os.fsencode(self.items[index].name) + b"\0")
        return digest.hexdigest()


def open_source(root: Path, scans: int | None = None, max_pixels: int | None = None) -> Source:
    """List the images at `root`.

    Args:
        root: An ImageFolder, a folder of splits, a folder of images, or a PCR dataset.
        scans: The fidelity at which to read a PCR dataset; all scan groups if None.
        max_pixels: Larger images are not decoded; by default, those that `dl2 convert` rejects.
            A PCR dataset has the limit of its conversion, unless this one is lower.

    Raises:
        UsageError: `root` is not one of these, or has no such fidelity.
        DataError: There are no images, or the index of a PCR dataset is damaged.
        StorageError: `root` cannot be read.
    """
    location = locate(root, loose_images=True)
    datasets = {split.name: split.path for split in location.of_kind(DatasetKind.PCR)}
    if datasets:
        return _pcr_source(root, datasets, scans, max_pixels)
    if scans is not None:
        raise UsageError(f"--scans needs a PCR dataset, and {root} is not one.")
    if location.of_kind(DatasetKind.LOOSE_IMAGES):
        return _flat_folder(root, max_pixels)
    return _image_folder(root, location.splits, max_pixels)


def _image_folder(root: Path, splits: tuple[Split, ...], max_pixels: int | None) -> Source:
    items: list[Item] = []
    classes: set[str] = set()
    ignored = 0
    for split in splits:
        listing = discover(split.path)
        before = f"{split.path.name}/" if split.name else ""
        items += [Item(before + f.path, listing.classes[f.label]) for f in listing.files]
        classes |= set(listing.classes)
        ignored += len(listing.ignored)
    names = tuple(split.name for split in splits if split.name)
    reader = FileReader(str(root), max_pixels)
    return Source(
        root, "image folder", names, tuple(sorted(classes)), tuple(items), ignored, 0, reader
    )


def _flat_folder(root: Path, max_pixels: int | None) -> Source:
    """List the images directly in a folder without class folders."""
    names: list[str] = []
    ignored = 0
    try:
        with os.scandir(root) as entries:
            for entry in entries:
                image = Path(entry.name).suffix.lower() in IMAGE_SUFFIXES
                if image and not entry.name.startswith(".") and entry.is_file():
                    names.append(entry.name)
                else:
                    ignored += 1
    except OSError as error:
        raise StorageError(f"{root} cannot be read: {error.strerror}.") from error
    if not names:
        raise DataError(f"{root} holds no images, no class folders, and no PCR dataset.")
    items = tuple(Item(name, "") for name in sorted(names))
    return Source(root, "flat folder", (), (), items, ignored, 0, FileReader(str(root), max_pixels))


def _pcr_source(
    root: Path, datasets: dict[str, Path], scans: int | None, max_pixels: int | None
) -> Source:
    items: list[Item] = []
    classes: set[str] = set()
    groups = 0
    for split, folder in datasets.items():
        dataset = _dataset(folder)
        if scans is not None and not 1 <= scans <= dataset.groups:
            raise UsageError(
                f"{folder} has fidelities 1 to {dataset.groups}, so --scans cannot be {scans}."
            )
        groups = max(groups, dataset.groups)
        classes |= set(dataset.classes)
        items += _pcr_items(dataset, split)
    if not items:
        raise DataError(f"{root} holds no images.")
    indices = [_version(folder) for folder in datasets.values()]
    return Source(
        root, "PCR dataset", tuple(filter(None, datasets)), tuple(sorted(classes)), tuple(items),
        0, groups, PcrReader(root, scans, max_pixels), tuple(indices),
    )  # fmt: skip


def _version(folder: Path) -> tuple[int, int]:
    """Return what changes with the index of a dataset; raises StorageError."""
    file = local_file(folder / PCR_INDEX, None)
    if file is None:
        raise DataError(f"{folder} has lost its index while it was read.")
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _pcr_items(dataset: Dataset, split: str) -> list[Item]:
    """Name the images after the files they came from, or after record and slot if unknown."""
    before = f"{split}/" if split else ""
    sources = {(info.record, info.slot): info for info in dataset.sources()}
    items = []
    for number, record in enumerate(dataset.records):
        known = (record.id, 0) in sources
        labels = [] if known else dataset.read_labels(number).tolist()
        for slot in range(record.images):
            info = sources.get((record.id, slot))
            name = info.path if info else f"{record.file}/{slot}"
            label = info.label if info else labels[slot] if labels else -1
            class_name = dataset.classes[label] if 0 <= label < len(dataset.classes) else ""
            items.append(Item(before + name, class_name, split, number, slot))
    return items


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads image files below a folder (text, because joining paths costs as much as reading)."""

    root: str
    max_pixels: int | None = None

    def open(self, item: Item) -> Opened:
        """Return the open file."""
        # A FIFO that took the place of a file since the listing must not block the run.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        stream = io.FileIO(os.open(self.path(item), flags))
        status = os.fstat(stream.fileno())
        return Opened(stream, status.st_size, status.st_mtime_ns, whole_file=True)

    def prefixes(self, item: Item) -> list[bytes]:
        """Return the file, transcoded by the default scan script, at each number of groups."""
        content = Path(self.path(item)).read_bytes()
        return prefixes_of_jpeg(content, self.limits(item))

    def limits(self, item: Item) -> _core.Limits:
        """Return the limits that an image must keep to be decoded."""
        return (
            _core.Limits() if self.max_pixels is None else _core.Limits(max_pixels=self.max_pixels)
        )

    def path(self, item: Item) -> str:
        """Return the image file."""
        return f"{self.root}/{item.name}"


@dataclass(frozen=True, slots=True)
class PcrReader:
    """Reads images of a PCR dataset, or of the datasets of its splits, at fidelity `scans`."""

    root: Path
    scans: int | None
    max_pixels: int | None = None

    def open(self, item: Item) -> Opened:
        """Return the image, end marker included."""
        jpeg = bytes(_record(self.root / item.split, item.record, self.scans).image(item.slot))
        return Opened(io.BytesIO(jpeg), len(jpeg), None, whole_file=False)

    def prefixes(self, item: Item) -> list[bytes]:
        """Return the image as it is stored, at each number of groups."""
        folder = self.root / item.split
        groups = range(1, _dataset(folder).groups + 1)
        return [bytes(_record(folder, item.record, k).image(item.slot)) for k in groups]

    def limits(self, item: Item) -> _core.Limits:
        """Return the conversion's limits, or a lower number of pixels where one is given."""
        limits = _dataset(self.root / item.split).limits
        if self.max_pixels is None or self.max_pixels >= limits.max_pixels:
            return limits
        from dl2cli.pcr.dataset import limits_of

        return limits_of(self.max_pixels)

    def path(self, item: Item) -> str:
        """Return the record file."""
        folder = self.root / item.split
        return str(folder / _dataset(folder).records[item.record].file)


@functools.lru_cache(maxsize=4)
def _dataset(folder: Path) -> Dataset:
    from dl2cli import pcr

    return pcr.open(folder)


@functools.lru_cache(maxsize=2)
def _record(folder: Path, number: int, scans: int | None) -> Record:
    """Read a record; its images are asked for one after the other, so two are kept."""
    return _dataset(folder).read(number, scans)
