"""The `pytorch` loader: torch DataLoader workers that decode an ImageFolder with Pillow."""

from __future__ import annotations

import io
import multiprocessing
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dl2cli.errors import DataError, UsageError
from dl2cli.loaders import transform
from dl2cli.loaders.auto_augment import auto_augment
from dl2cli.loaders.base import Batch, Loader, LoaderConfig, require_torch, should_pin
from dl2cli.loaders.files import MAX_PIXELS, FileList, file_order, list_files, read_bytes
from dl2cli.loaders.order import EpochOrder, mix64
from dl2cli.loaders.shared_cache import SharedCache

if TYPE_CHECKING:
    import torch

_AUGMENT = 0x4155474D454E54  # keeps these random numbers apart from those of the crops


@dataclass(frozen=True)
class _Result:
    """What a worker sends back: a batch, or the sentence that stops the epoch."""

    images: torch.Tensor
    labels: torch.Tensor
    ids: NDArray[np.int64]
    bytes_read: int
    fetch_s: float
    decode_s: float
    cache_hits: int
    messages: tuple[str, ...]
    failure: str | None


class PytorchLoader(Loader):
    """Loads an ImageFolder."""

    name = "pytorch"

    def __init__(self, config: LoaderConfig) -> None:
        """List the folder.

        Raises:
            UsageError: there is no ImageFolder, or an option makes no sense.
            DataError: there are no images.
            MissingDependency: torch is not installed.
        """
        require_torch()
        transform.check(config.transform)
        self.files = list_files(config)
        super().__init__(config, file_order(self.files, config), self.files.classes)
        self.cache: SharedCache | None = None
        self._context = multiprocessing.get_context(config.multiprocessing_context)
        if config.dataset_class == "MinIOFolder":
            self.cache = SharedCache(len(self.files.paths), config.cache_bytes, self._context)
        elif config.dataset_class != "ImageFolder":
            raise UsageError(
                f"dataset_class must be ImageFolder or MinIOFolder, not {config.dataset_class!r}."
            )

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        from torch.utils.data import DataLoader

        config = self.config
        order = self.order.epoch(epoch)
        begins = range(first * config.batch_size, len(order), config.batch_size)
        workers = min(config.workers, len(begins))
        dataset: Any = _Batches(config, self.files, self.cache, order, epoch)
        batches: DataLoader[_Result] = DataLoader(
            dataset,
            batch_size=None,
            sampler=begins,
            num_workers=workers,
            prefetch_factor=max(-(-config.prefetch // workers), 1) if workers else None,
            worker_init_fn=_start_worker,
            multiprocessing_context=self._context if workers else None,
            pin_memory=False,
        )
        iterator = iter(batches)
        for begin in begins:
            start = time.perf_counter()
            result = next(iterator)
            yield self._finish(result, order, begin, time.perf_counter() - start)

    def _finish(self, result: _Result, order: EpochOrder, begin: int, waited: float) -> Batch:
        if result.failure is not None:
            raise DataError(result.failure)
        planned = min(self.config.batch_size, len(order) - begin)
        self._count(
            batches=1,
            images=len(result.labels),
            bytes_read=result.bytes_read,
            fetch_s=result.fetch_s,
            decode_s=result.decode_s,
            wait_s=waited,
            skipped=planned - len(result.labels),
            cache_hits=result.cache_hits,
            messages=result.messages,
        )
        images, labels = result.images, result.labels
        if should_pin(self.config):
            images, labels = images.pin_memory(), labels.pin_memory()
        padding = min(order.padding_in(begin, begin + planned), len(labels))
        return Batch(images, labels, result.bytes_read, result.ids, padding)


class _Batches:
    """A map-style dataset whose items are whole batches, by the number of their first sample."""

    def __init__(
        self,
        config: LoaderConfig,
        files: FileList,
        cache: SharedCache | None,
        order: EpochOrder,
        epoch: int,
    ) -> None:
        self.config = config
        self.files = files
        self.cache = cache
        self.order = order
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, begin: int) -> _Result:
        import torch

        numbers = self.order.record[begin : begin + self.config.batch_size]
        size = self.config.transform.size
        pixels = np.empty((len(numbers), size, size, 3), dtype=np.uint8)
        kept: list[int] = []
        messages: list[str] = []
        failure = None
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
                pixels[len(kept)] = self._decode(number, content)
                decode_s += time.perf_counter() - fetched
                kept.append(number)
            except DataError as error:
                messages.append(str(error))
                if self.config.on_damage == "fail":
                    failure = str(error)
                    break
        images = transform.to_tensor(pixels[: len(kept)], self.config.output)
        labels = torch.from_numpy(self.files.labels[kept])
        ids = np.stack([np.asarray(kept, np.int64), np.zeros(len(kept), np.int64)], axis=1)
        return _Result(
            images, labels, ids, bytes_read, fetch_s, decode_s, hits, tuple(messages), failure
        )

    def _fetch(self, number: int) -> tuple[bytes, bool]:
        path = self.files.paths[number]
        if self.cache is None:
            return read_bytes(path), False
        return self.cache.get(number, lambda: read_bytes(path))

    def _decode(self, number: int, content: bytes) -> NDArray[np.uint8]:
        config = self.config
        try:
            with Image.open(io.BytesIO(content)) as image:
                _check_size(image)
                placements = transform.place(
                    config.transform,
                    seed=config.seed,
                    epoch=self.epoch,
                    samples=[number],
                    widths=[image.width],
                    heights=[image.height],
                )
                cut = transform.cut_out(_to_rgb(image), config.transform, placements)
            if config.auto_augment:
                cut = auto_augment(cut, augment_uniforms(config.seed, self.epoch, number))
            return np.asarray(cut)
        except Exception as error:  # Pillow raises whatever its many readers raise
            raise DataError(f"{self.files.paths[number]} cannot be decoded: {error}.") from error


def augment_uniforms(seed: int, epoch: int, sample: int) -> NDArray[np.float64]:
    """Return the 5 random numbers in [0, 1) that AutoAugment takes for a sample."""
    key = np.asarray(_AUGMENT, dtype=np.uint64)
    for number in (seed, epoch, sample):
        key = mix64(mix64(key) ^ np.uint64(number % (1 << 64)))
    numbers = mix64(np.arange(5, dtype=np.uint64) ^ key)
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _check_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")


def _to_rgb(image: Image.Image) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of palettes with transparency: there is none in RGB
        return image.convert("RGB")


def _start_worker(worker: int) -> None:
    """Leave Ctrl-C to the parent, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _report_unless_alone


def _report_unless_alone(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say nothing of a batch that the parent did not wait for: it ends while one is on its way."""
    if not issubclass(kind, ConnectionError | EOFError):
        sys.__excepthook__(kind, error, trace)
