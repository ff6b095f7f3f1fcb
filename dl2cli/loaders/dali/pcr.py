"""The `pcr-dali` loader: dl2 reads records at fidelity k, and DALI decodes them.

Memory: 2 x shuffle_window records at k for each lane of which this rank has a share, as whole
JPEGs, and what DALI itself takes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dl2cli import pcr
from dl2cli.errors import DataError
from dl2cli.loaders.base import Batch, LoaderConfig
from dl2cli.loaders.dali.pipeline import BatchSource, Decoding, check_config
from dl2cli.loaders.order.sample_order import EpochOrder
from dl2cli.loaders.records import RecordLoader, fetch_threads, image_sizes


class PcrDaliLoader(RecordLoader):
    """Loads a PCR dataset with DALI's CPU operators."""

    name = "pcr-dali"
    gpu: ClassVar[bool] = False

    def __init__(self, config: LoaderConfig) -> None:
        """Open the dataset. Raises as `PcrLoader` does, and MissingDependency without DALI."""
        check_config(config, gpu=self.gpu)
        super().__init__(config)
        self._throttle = config.throttle.native() if config.throttle else None

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        config = self.config
        order = self.order.epoch(epoch).tail(first * config.batch_size)
        dataset = self.dataset
        if self._throttle is not None:
            dataset = dataset.throttled(self._throttle)
        max_records, threads = self.order.max_records, fetch_threads(config)
        with (
            _Records(
                dataset, self.scans, order, max_records=max_records, threads=threads
            ) as records,
            Decoding(
                config,
                BatchSource(config, order, epoch, records.load, always_full=False),
                gpu=self.gpu,
            ) as decoding,
        ):
            for at in range(0, len(order), config.batch_size):
                end = min(at + config.batch_size, len(order))
                start = time.perf_counter()
                images = decoding.next(end - at, str(self.dataset.path))
                waited = time.perf_counter() - start
                bytes_read, numbers = records.loaded.pop(at)
                self._count(
                    batches=1,
                    images=end - at,
                    bytes_read=bytes_read,
                    wait_s=waited,
                    messages=(),
                    **records.take_times(),
                )
                ids = np.stack([order.record[at:end], order.slot[at:end]], axis=1)
                padding = order.padding_in(at, end)
                labels = decoding.labels(numbers)
                yield Batch(images, labels, bytes_read, ids.astype(np.int64), padding)


class PcrDaliGpuLoader(PcrDaliLoader):
    """Loads a PCR dataset and decodes on the GPU, where its batches stay."""

    name = "pcr-dali-gpu"
    gpu = True


class _Records:
    """Reads the records of an epoch ahead, with at most two windows of each lane in memory."""

    def __init__(
        self,
        dataset: pcr.Dataset,
        scans: int,
        order: EpochOrder,
        *,
        max_records: int,
        threads: int,
    ) -> None:
        self._dataset, self._scans, self._order = dataset, scans, order
        self._max_records = max_records
        self.loaded: dict[int, tuple[int, NDArray[np.int64]]] = {}  # place: bytes read, labels
        self._times = {"fetch_s": 0.0, "fetch_wait_s": 0.0, "records_read": 0}
        self._left = np.bincount(order.visit, minlength=len(order.visits))
        self._open: dict[int, Future[_Opened]] = {}
        self._next = 0
        self._pool = ThreadPoolExecutor(threads, "dl2-fetch")
        self._read_ahead()

    def __enter__(self) -> _Records:
        return self

    def __exit__(self, *error: object) -> None:
        self._dataset.release_throttle()
        self._pool.shutdown(cancel_futures=True)

    def load(self, places: NDArray[np.int64]) -> tuple[list[Any], NDArray[np.uint32]]:
        """Return the JPEGs and the sizes of a batch. Raises DataError, StorageError."""
        jpegs, labels, sizes, bytes_read = [], [], [], 0
        for place in places.tolist():
            visit, slot = int(self._order.visit[place]), int(self._order.slot[place])
            start = time.perf_counter()
            opened = self._open[visit].result()
            self._times["fetch_wait_s"] += time.perf_counter() - start
            if (charged := opened.charge()) > 0:
                bytes_read += charged
                self._times["fetch_s"] += opened.fetch_s
                self._times["records_read"] += 1
            jpegs.append(np.frombuffer(opened.record.image(slot), np.uint8))
            labels.append(opened.record.labels[slot])
            sizes.append(opened.sizes[slot])
            self._left[visit] -= 1
            if self._left[visit] == 0:
                del self._open[visit]
                self._read_ahead()
        self.loaded[int(places[0])] = bytes_read, np.asarray(labels, dtype=np.int64)
        return jpegs, np.asarray(sizes, dtype=np.uint32)

    def take_times(self) -> dict[str, float]:
        """Return what has been read since the last time, by the names of `LoaderStats`."""
        times = dict(self._times)
        self._times = dict.fromkeys(times, 0)
        return times

    def _read_ahead(self) -> None:
        while self._next < len(self._left) and len(self._open) < self._max_records:
            record = int(self._order.visits[self._next])
            self._open[self._next] = self._pool.submit(_Opened, self._dataset, record, self._scans)
            self._next += 1


def _check_labels(dataset: pcr.Dataset, record: pcr.Record) -> None:
    """Refuse labels without a class; the native core does the same. Raises DataError."""
    classes = len(dataset.classes)
    wrong = np.flatnonzero((record.labels < 0) | (record.labels >= classes))
    if len(wrong):
        slot = int(wrong[0])
        raise DataError(
            f"{dataset.path}, record {record.info.file}, image {slot}: its label is "
            f"{record.labels[slot]}, and there are {classes} classes."
        )


class _Opened:
    """A record in memory, and whether a batch accounts for its bytes."""

    def __init__(self, dataset: pcr.Dataset, number: int, scans: int) -> None:
        start = time.perf_counter()
        self.record = dataset.read(number, scans)
        self.fetch_s = time.perf_counter() - start
        _check_labels(dataset, self.record)
        self.sizes = image_sizes(self.record)
        self._charged = False

    def charge(self) -> int:
        """Return the number of bytes read on the first call, and 0 afterwards."""
        charged, self._charged = self._charged, True
        return 0 if charged else self.record.bytes_read
