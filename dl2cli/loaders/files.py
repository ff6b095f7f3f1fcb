"""The images of an ImageFolder, for the loaders that read plain files."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dl2cli.dataset.discovery import discover
from dl2cli.errors import DataError
from dl2cli.loaders.base import LoaderConfig
from dl2cli.loaders.order import Order
from dl2cli_native import _core

MAX_FILE_BYTES = _core.Limits().max_bytes
MAX_PIXELS = _core.Limits().max_pixels


@dataclass(frozen=True)
class FileList:
    """Paths and labels (int64) of n images, and the sizes that were looked up so far."""

    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    _bytes: dict[int, int] = field(default_factory=dict)
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def size(self, number: int) -> tuple[int, int]:
        """Return width and height of an image in pixels. Raises DataError."""
        if number not in self._sizes:
            self._sizes[number] = _read_size(self.paths[number])
        return self._sizes[number]

    def bytes(self, number: int) -> int:
        """Return the length of a file. Raises DataError."""
        if number not in self._bytes:
            try:
                self._bytes[number] = os.stat(self.paths[number]).st_size  # noqa: PTH116
            except OSError as error:
                raise DataError(f"{self.paths[number]}: {error.strerror}.") from error
        return self._bytes[number]

    def find_damage(self, number: int) -> str | None:
        """Return a sentence on what keeps Pillow from decoding an image; None if nothing does."""
        from PIL import Image

        path = self.paths[number]
        try:
            with Image.open(path) as image:
                image.load()
        except Exception as error:  # Pillow raises whatever its many readers raise
            return f"{path} cannot be decoded: {error}."
        return None


def list_files(config: LoaderConfig) -> FileList:
    """List the ImageFolder of a loader. Raises as `discover` does."""
    folder = discover(config.data, config.classes)
    paths = tuple(os.path.join(folder.root, file.path) for file in folder.files)  # noqa: PTH118
    labels = np.fromiter((file.label for file in folder.files), np.int64, len(paths))
    return FileList(paths, labels, folder.classes)


def file_order(files: FileList, config: LoaderConfig) -> Order:
    """Return the order of files: shuffled completely. Raises UsageError."""
    return Order(
        np.ones(len(files.paths), dtype=np.int64),
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=config.shuffle,
        rank=config.rank,
        world_size=config.world_size,
        lanes=config.lanes or 1,
        tail=config.tail,
    )


def read_bytes(path: str) -> bytes:
    """Read an image file. Raises DataError for one that is missing, empty or too large."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a Path a file costs as much as a read
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    if not content or len(content) > MAX_FILE_BYTES:
        raise DataError(f"{path} has {len(content) or 'no'} bytes, not 1 to {MAX_FILE_BYTES}.")
    return content


def _read_size(path: str) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except Exception as error:
        raise DataError(f"{path} is no image that can be read: {error}.") from error
