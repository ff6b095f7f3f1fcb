"""What a worker of the `pytorch` loader does: read files, decode with Pillow, make a batch."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dl2cli.dataset.orientation import turned
from dl2cli.dataset.pixels import JPEG_START, is_rare, read_pixels
from dl2cli.errors import DataError, Dl2Error, StorageError, system_failure
from dl2cli.loaders import transform
from dl2cli.loaders.base import LoaderConfig
from dl2cli.loaders.files import FileList, read_bytes
from dl2cli.loaders.order.sample_order import mix64
from dl2cli.loaders.pytorch.auto_augment import auto_augment
from dl2cli.loaders.pytorch.shared_cache import SharedCache
from dl2cli.loaders.throttle import SharedThrottle
from dl2cli_native import _core

if TYPE_CHECKING:
    import torch

_AUGMENT = 0x4155474D454E54  # keeps these random numbers apart from those of the crops


@dataclass(frozen=True)
class Wanted:
    """A batch to make: its epoch, and the numbers of its files, int64 (n,)."""

    epoch: int
    numbers: NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """What a worker sends back: a batch, or the error that stops the epoch."""

    images: torch.Tensor
    labels: torch.Tensor
    ids: NDArray[np.int64]
    bytes_read: int
    fetch_s: float
    decode_s: float
    cache_hits: int
    messages: tuple[str, ...]
    failure: Dl2Error | None

    def pin_memory(self) -> Result:
        """Return a copy in page-locked memory; torch's DataLoader calls this on its results."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


@dataclass(frozen=True)
class BatchMaker:
    """A map-style dataset whose items are whole batches.

    Attributes:
        config: the loader's configuration.
        files: the images.
        cache: a cache of their bytes, if there is one.
        throttle: slows their reading, if there is one.
    """

    config: LoaderConfig
    files: FileList
    cache: SharedCache | None
    throttle: SharedThrottle | None

    def __getitem__(self, wanted: Wanted) -> Result:
        import torch

        numbers = wanted.numbers
        size = self.config.transform.size
        pixels = np.empty((len(numbers), size, size, 3), dtype=np.uint8)
        kept: list[int] = []
        messages: list[str] = []
        failure: Dl2Error | None = None
        fetch_s = decode_s = 0.0
        bytes_read = hits = 0
        for number in numbers.tolist():
            try:
                start = time.perf_counter()
                content, cached = self._fetch(number)
                fetched = time.perf_counter()
                fetch_s += fetched - start
                hits += cached
                bytes_read += 0 if cached else len(content)
                pixels[len(kept)] = self._decode(wanted.epoch, number, content)
                decode_s += time.perf_counter() - fetched
                kept.append(number)
            except DataError as error:
                messages.append(str(error))
                if self.config.on_damage == "fail":
                    failure = error
                    break
            except StorageError as error:
                failure = error
                break
        images = transform.to_tensor(pixels[: len(kept)], self.config.output)
        labels = torch.from_numpy(self.files.labels[kept])
        ids = np.stack([np.asarray(kept, np.int64), np.zeros(len(kept), np.int64)], axis=1)
        return Result(
            images, labels, ids, bytes_read, fetch_s, decode_s, hits, tuple(messages), failure
        )

    def _fetch(self, number: int) -> tuple[bytes, bool]:
        if self.cache is None:
            return self._read(number), False
        return self.cache.get(number, lambda: self._read(number))

    def _read(self, number: int) -> bytes:
        path, limits = self.files.path(number), self.config.limits
        if self.throttle is None:
            return read_bytes(path, limits)
        return self.throttle.read(lambda: read_bytes(path, limits))

    def _decode(self, epoch: int, number: int, content: bytes) -> NDArray[np.uint8]:
        config = self.config
        try:
            with _open_rgb(content, config) as image:
                placements = transform.place(
                    config.transform,
                    seed=config.seed,
                    epoch=epoch,
                    samples=[number],
                    widths=[image.width],
                    heights=[image.height],
                )
                cut = transform.cut_out(image, config.transform, placements)
            if config.auto_augment:
                cut = auto_augment(cut, augment_uniforms(config.seed, epoch, number))
            return np.asarray(cut)
        except MemoryError as error:
            raise system_failure(self.files.path(number), error) from error
        except Exception as error:  # Pillow raises whatever its many readers raise
            raise DataError(f"{self.files.path(number)} cannot be decoded: {error}.") from error


def augment_uniforms(seed: int, epoch: int, sample: int) -> NDArray[np.float64]:
    """Return the 5 random numbers in [0, 1) that AutoAugment takes for a sample."""
    key = np.asarray(_AUGMENT, dtype=np.uint64)
    for number in (seed, epoch, sample):
        key = mix64(mix64(key) ^ np.uint64(number % (1 << 64)))
    numbers = mix64(np.arange(5, dtype=np.uint64) ^ key)
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _open_rgb(content: bytes, config: LoaderConfig) -> Image.Image:
    """Decode a file to RGB: 8-bit JPEGs with Pillow, all others as a conversion does."""
    limits, turn = config.limits, config.exif_orientation == "apply"
    header = None
    if content.startswith(JPEG_START):
        header = _core.read_jpeg_header(content, limits)
    if header is None or is_rare(header):
        return read_pixels(content, limits, apply_orientation=turn).convert("RGB")
    image = Image.open(io.BytesIO(content), formats=("JPEG",)).convert("RGB")
    return turned(image, header.orientation) if turn else image
