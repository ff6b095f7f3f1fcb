"""A loader of the user's own, named `package.module:factory`, behind the contract of the others.

The factory takes no argument and returns an iterable of batches: a DataLoader, DALI's iterator, an
SPDL pipeline, a generator. What it gives is measured as it is: its own batch size, workers, crops
and order. The dataset that is named beside it says what it reads, for its bytes and its pages.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dl2cli.cores import usable_cores
from dl2cli.errors import Dl2Error, StorageError, UsageError, is_file_fault
from dl2cli.loaders.base import Batch, Loader, LoaderConfig, require_torch
from dl2cli.loaders.contents import count_images, data_files, dataset_classes
from dl2cli.loaders.order.sample_order import SampleOrder
from dl2cli.text import clean_text

if TYPE_CHECKING:
    import torch

_FRAME: Final = re.compile(r'^\s*File "(.+)", line (\d+), in ', re.MULTILINE)
_STANDARD: Final = tuple(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib"))
_SOME_FILES: Final = 1000  # whose mean size stands for the mean size of all
_DEEPEST: Final = 4


@dataclass(frozen=True)
class CustomBatches:
    """What a loader of the user's gives, as its first batch and its attributes tell.

    Attributes:
        batch_size: images a batch.
        image_size: height of the images, in pixels.
        workers: processes or threads that it says it has; else, all usable cores.
    """

    batch_size: int
    image_size: int
    workers: int


@lru_cache(maxsize=8)
def look_at(name: str) -> CustomBatches:
    """Make the loader and take its first batch.

    Raises:
        UsageError: there is no such factory, it fails, or it gives no batches of images.
        StorageError: the system failed it.
    """
    loader = make(name)
    with _Faults(name):
        batch = next(iter(loader), None)
    if batch is None:
        raise UsageError(f"The loader {name} gives no batch.")
    images = _images(name, batch)
    workers = getattr(loader, "num_workers", None)
    if not isinstance(workers, int) or workers < 1:
        workers = usable_cores()
    return CustomBatches(len(images), images.shape[2], workers)


def make(name: str) -> Any:  # noqa: ANN401 - whatever the factory returns
    """Import the factory and call it. Raises UsageError, StorageError."""
    module_name, _, attributes = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # as `python -m` does
    with _Faults(name):
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise
            raise UsageError(
                f"There is no module {error.name} for the loader {name}, neither installed nor in "
                f"{Path.cwd()}."
            ) from None
        for attribute in attributes.split("."):
            if not hasattr(found, attribute):
                raise UsageError(f"{found.__file__ or module_name} has no {attributes}.")
            found = getattr(found, attribute)
        if not callable(found):
            raise UsageError(f"{name} cannot be called: it must be a function without arguments.")
        loader = found()
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        kind = type(loader).__name__
        raise UsageError(f"{name} must return an iterable of batches, not {kind}.")
    return loader


class CustomLoader(Loader):
    """Gives the batches of the user's loader, in the form that all loaders give."""

    name = "custom"

    def __init__(self, config: LoaderConfig, name: str) -> None:
        """Make it. Raises UsageError, StorageError, DataError."""
        if config.throttle is not None:
            raise UsageError(
                f"{name} reads for itself and cannot be throttled: leave out --throttle, or slow "
                "down the storage itself."
            )
        require_torch()
        images = count_images(config.data)
        ones = np.ones(images, dtype=np.int64)
        order = SampleOrder(ones, batch_size=config.batch_size, seed=config.seed, tail="pad")
        super().__init__(config, order, dataset_classes(config.data))
        self.factory = name
        self._inner = make(name)
        self._bytes_per_image = _mean_bytes(config.data, images)

    def __len__(self) -> int:
        """Return the number of its batches; where it does not tell, what the images make."""
        try:
            return len(self._inner)
        except (TypeError, NotImplementedError):
            return self.order.steps

    def __reduce__(self) -> tuple[Any, ...]:
        return CustomLoader, (self.config, self.factory)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        with _Faults(self.factory):
            if hasattr(self._inner, "set_epoch"):
                self._inner.set_epoch(epoch)
            batches = iter(self._inner)
        for step in range(sys.maxsize):
            with _Faults(self.factory):
                try:
                    batch = next(batches)
                except StopIteration:
                    break
            if step >= first:
                yield self._converted(batch)

    def _converted(self, batch: object) -> Batch:
        import torch

        images = _images(self.factory, batch)
        count = len(images)
        if self.config.output.normalized and images.dtype == torch.uint8:
            images = images.float().div_(255)  # what a step on a CPU takes
        labels = _labels(batch, count)
        if labels is None:
            labels = torch.zeros(count, dtype=torch.int64, device=images.device)
        # What a label means here does not matter, only that the model has such a class.
        labels = labels.clamp(0, max(len(self.classes), 2) - 1)
        size = round(count * self._bytes_per_image)
        self._count(batches=1, images=count, bytes_read=size)
        return Batch(images, labels, size, np.zeros((count, 2), dtype=np.int64))


