"""The images of an ImageFolder, for the loaders that read plain files."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dl2cli.dataset.discovery import discover
from dl2cli.dataset.pixels import sample_bits
from dl2cli.errors import DataError, Dl2Error, StorageError, is_file_fault, system_failure
from dl2cli.loaders.base import Loader, LoaderConfig
from dl2cli.loaders.order.sample_order import SampleOrder
from dl2cli_native import _core


@dataclass(frozen=True)
class FileList:
    """The names (below `root`) and labels (int64) of n images, and the sizes looked up so far.

    `warnings` are those of `discover`, about labels that are probably not what was meant.
    """

    root: Path
    names: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    _bytes: dict[int, int] = field(default_factory=dict)
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, number: int) -> str:
        """Return the path of a file."""
        return f"{self.root}/{self.names[number]}"  # a Path a file costs as much as a read

    def size(self, number: int) -> tuple[int, int]:
        """Return width and height of an image in pixels.

        Raises:
            DataError: the file is not an image, or its samples have a range that DALI, for whose
                loaders this is, would not show as the other loaders do.
            StorageError: the file cannot be read.
        """
        if number not in self._sizes:
            self._sizes[number] = _read_size(self.path(number))
        return self._sizes[number]

    def bytes(self, number: int) -> int:
        """Return the length of a file. Raises DataError, StorageError."""
        if number not in self._bytes:
            try:
                self._bytes[number] = os.stat(self.path(number)).st_size  # noqa: PTH116
            except OSError as error:
                raise _failure(self.path(number), error) from error
        return self._bytes[number]

    def find_damage(self, number: int, limits: _core.Limits) -> str | None:
        """Return a sentence on what keeps Pillow from decoding an image; None if nothing does.

        Raises StorageError where the file cannot be read.
        """
        from PIL import Image

        path = self.path(number)
        try:
            with Image.open(io.BytesIO(read_bytes(path, limits))) as image:
                image.load()
        except StorageError:
            raise
        except DataError as error:
            return str(error)
        except Exception as error:  # Pillow raises whatever its many readers raise
            return f"{path} cannot be decoded: {error}."
        return None


class FileLoader(Loader):
    """A loader that reads the files of an ImageFolder."""

    def __init__(self, config: LoaderConfig) -> None:
        """List the folder. Raises as `discover` does, and UsageError."""
        self.files = list_files(config)
        files = self.files
        super().__init__(config, file_order(files, config), files.classes, files.warnings)


def list_files(config: LoaderConfig) -> FileList:
    """List the ImageFolder of a loader. Raises as `discover` does."""
    folder = discover(config.data, config.classes)
    names = tuple(file.path for file in folder.files)
    labels = np.fromiter((file.label for file in folder.files), np.int64, len(names))
    return FileList(folder.root, names, labels, folder.classes, folder.warnings)


def file_order(files: FileList, config: LoaderConfig) -> SampleOrder:
    """Return the order of files, which are shuffled completely. Raises UsageError."""
    return SampleOrder(
        np.ones(len(files), dtype=np.int64),
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=config.shuffle,
        rank=config.rank,
        world_size=config.world_size,
        lanes=config.lanes or 1,
        tail=config.tail,
    )


def read_bytes(path: str, limits: _core.Limits) -> bytes:
    """Read an image file.

    Raises:
        DataError: it is missing, unreadable, not a regular file, empty or too large.
        StorageError: the disk, the share or the machine failed; the file may be sound.
    """
    try:
        return _core.read_file(os.fsencode(path), limits.max_bytes)
    except _core.DataError as error:
        raise DataError(f"{path}: {error}.") from error
    except (OSError, MemoryError) as error:
        raise _failure(path, error) from error


def _failure(path: str, error: OSError | MemoryError) -> Dl2Error:
    """Return the error to raise, about the file or about the system."""
    if isinstance(error, OSError) and is_file_fault(error):
        return DataError(f"{path} cannot be read: {error.strerror}.")
    return system_failure(path, error)


def _read_size(path: str) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            bits, size = sample_bits(image), image.size
    except DataError as error:
        raise DataError(f"{path}: {error}.") from error
    except (OSError, MemoryError) as error:
        if is_file_fault(error):
            raise DataError(f"{path} cannot be read as an image: {error}.") from error
        raise system_failure(path, error) from error
    except Exception as error:
        raise DataError(f"{path} cannot be read as an image: {error}.") from error
    if bits not in {8, 16}:
        raise DataError(f"{path}: DALI shows its {bits}-bit samples too dark; use the loader jpeg.")
    return size
