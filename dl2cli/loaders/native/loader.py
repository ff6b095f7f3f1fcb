"""The base of `pcr` and `jpeg`, the loaders that decode on the native core's own threads.

`NativeLoader` opens a store of samples (records or files). For each epoch a `_NativeEpoch` gives
the native loader its plan and the memory of batches, and takes the batches that are done.
"""

from __future__ import annotations

import contextlib
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dl2cli.dataset.pillow_limits import pillow_limits
from dl2cli.dataset.pixels import read_pixels
from dl2cli.errors import DataError, Dl2Error, UsageError, is_file_fault, system_failure
from dl2cli.loaders.base import Batch, Loader, LoaderConfig, LoaderStats, should_pin
from dl2cli.loaders.order.sample_order import EpochOrder
from dl2cli_native import _core

if TYPE_CHECKING:
    import torch
    from PIL import Image

_POLL_MS: Final = 100  # how long Ctrl-C may wait


@dataclass(frozen=True)
class NativeSetup:
    """How the native loader works on a store.

    Attributes:
        store: the samples.
        path: the dataset.
        limits: the limits that an image's header must keep.
        max_visits: the number of records or files in memory at a time.
        fetch_threads: threads that read records or files.
        units: the unit of reading, "records" or "files", for messages and counters.
    """

    store: _core.SampleStore
    path: Path
    limits: _core.Limits
    max_visits: int
    fetch_threads: int
    units: str

    def named(self, sentence: str) -> str:
        """Return a sentence of the native core about a record or a file, with the dataset."""
        joint = "/" if self.units == "files" else ", "
        return f"{self.path}{joint}{sentence}"


class NativeLoader(Loader):
    """A loader that runs on the native core's threads."""

    scales = True
    _setup: NativeSetup
    _ready_sum = 0  # batches that were ready, summed over all batches

    @property
    @abstractmethod
    def scans(self) -> int:
        """The fidelity k at which batches are loaded."""

    def stats(self) -> LoaderStats:
        """Return the totals so far; `fetch_wait_s` is the time that decoders waited for data."""
        stats = super().stats()
        mean = self._ready_sum / stats.batches if stats.batches else None
        return replace(stats, ready_batches=mean)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        order = self.order.epoch(epoch)
        while first < len(self):
            scans = self.scans
            with contextlib.closing(_NativeEpoch(self, order, epoch, first)) as native:
                while first < len(self) and scans == self.scans:
                    first += 1
                    yield native.next()