class _Faults:
    """Turns an error of the user's code into one sentence with its file and line."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, Dl2Error) or not isinstance(error, Exception):
            return
        fault = UsageError if is_file_fault(error) else StorageError
        raise fault(f"The loader {self._name} failed{_place(error)}: {_reason(error)}.") from error


def _place(error: Exception) -> str:
    """Return where the user's code failed, also if that was in a worker of a DataLoader."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" in {error.filename}, line {error.lineno}"
    told = [(file, int(line)) for file, line in _FRAME.findall(str(error))]
    frames = [(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)]
    own = [each for each in (*frames, *told) if _is_own(each[0])]
    return f" in {clean_text(own[-1][0])}, line {own[-1][1]}" if own else ""


def _is_own(file: str) -> bool:
    here = os.fspath(Path(__file__).parent.parent)
    packages = "site-packages" in file or "dist-packages" in file
    return not packages and not file.startswith((here, "<", *_STANDARD))


def _reason(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    if any(_FRAME.match(line) for line in lines):  # a worker's: the last line is the error itself
        return clean_text(lines[-1].strip().rstrip("."), 300)
    text = lines[0].rstrip(".") if lines else ""
    return clean_text(f"{type(error).__name__}: {text}" if text else type(error).__name__, 300)


def _mean_bytes(data: Path, images: int) -> float:
    """Return how many bytes of files an image has."""
    files = data_files(data)
    some = files[:: max(len(files) // _SOME_FILES, 1)]
    return sum(file.stat().st_size for file in some) / len(some) * len(files) / max(images, 1)


def _images(name: str, batch: object) -> torch.Tensor:
    """Return the images of a batch as (N, 3, H, W)."""
    import torch

    for array in _arrays(batch, _DEEPEST):
        if len(array.shape) == 4:
            images = array if isinstance(array, torch.Tensor) else torch.from_numpy(array)
            channels_last = images.shape[3] == 3 and images.shape[1] != 3
            return images.permute(0, 3, 1, 2) if channels_last else images
    raise UsageError(
        f"The loader {name} gives {type(batch).__name__}, which holds no tensor or array of "
        "images with four dimensions (N, 3, H, W)."
    )


def _labels(batch: object, count: int) -> torch.Tensor | None:
    import torch

    for array in _arrays(batch, _DEEPEST):
        if len(array) == count and array.shape in ((count,), (count, 1)):
            labels = array if isinstance(array, torch.Tensor) else torch.from_numpy(array)
            if not labels.dtype.is_floating_point:
                return labels.reshape(count).to(torch.int64)
    return None


def _arrays(value: Any, depth: int) -> Iterator[Any]:  # noqa: ANN401
    """Yield the tensors and arrays of a batch in their order."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        if len(value.shape):
            yield value
        return
    if depth == 0 or isinstance(value, str | bytes):
        return
    parts: Any = ()
    if isinstance(value, Mapping):
        parts = value.values()
    elif isinstance(value, list | tuple):
        parts = value
    elif hasattr(value, "__dict__"):
        parts = vars(value).values()
    for part in parts:
        yield from _arrays(part, depth - 1)
