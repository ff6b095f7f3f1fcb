"""The `pcr` loader: records at fidelity k, decoded by the native core's own threads.

Memory, beyond what the process has anyway, at most::

    lanes x 2 x shuffle_window x (the largest record's prefix at k, rounded up to 2 MiB)
  + (prefetch + 1) x batch_size x 3 x size x size x (4 if normalized else 1)
  + workers x (9 bytes x the pixels of an image + 4 bytes x the rows of its crop x size)

where lanes are those of which this rank has a share: one, unless `LoaderConfig.lanes` says
otherwise. A record's prefix is read once an epoch, by one rank, where each rank has a lane of its
own (but for the records at the ends of a lane, which its neighbours read, too); else once by every
rank that has a share of its lane.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dl2cli import pcr
from dl2cli.errors import DataError, Dl2Error, StorageError, UsageError
from dl2cli.loaders import transform
from dl2cli.loaders.base import Batch, Loader, LoaderConfig, LoaderStats, require_torch, should_pin
from dl2cli.loaders.order import EpochOrder, Order
from dl2cli_native import _core

if TYPE_CHECKING:
    import torch

_POLL_MS = 100  # how long Ctrl-C may wait


class PcrLoader(Loader):
    """Loads a PCR dataset."""

    name = "pcr"

    def __init__(self, config: LoaderConfig) -> None:
        """Open the dataset.

        Raises:
            UsageError: there is no dataset, no such fidelity, or an option makes no sense.
            DataError: the dataset is damaged or unfinished.
            MissingDependency: torch is not installed.
        """
        require_torch()
        transform.check(config.transform)
        self.dataset = pcr.open(config.data)
        super().__init__(config, record_order(self.dataset, config), self.dataset.classes)
        self._scans = 0
        self.set_scans(config.scans)
        records = self.dataset.records
        self._store = _core.RecordStore(
            os.fsencode(self.dataset.path),
            [record.file for record in records],
            [list(record.lengths) for record in records],
            [record.crc32c for record in records],
            self.order.max_records,
            config.throttle.native() if config.throttle else None,
        )
        self._ready_sum = 0

    @property
    def scans(self) -> int:
        """The fidelity k at which batches are loaded."""
        return self._scans

    @property
    def groups(self) -> int:
        """G, the number of scan groups of the dataset."""
        return self.dataset.groups

    def set_scans(self, scans: int | None) -> None:
        """Change the fidelity, from the very next batch on; None is full fidelity.

        In the middle of an epoch, what was read and decoded ahead is thrown away and the current
        records are read again; between epochs it costs nothing.

        Raises:
            UsageError: there is no such fidelity.
        """
        wanted = self.dataset.groups if scans is None else scans
        self.dataset.prefix_bytes(wanted)  # refuses what is out of range
        self._scans = wanted

    def stats(self) -> LoaderStats:
        """Return the totals so far; `fetch_wait_s` is of decoders that waited for records."""
        stats = super().stats()
        mean = self._ready_sum / stats.batches if stats.batches else None
        return replace(stats, ready_batches=mean)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        order = self.order.epoch(epoch)
        while first < len(self):
            scans = self._scans
            with contextlib.closing(_Run(self, order, epoch, first)) as run:
                while first < len(self) and scans == self._scans:
                    first += 1
                    yield run.next()


class _Run:
    """The native loader at work, from one batch to the end of an epoch."""

    def __init__(self, loader: PcrLoader, order: EpochOrder, epoch: int, first: int) -> None:
        self.loader = loader
        config = self.config = loader.config
        self.rest = order.tail(first * config.batch_size)
        self.steps = len(loader) - first
        self.taken = 0
        self.before = _Totals()
        self.memory: deque[tuple[torch.Tensor, torch.Tensor]] = deque()
        self.pin = should_pin(config)
        self.native = _core.BatchLoader(
            store=loader._store,
            visits=self.rest.visits,
            visit=self.rest.visit,
            slot=self.rest.slot,
            sample=self.rest.sample,
            batch_size=config.batch_size,
            transform=config.transform.native(),
            output=config.output.native(),
            groups=loader.scans,
            max_records=loader.order.max_records,
            decode_threads=config.workers,
            fetch_threads=config.fetch_threads,
            on_damage=config.on_damage,
            smoothing=config.smoothing,
            seed=config.seed % (1 << 64),
            epoch=epoch,
        )

    def close(self) -> None:
        self.native.close()

    def next(self) -> Batch:
        """Wait for the next batch; while it is looked at, `prefetch` others are prepared."""
        try:
            while len(self.memory) <= self.config.prefetch and (
                self.taken + len(self.memory) < self.steps
            ):
                self._give()
            self.loader._ready_sum += self.native.statistics().ready_batches
            start = time.perf_counter()
            while not self.native.wait(_POLL_MS):
                pass
            waited = time.perf_counter() - start
            result = self.native.take()
        except Exception as error:
            raise _translate(error, self.loader.dataset.path) from error
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
        totals = _Totals.of(self.native.statistics())
        path = self.loader.dataset.path
        self.loader._count(
            batches=1,
            images=len(result.kept),
            wait_s=waited,
            degraded=result.degraded,
            skipped=planned - len(result.kept),
            messages=tuple(f"{path}, {sentence}." for sentence in result.damage),
            **totals.since(self.before),
        )
        self.before = totals


class _Totals(dict[str, float]):
    """The native loader's counters, by the names of `LoaderStats`."""

    @classmethod
    def of(cls, native: _core.LoaderStatistics) -> _Totals:
        return cls(
            bytes_read=native.bytes_read,
            records_read=native.records,
            fetch_s=native.fetch_s,
            decode_s=native.decode_s,
            fetch_wait_s=native.record_wait_s,
        )

    def since(self, before: _Totals) -> dict[str, float]:
        return {name: value - before.get(name, 0) for name, value in self.items()}


def record_order(dataset: pcr.Dataset, config: LoaderConfig) -> Order:
    """Return the order of a PCR dataset's images. Raises UsageError."""
    return Order(
        [record.images for record in dataset.records],
        batch_size=config.batch_size,
        seed=config.seed,
        shuffle=config.shuffle,
        shuffle_window=config.shuffle_window,
        rank=config.rank,
        world_size=config.world_size,
        lanes=config.lanes,
        tail=config.tail,
    )


def image_sizes(record: pcr.Record) -> NDArray[np.uint32]:
    """Return the width and height of each image of a record: uint32 (n, 2). Raises DataError."""
    if len(record.widths) == len(record):
        return np.stack([record.widths, record.heights], axis=1).astype(np.uint32)
    sizes = []  # the published converter keeps no sizes
    for slot, jpeg in enumerate(record.images):
        try:
            header = _core.read_jpeg_header(jpeg)
        except _core.DataError as error:
            raise DataError(f"record {record.info.file}, image {slot}: {error}.") from error
        sizes.append((header.width, header.height))
    return np.asarray(sizes, dtype=np.uint32).reshape(-1, 2)


def _translate(error: Exception, path: Path) -> Dl2Error:
    if isinstance(error, _core.DataError):
        return DataError(f"{path}, {error}.")
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}, {error.strerror}.")
    if isinstance(error, OSError):
        return StorageError(f"{path}, {error.strerror}.")
    if isinstance(error, MemoryError):
        return StorageError(f"{path}: not enough memory; choose a smaller shuffle window.")
    return UsageError(f"{path}: {error}.")