class _NativeEpoch:
    """The native loader at work, from one batch to the end of an epoch."""

    def __init__(self, loader: NativeLoader, order: EpochOrder, epoch: int, first: int) -> None:
        self.loader = loader
        config = self.config = loader.config
        self.setup = loader._setup
        self.rest = order.tail(first * config.batch_size)
        self.steps = len(loader) - first
        self.taken = 0
        self.before: dict[str, float] = {}
        self.memory: deque[tuple[torch.Tensor, torch.Tensor]] = deque()
        self.pin = should_pin(config)
        self.native = _core.BatchLoader(
            store=self.setup.store,
            visits=self.rest.visits,
            visit=self.rest.visit,
            slot=self.rest.slot,
            sample=self.rest.sample,
            batch_size=config.batch_size,
            transform=config.transform.native(),
            output=config.output.native(),
            limits=self.setup.limits,
            scans=loader.scans,
            max_visits=self.setup.max_visits,
            decode_threads=config.workers,
            fetch_threads=self.setup.fetch_threads,
            on_damage=config.on_damage,
            smoothing=config.smoothing,
            apply_orientation=config.exif_orientation == "apply",
            codec=config.codec,
            scaled_decode=config.scaled_decode,
            seed=config.seed % (1 << 64),
            epoch=epoch,
        )
        self.foreign = _ForeignDecoders(self.native, self.setup.limits, config)

    def close(self) -> None:
        self.foreign.close()
        self.native.close()

    def next(self) -> Batch:
        """Wait for the next batch; `prefetch` others are prepared while the caller uses it."""
        try:
            while len(self.memory) <= self.config.prefetch and (
                self.taken + len(self.memory) < self.steps
            ):
                self._give()
            self.loader._ready_sum += self.native.statistics().ready_batches
            start = time.perf_counter()
            self.foreign.begin()
            while not self.native.wait(_POLL_MS):
                self.foreign.begin()
            waited = time.perf_counter() - start
            result = self.native.take()
        except Exception as error:
            raise self._translated(error) from error
        return self._finish(result, waited)

    def _give(self) -> None:
        import torch

        config = self.config
        size = config.transform.size
        kind = torch.float32 if config.output.normalized else torch.uint8
        shape = (size, size, 3) if config.output.channels_last else (3, size, size)
        images = torch.empty((config.batch_size, *shape), dtype=kind, pin_memory=self.pin)
        labels = torch.empty(config.batch_size, dtype=torch.int64, pin_memory=self.pin)
        self.native.give(images.numpy(), labels.numpy())
        self.memory.append((images, labels))

    def _finish(self, result: _core.BatchResult, waited: float) -> Batch:
        images, labels = self.memory.popleft()
        config, rest = self.config, self.rest
        begin = self.taken * config.batch_size
        self.taken += 1
        planned = min(config.batch_size, len(rest) - begin)
        kept = result.kept.astype(np.int64) + begin
        if config.output.channels_last:
            images = images.permute(0, 3, 1, 2)
        self._count(result, planned, waited)
        ids = np.stack([rest.record[kept], rest.slot[kept]], axis=1).astype(np.int64)
        padding = int(np.count_nonzero(kept >= len(rest) - rest.padding))
        count = len(kept)
        return Batch(images[:count], labels[:count], result.bytes_read, ids, padding)

    def _count(self, result: _core.BatchResult, planned: int, waited: float) -> None:
        totals = _totals(self.native.statistics(), self.setup.units)
        since = {name: value - self.before.get(name, 0) for name, value in totals.items()}
        self.before = totals
        self.loader._count(
            batches=1,
            images=len(result.kept),
            wait_s=waited,
            degraded=result.degraded,
            skipped=planned - len(result.kept),
            messages=tuple(f"{self.setup.named(sentence)}." for sentence in result.damage),
            **since,
        )

    def _translated(self, error: Exception) -> Dl2Error:
        if isinstance(error, Dl2Error):
            return error
        if isinstance(error, _core.DataError):
            return DataError(f"{self.setup.named(str(error))}.")
        if isinstance(error, OSError) and is_file_fault(error):
            return DataError(f"{self.setup.named(str(error.strerror))}.")
        if isinstance(error, OSError):
            name, _, reason = str(error.strerror).rpartition(": ")
            return system_failure(self.setup.named(name), OSError(error.errno, reason))
        if isinstance(error, MemoryError):
            return system_failure(self.setup.path, error)
        return UsageError(f"{self.setup.path}: {error}.")


def _totals(native: _core.LoaderStatistics, units: str) -> dict[str, float]:
    """Return the native loader's counters, by the names of `LoaderStats`."""
    totals = {
        "bytes_read": native.bytes_read,
        "fetch_s": native.fetch_s,
        "decode_s": native.decode_s,
        "fetch_wait_s": native.fetch_wait_s,
    }
    return {**totals, "records_read": native.units} if units == "records" else totals


class _ForeignDecoders:
    """Threads that decode with Pillow what the native codec cannot; they start when first needed.

    While they run, Pillow's limit of pixels and its warnings are changed for the whole process
    (`pillow_limits`).
    """

    def __init__(
        self, native: _core.BatchLoader, limits: _core.Limits, config: LoaderConfig
    ) -> None:
        self._native, self._limits, self._threads = native, limits, config.workers
        self._turn = config.exif_orientation == "apply"
        self._pool: ThreadPoolExecutor | None = None
        self._under_way: set[Future[None]] = set()
        self._open = contextlib.ExitStack()

    def begin(self) -> None:
        """Begin to decode the images that wait. Raises the error that stopped an earlier one."""
        for done in [future for future in self._under_way if future.done()]:
            self._under_way.remove(done)
            done.result()
        for ticket, _, content in self._native.take_foreign():
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, "dl2-pillow")
                self._open.enter_context(pillow_limits(self._limits))
            self._under_way.add(self._pool.submit(self._decode, ticket, content))

    def close(self) -> None:
        """Wait for the images under way and forget the others."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._open.close()

    def _decode(self, ticket: int, content: bytes) -> None:
        start = time.perf_counter()
        try:
            pixels = read_pixels(content, self._limits, apply_orientation=self._turn)
            rgbx = _as_rgbx(pixels)
        except DataError as error:
            self._native.reject_foreign(ticket, str(error))
        else:
            self._native.put_foreign(ticket, rgbx, time.perf_counter() - start)


def _as_rgbx(pixels: Image.Image) -> NDArray[np.uint8]:
    """Return an image, gray or RGB, as uint8 (H, W, 4)."""
    rgbx = np.frombuffer(pixels.convert("RGB").tobytes("raw", "RGBX"), np.uint8)
    return rgbx.reshape(pixels.height, pixels.width, 4)
