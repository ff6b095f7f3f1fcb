"""The records of a PCR dataset, for the loaders that read them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dl2cli import pcr
from dl2cli.errors import DataError
from dl2cli.loaders.base import Loader, LoaderConfig, LoaderStats
from dl2cli.loaders.order.sample_order import SampleOrder
from dl2cli.stores.path import is_remote
from dl2cli.stores.reader import StoreReader
from dl2cli_native import _core

STORE_FETCH_THREADS: Final = 4


class RecordLoader(Loader):
    """A loader that reads the records of a PCR dataset at fidelity k."""

    def __init__(self, config: LoaderConfig) -> None:
        """Open the dataset.

        Raises:
            UsageError: there is no dataset, no such fidelity, or an option makes no sense.
            DataError: the dataset is damaged or unfinished.
            StorageError: the system or the store refuses to read it.
        """
        self.dataset = pcr.open(config.data, config.store)
        super().__init__(config, record_order(self.dataset, config), self.dataset.classes)
        self._scans = 0
        self.set_scans(config.scans)

    def stats(self) -> LoaderStats:
        """Return the totals so far; that a cache takes no more is a message, too."""
        stats = super().stats()
        place = self.dataset.place
        if not isinstance(place, StoreReader):
            return stats
        stopped = place.cache.stopped if place.cache is not None else None
        messages = stats.messages if stopped is None else (*stats.messages, stopped)
        return replace(stats, store=place.stats(), messages=messages)

    @property
    def scans(self) -> int:
        """The fidelity k at which batches are loaded."""
        return self._scans

    @property
    def groups(self) -> int:
        """G, the number of scan groups of the dataset."""
        return self.dataset.groups

    def set_scans(self, scans: int | None) -> None:
        """Change the fidelity; None is full fidelity.

        `pcr` loads its very next batch so: in the middle of an epoch, what was read and decoded
        ahead is thrown away and the current records are read again; between epochs it costs
        nothing. DALI's loaders change with the next epoch.

        Raises:
            UsageError: there is no such fidelity.
        """
        wanted = self.dataset.groups if scans is None else scans
        self.dataset.prefix_bytes(wanted)  # refuses what is out of range
        self._scans = wanted


def fetch_threads(config: LoaderConfig) -> int:
    """Return how many records are read at a time: more from a store, whose answers take longer."""
    if config.fetch_threads is not None:
        return config.fetch_threads
    return STORE_FETCH_THREADS if is_remote(config.data) else 1


def record_order(dataset: pcr.Dataset, config: LoaderConfig) -> SampleOrder:
    """Return the order of a PCR dataset's images. Raises UsageError."""
    return SampleOrder(
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
    sizes = []  # the PCR_Release converter keeps no sizes
    for slot, jpeg in enumerate(record.images):
        try:
            header = _core.read_jpeg_header(jpeg)
        except _core.DataError as error:
            raise DataError(f"record {record.info.file}, image {slot}: {error}.") from error
        sizes.append((header.width, header.height))
    return np.asarray(sizes, dtype=np.uint32).reshape(-1, 2)
