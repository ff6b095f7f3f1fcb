"""The `dali-cpu` and `dali-gpu` loaders: DALI reads and decodes an ImageFolder.

DALI's reader would shuffle in its own way; here it gets the list of files in our order, with a new
pipeline each epoch, so that order and resuming are those of every other loader.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dl2cli.errors import UsageError
from dl2cli.loaders.base import Batch, Loader, LoaderConfig
from dl2cli.loaders.dali_pipeline import BatchSource, Decoding, check_config
from dl2cli.loaders.files import file_order, list_files


class DaliLoader(Loader):
    """Loads an ImageFolder with DALI's CPU operators."""

    name = "dali-cpu"
    gpu: ClassVar[bool] = False

    def __init__(self, config: LoaderConfig) -> None:
        """List the folder.

        Raises:
            UsageError: there is no ImageFolder, or an option makes no sense here.
            DataError: there are no images.
            MissingDependency: torch or DALI is not installed.
        """
        if config.throttle is not None:
            raise UsageError(
                f"{self.name} leaves the reading of files to DALI, which cannot be throttled: "
                "choose pcr, pcr-dali, pcr-dali-gpu or pytorch."
            )
        check_config(config, gpu=self.gpu)
        self.files = list_files(config)
        super().__init__(config, file_order(self.files, config), self.files.classes)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        import torch

        config = self.config
        order = self.order.epoch(epoch).tail(first * config.batch_size)
        record = order.record.astype(np.int64)

        def load(places: NDArray[np.int64]) -> tuple[None, NDArray[np.uint32]]:
            sizes = [self.files.size(number) for number in record[places].tolist()]
            return None, np.asarray(sizes, dtype=np.uint32)

        source = BatchSource(config, order, epoch, load, always_full=True)
        paths = [self.files.paths[number] for number in record.tolist()]
        decoding = Decoding(config, source, gpu=self.gpu, paths=paths)
        for at in range(0, len(order), config.batch_size):
            numbers = record[at : at + config.batch_size]
            start = time.perf_counter()
            images = decoding.next(len(numbers), str(config.data))
            waited = time.perf_counter() - start
            bytes_read = sum(self.files.bytes(number) for number in numbers.tolist())
            self._count(batches=1, images=len(numbers), bytes_read=bytes_read, wait_s=waited)
            labels = torch.from_numpy(self.files.labels[numbers]).to(images.device)
            ids = np.stack([numbers, np.zeros_like(numbers)], axis=1)
            yield Batch(images, labels, bytes_read, ids, order.padding_in(at, at + len(numbers)))


class DaliGpuLoader(DaliLoader):
    """Loads an ImageFolder, decoded on the GPU; its batches are there."""

    name = "dali-gpu"
    gpu = True
