"""The `dali-cpu` and `dali-gpu` loaders: DALI reads and decodes an ImageFolder.

DALI's reader would shuffle in its own way. Here it gets the list of files in our order, with a new
pipeline each epoch, so that order and resuming work as in every other loader.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from dl2cli.errors import DataError, UsageError
from dl2cli.loaders.base import Batch, LoaderConfig
from dl2cli.loaders.dali.pipeline import BatchSource, Decoding, check_config
from dl2cli.loaders.files import FileList, FileLoader


class DaliLoader(FileLoader):
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
        super().__init__(config)

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        config = self.config
        order = self.order.epoch(epoch).tail(first * config.batch_size)
        record = order.record.astype(np.int64)
        paths = [self.files.path(number) for number in record.tolist()]
        with (
            _Headers(self.files, record, config) as headers,
            Decoding(
                config,
                BatchSource(config, order, epoch, headers.next, always_full=True),
                gpu=self.gpu,
                paths=paths,
            ) as decoding,
        ):
            for at in range(0, len(order), config.batch_size):
                numbers = record[at : at + config.batch_size]
                start = time.perf_counter()
                try:
                    images = decoding.next(len(numbers), str(config.data))
                except DataError as error:
                    # DALI may have been ahead of this batch.
                    in_flight = record[at : at + (config.prefetch + 1) * config.batch_size]
                    raise self._explained(error, in_flight) from error
                waited = time.perf_counter() - start
                bytes_read = sum(self.files.bytes(number) for number in numbers.tolist())
                self._count(batches=1, images=len(numbers), bytes_read=bytes_read, wait_s=waited)
                labels = decoding.labels(self.files.labels[numbers])
                ids = np.stack([numbers, np.zeros_like(numbers)], axis=1)
                padding = order.padding_in(at, at + len(numbers))
                yield Batch(images, labels, bytes_read, ids, padding)

    def _explained(self, error: DataError, numbers: NDArray[np.int64]) -> DataError:
        """Return an error that names a damaged file and its damage, as DALI's often does not."""
        reasons = (
            self.files.find_damage(number, self.config.limits) for number in numbers.tolist()
        )
        found = next((reason for reason in reasons if reason is not None), None)
        return error if found is None else DataError(found)


class DaliGpuLoader(DaliLoader):
    """Loads an ImageFolder and decodes on the GPU, where its batches stay."""

    name = "dali-gpu"
    gpu = True


class _Headers:
    """Looks up the sizes of images, on which their crops depend, ahead of the batches.

    Threads open the files, so that the caller does not wait for storage.
    """

    def __init__(self, files: FileList, numbers: NDArray[np.int64], config: LoaderConfig) -> None:
        batches = range(0, len(numbers), config.batch_size)
        self._files = files
        self._todo = (numbers[at : at + config.batch_size] for at in batches)
        self._pool = ThreadPoolExecutor(config.workers, "dl2-headers")
        self._ahead: deque[Future[list[tuple[int, int]]]] = deque()
        for _ in range(config.prefetch + 1):
            self._look_ahead()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def next(self, places: NDArray[np.int64]) -> tuple[None, NDArray[np.uint32]]:
        """Return the sizes of the next batch, one for each of its places. Raises DataError."""
        self._look_ahead()
        sizes = self._ahead.popleft().result()
        sizes += sizes[-1:] * (len(places) - len(sizes))
        return None, np.asarray(sizes, dtype=np.uint32)

    def _look_ahead(self) -> None:
        batch = next(self._todo, None)
        if batch is not None:
            self._ahead.append(self._pool.submit(self._sizes, batch.tolist()))

    def _sizes(self, numbers: list[int]) -> list[tuple[int, int]]:
        return [self._files.size(number) for number in numbers]
