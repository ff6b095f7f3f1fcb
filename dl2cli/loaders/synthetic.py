"""The `synthetic` loader: one batch, made once and given again; no loader can be faster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from dl2cli import pcr
from dl2cli.dataset.discovery import discover
from dl2cli.dataset.location import is_pcr_dataset
from dl2cli.loaders import transform
from dl2cli.loaders.base import Batch, Loader, LoaderConfig, require_torch, should_pin
from dl2cli.loaders.order.sample_order import SampleOrder

DEFAULT_CLASSES: Final = 1000


class SyntheticLoader(Loader):
    """Gives as many batches as the dataset has, all with the same random pixels and labels.

    With `synthetic_images` it needs no dataset.
    """

    name = "synthetic"

    def __init__(self, config: LoaderConfig) -> None:
        """Count the dataset's images and make the batch.

        Raises:
            UsageError: the dataset to be counted does not exist, or an option makes no sense.
            DataError: the dataset is damaged or empty.
            MissingDependency: torch is not installed.
        """
        require_torch()
        transform.check(config.transform)
        images, classes = _count(config)
        order = SampleOrder(
            [1] * images,
            batch_size=config.batch_size,
            seed=config.seed,
            rank=config.rank,
            world_size=config.world_size,
            lanes=config.lanes or 1,
            tail=config.tail,
        )
        super().__init__(config, order, config.classes or classes)
        self._make_batch()

    def set_size(self, size_px: int, *, scaled_decode: bool) -> None:
        """Change the size of the images; there is nothing to decode."""
        super().set_size(size_px, scaled_decode=False)
        self._make_batch()

    def _make_batch(self) -> None:
        torch, config = require_torch(), self.config
        random = np.random.default_rng(config.seed)
        size = config.transform.size
        pixels = random.integers(0, 256, (config.batch_size, size, size, 3), dtype=np.uint8)
        tensor = transform.to_tensor(pixels, config.output)
        labels = torch.from_numpy(random.integers(0, max(len(self.classes), 1), config.batch_size))
        pin = should_pin(config)  # as real loaders do; otherwise the copy to the GPU would wait
        self._images = tensor.pin_memory() if pin else tensor
        self._labels = labels.pin_memory() if pin else labels

    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        for step in range(first, len(self)):
            begin = step * self.config.batch_size
            count = min(self.config.batch_size, self.order.samples - begin)
            self._count(batches=1, images=count)
            ids = np.stack([np.arange(begin, begin + count), np.zeros(count)], axis=1)
            padding = self.order.lanes.padding if step + 1 == len(self) else 0
            yield Batch(
                self._images[:count], self._labels[:count], 0, ids.astype(np.int64), padding
            )


def _count(config: LoaderConfig) -> tuple[int, tuple[str, ...]]:
    if config.synthetic_images is not None:
        return config.synthetic_images, tuple(str(label) for label in range(DEFAULT_CLASSES))
    if is_pcr_dataset(config.data):
        dataset = pcr.open(config.data)
        return dataset.image_count, dataset.classes
    folder = discover(config.data)
    return len(folder.files), folder.classes
