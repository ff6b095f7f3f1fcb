"""How the tests get batches, and compare them."""

import numpy as np
import torch

from dl2cli.loaders import Batch, LoaderConfig
from dl2cli.loaders.native.pcr import PcrLoader


def load(config: LoaderConfig, epoch: int = 0) -> list[Batch]:
    """An epoch of the pcr loader."""
    loader = PcrLoader(config)
    loader.set_epoch(epoch)
    return list(loader)


def same(left: list[Batch], right: list[Batch]) -> bool:
    """Whether two lists of batches are equal in all that is not about how they came."""
    return len(left) == len(right) and all(
        torch.equal(a.images, b.images)
        and torch.equal(a.labels, b.labels)
        and np.array_equal(a.ids, b.ids)
        and a.padding == b.padding
        for a, b in zip(left, right, strict=True)
    )
