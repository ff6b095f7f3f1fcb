"""Where the images come from: an ImageFolder, with or without splits, a flat folder, or PCR."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from dl2cli.dataset.discovery import IMAGE_SUFFIXES, class_names, discover, find_splits
from dl2cli.errors import DataError, StorageError, UsageError

PCR_INDEX = "PCR.db"


@dataclass(frozen=True, slots=True)
class Item:
    """An image: its name as split/class/name, its class, and where its bytes are.

    `place` is (file, -1, 0), or (PCR dataset, record, slot).
    """

    name: str
    class_name: str
    place: tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Opened:
    """An image's bytes. `mtime_ns` is None where the bytes are part of a larger file."""

    stream: BinaryIO
    size_bytes: int
    mtime_ns: int | None


class Reader(Protocol):
    """Opens images, in a worker process; small, because it is sent there."""

    def open(self, item: Item) -> Opened:
        """Return the bytes. Raises OSError or Dl2Error."""

    def prefixes(self, item: Item) -> list[bytes]:
        """Return the image at each number of scan groups, from 1 on. Raises OSError, Dl2Error."""


@dataclass(frozen=True, slots=True)
class Source:
    """The images of a dataset, in their order."""

    root: Path
    kind: str  # "image folder", "flat folder" or "PCR dataset"
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    items: tuple[Item, ...]
    ignored: int  # files that are no images by their ending, or are hidden
    groups: int  # scan groups
    reader: Reader

    def fingerprint(self, indices: Iterator[int] | range | list[int]) -> str:
        """Return a SHA-256 (hex) of the names of the images at `indices`."""
        digest = hashlib.sha256()
        for index in indices:
            digest.update(os.fsencode(self.items[index].name) + b"\0")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class FileReader:
    """Reads image files."""

    def open(self, item: Item) -> Opened:
        """Return the open file."""
        # A FIFO that took the place of a file since the listing must not block the run.
        descriptor = os.open(item.place[0], os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        stream = os.fdopen(descriptor, "rb")
        status = os.fstat(descriptor)
        return Opened(stream, status.st_size, status.st_mtime_ns)

    def prefixes(self, item: Item) -> list[bytes]:
        """Return the transcoded file at each number of scan groups."""
        from dl2cli.analysis.transcoding import prefixes_of_jpeg  # noqa: PLC0415 - loads the core

        return prefixes_of_jpeg(Path(item.place[0]).read_bytes())
