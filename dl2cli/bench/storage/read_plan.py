"""Which bytes of a dataset are read for a measurement, and in which order.

A dataset is a list of extents, each the beginning of a file: all of an image file, or the prefix
[0, end of scan group k) of a PCR record. Large datasets are sampled, reproducibly by a seed:

* in sequence: a stretch of neighbours in listing order from a random place on, because what makes
  a sequence fast is that neighbours follow each other;
* at random: a random choice from the whole dataset.

The same records are chosen for every k, so that fidelities differ in nothing but the bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np

from dl2cli import pcr
from dl2cli.dataset.discovery import discover
from dl2cli.dataset.location import DatasetKind, locate
from dl2cli.errors import DataError, UsageError

MAX_EXTENTS: Final = 20_000
MAX_SKIPPED_LISTED: Final = 100


class AccessPattern(StrEnum):
    """In which order files are read."""

    SEQUENTIAL = "sequential"
    RANDOM = "random"


@dataclass(frozen=True, slots=True)
class Extent:
    """The first `length` bytes of a file, and how many images they hold (a share of one counts)."""

    path: str
    length: int
    images: float


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be read, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class SkippedFiles:
    """Counts each file once and lists the first `MAX_SKIPPED_LISTED`."""

    _reasons: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, reason: str) -> None:
        """Note a file; a second time changes nothing."""
        self._reasons.setdefault(path, reason)

    def __len__(self) -> int:
        return len(self._reasons)

    def __contains__(self, path: object) -> bool:
        return path in self._reasons

    def listed(self) -> tuple[Skipped, ...]:
        """Return the first files, in the order of their discovery."""
        pairs = list(self._reasons.items())[:MAX_SKIPPED_LISTED]
        return tuple(Skipped(path, reason) for path, reason in pairs)


@dataclass(frozen=True, slots=True)
class DatasetFiles:
    """The files of a dataset in listing order.

    Attributes:
        kind: an ImageFolder or a PCR dataset.
        path: the folder of the dataset, or of its training split.
        files: names relative to `path`.
        images: how many images each file holds.
        ends: the end of each scan group of each PCR file, (files, G + 1) int64; column 0 is the
            end of the metadata. None for images.
    """

    kind: DatasetKind
    path: Path
    files: tuple[str, ...]
    images: tuple[int, ...]
    ends: np.ndarray[tuple[int, int], np.dtype[np.int64]] | None

    @property
    def groups(self) -> int:
        """The number of scan groups; 0 for images."""
        return 0 if self.ends is None else self.ends.shape[1] - 1

    def check_scans(self, ks: Iterable[int]) -> None:
        """Raise UsageError where a fidelity is not there."""
        for k in ks:
            if self.ends is not None and not 1 <= k <= self.groups:
                raise UsageError(f"{self.path} has fidelities 1 to {self.groups}, not {k}.")


def list_dataset(path: Path) -> DatasetFiles:
    """Find out what lies at `path`, and list its files.

    Raises:
        UsageError: the path does not exist, or holds nothing to read.
        DataError: the index of a PCR dataset is damaged.
        StorageError: the folder cannot be read.
    """
    train = locate(path).train
    if train.kind is DatasetKind.PCR:
        return _open_pcr(train.path)
    root = train.path
    try:
        listing = discover(root)
    except DataError as error:  # nothing there: what is asked for cannot be done
        raise UsageError(str(error)) from error
    files = tuple(file.path for file in listing.files)
    return DatasetFiles(DatasetKind.IMAGE_FOLDER, root, files, (1,) * len(files), None)


def _open_pcr(folder: Path) -> DatasetFiles:
    dataset = pcr.open(folder)
    if not dataset.records:
        raise UsageError(f"{folder} is a PCR dataset without a record: there is nothing to read.")
    lengths = np.zeros((len(dataset.records), dataset.groups + 1), np.int64)
    for row, record in zip(lengths, dataset.records, strict=True):
        row[: len(record.lengths)] = record.lengths
    files = tuple(record.file for record in dataset.records)
    images = tuple(record.images for record in dataset.records)
    return DatasetFiles(DatasetKind.PCR, folder, files, images, lengths.cumsum(axis=1))


def choose_files(
    count: int, order: AccessPattern, seed: int, limit: int = MAX_EXTENTS
) -> list[int]:
    """Return at most `limit` different numbers below `count`; the module's docstring says which."""
    random = np.random.default_rng(seed)
    size = min(count, limit)
    if order is AccessPattern.RANDOM:
        return [int(i) for i in random.choice(count, size, replace=False)]
    start = int(random.integers(count)) if size < count else 0
    return [(start + i) % count for i in range(size)]


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """The files that are read, by their number in the dataset, and how long each one is."""

    dataset: DatasetFiles
    order: AccessPattern
    chosen: tuple[int, ...]
    sizes: tuple[int, ...]

    def extents(self, scans: int | None) -> list[Extent]:
        """Return what to read at a fidelity; None reads whole files."""
        dataset = self.dataset
        root = str(dataset.path)
        ends = None if dataset.ends is None or scans is None else dataset.ends[:, scans]
        return [
            Extent(
                f"{root}/{dataset.files[i]}",
                size if ends is None else int(ends[i]),
                dataset.images[i],
            )
            for i, size in zip(self.chosen, self.sizes, strict=True)
        ]


def plan_reads(
    dataset: DatasetFiles, order: AccessPattern, seed: int, limit_bytes: int, skipped: SkippedFiles
) -> ReadPlan:
    """Choose files until `limit_bytes` (of full fidelity) or `MAX_EXTENTS` is reached.

    Files that cannot be read are put into `skipped`. At least one file is chosen.

    Raises:
        DataError: none of the files looked at can be read.
    """
    chosen: list[int] = []
    sizes: list[int] = []
    total = 0
    for i in choose_files(len(dataset.files), order, seed):
        path = f"{dataset.path}/{dataset.files[i]}"
        needed = None if dataset.ends is None else int(dataset.ends[i, -1])
        size = _usable_size(path, needed, skipped)
        if size is None:
            continue
        if chosen and total + size > limit_bytes:
            break
        chosen.append(i)
        sizes.append(size)
        total += size
    if not chosen:
        first = skipped.listed()[0]
        raise DataError(
            f"None of {len(skipped)} files of {dataset.path} can be read; "
            f"the first is {first.path}: {first.reason}."
        )
    return ReadPlan(dataset, order, tuple(chosen), tuple(sizes))


def _usable_size(path: str, needed: int | None, skipped: SkippedFiles) -> int | None:
    """Return how many bytes to read, or None where the file cannot be read."""
    try:
        status = os.stat(path)  # noqa: PTH116 - 20,000 of them, from strings
    except (OSError, ValueError) as error:
        skipped.add(path, getattr(error, "strerror", None) or str(error))
        return None
    if not stat.S_ISREG(status.st_mode):
        skipped.add(path, "not a regular file")
    elif status.st_size == 0:
        skipped.add(path, "empty")
    elif needed is not None and status.st_size < needed:
        skipped.add(path, f"has {status.st_size} bytes, the index says {needed}")
    else:
        return status.st_size if needed is None else needed
    return None
