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

from dl2cli.loaders import transform
from dl2cli.loaders.base import LoaderConfig, require_torch
from dl2cli.loaders.native.loader import NativeLoader, NativeSetup
from dl2cli.loaders.records import RecordLoader, fetch_threads
from dl2cli_native import _core


class PcrLoader(RecordLoader, NativeLoader):
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
        super().__init__(config)
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
