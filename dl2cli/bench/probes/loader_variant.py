"""Loader variants: which loader, at which fidelity, with how many workers, how fast a storage."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from dl2cli import pcr
from dl2cli.bench.config import BenchConfig
from dl2cli.dataset.location import DatasetKind
from dl2cli.loaders import (
    Loader,
    LoaderConfig,
    OutputConfig,
    TransformConfig,
    create_loader,
)
from dl2cli.loaders.contents import count_images, data_files
from dl2cli.loaders.registry import find_loader, is_custom
from dl2cli.stores.options import StoreOptions

_SOME_FILES = 1000  # whose mean size is taken for the mean size of all


@dataclass(frozen=True)
class LoaderVariant:
    """One way of loading a dataset.

    Attributes:
        loader: name of the loader.
        data: the dataset.
        scans: the fidelity k; None for loaders of plain files.
        workers: threads or processes that decode.
        throttle: the limits of reading, or None.
    """

    loader: str
    data: Path
    scans: int | None
    workers: int
    throttle: str | None = None

    @property
    def reads_records(self) -> bool:
        """Whether the loader reads PCR records, and so has a fidelity."""
        return find_loader(self.loader).reads is DatasetKind.PCR

    @property
    def is_custom(self) -> bool:
        """Whether it is a loader of the user's own."""
        return is_custom(self.loader)

    @property
    def name(self) -> str:
        """Return a short name ("pcr k=5, 2 workers"); a loader of the user's has its own."""
        if self.is_custom:
            return self.loader
        scans = "" if self.scans is None else f" k={self.scans}"
        return f"{self.loader}{scans}, {self.workers} worker{'s' if self.workers > 1 else ''}"

    def throttled(self, limits: str | None) -> LoaderVariant:
        """Return the same with other limits."""
        return replace(self, throttle=limits)

    def create(
        self, config: BenchConfig, *, normalized: bool, store: StoreOptions | None = None
    ) -> Loader:
        """Make the loader.

        Args:
            config: batch and image size, the codec, the orientation, and the seed.
            normalized: float32 batches, as a step on the CPU takes them; else bytes.
            store: how a store is asked, for data that is in one.

        Raises:
            UsageError: the loader cannot read this data, or do what is asked.
            DataError: the dataset is damaged.
            MissingDependency: a part of the loader is not installed.
        """
        from dl2cli.loaders.throttle import Throttle

        return create_loader(
            self.loader,
            LoaderConfig(
                data=self.data,
                batch_size=config.batch_size,
                transform=TransformConfig(size=config.image_size),
                output=OutputConfig(normalized=normalized),
                seed=config.seed,
                codec=config.codec,
                exif_orientation=config.exif_orientation,
                workers=self.workers,
                scans=self.scans,
                # Runs here are short: the start of processes would be most of what they cost.
                persistent_workers=True,
                throttle=Throttle.parse(self.throttle) if self.throttle else None,
                store=store,
            ),
        )


def bytes_per_image(variant: LoaderVariant) -> dict[int | None, float]:
    """Return how many bytes an epoch reads for an image, at each fidelity; of files, the mean."""
    if variant.reads_records:
        dataset = pcr.open(variant.data)
        count = max(dataset.image_count, 1)
        return {k: dataset.prefix_bytes(k) / count for k in range(1, dataset.groups + 1)}
    files = data_files(variant.data)
    some = files[:: max(len(files) // _SOME_FILES, 1)]
    mean = sum(file.stat().st_size for file in some) / len(some)
    return {None: mean * len(files) / max(count_images(variant.data), 1)}


def dataset_name(data: Path) -> str:
    """Return what a dataset is called: the name of its folder, or of the one above a split."""
    resolved = Path(os.path.abspath(data))  # noqa: PTH100 - as the user names it, links unresolved
    return resolved.parent.name if resolved.name in ("train", "val") else resolved.name
