"""The `pcr` loader: records at fidelity k, decoded by the native core's own threads.

Memory, beyond what the process has anyway, at most::

    lanes x 2 x shuffle_window x (the largest record's prefix at k, rounded up to 2 MiB)
  + (prefetch + 1) x batch_size x 3 x size x size x (4 if normalized else 1)
  + workers x (9 bytes x the pixels of an image + 4 bytes x the rows of its crop x size)

where lanes counts the lanes of which this rank has a share: one, unless `LoaderConfig.lanes` says
otherwise. If each rank has its own lane, a record's prefix is read once an epoch by one rank
(except the records at the ends of a lane, which its neighbours read too); otherwise every rank that
has a share of its lane reads it once.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dl2cli import pcr
from dl2cli.errors import DataError
from dl2cli.loaders import transform
from dl2cli.loaders.base import LoaderConfig, require_torch
from dl2cli.loaders.native.loader import NativeLoader, NativeSetup
from dl2cli.loaders.order.sample_order import SampleOrder
from dl2cli.stores.path import is_remote
from dl2cli_native import _core

STORE_FETCH_THREADS: Final = 4


class PcrLoader(NativeLoader):
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
        self.dataset = pcr.open(config.data, config.store)
        super().__init__(config, record_order(self.dataset, config), self.dataset.classes)
        self._scans = 0
        self.set_scans(config.scans)
        records = self.dataset.records
        self._setup = NativeSetup(
            store=_core.RecordStore(
                place=self.dataset.place,
                names=[record.file for record in records],
                lengths=[list(record.lengths) for record in records],
                crc32c=[record.crc32c for record in records],
                label_count=len(self.classes),
                keep_buffers=self.order.max_records,
                throttle=config.throttle.native() if config.throttle else None,
            ),
            path=self.dataset.path,
            limits=self.dataset.limits,
            max_visits=self.order.max_records,
            fetch_threads=fetch_threads(config),
            units="records",
        )

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
