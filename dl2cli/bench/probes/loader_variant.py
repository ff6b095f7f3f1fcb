"""Loader variants: which loader, at which fidelity, with how many workers, how fast a storage."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from dl2cli import pcr
from dl2cli.bench.config import BenchConfig
from dl2cli.cores import usable_cores
from dl2cli.dataset.discovery import discover, find_splits
from dl2cli.dataset.location import is_pcr_dataset
from dl2cli.errors import UsageError
from dl2cli.loaders import (
    LOADERS,
    Loader,
    LoaderConfig,
    OutputConfig,
    TransformConfig,
    create_loader,
)

PCR_LOADERS = ("pcr", "pcr-dali", "pcr-dali-gpu")
_SOME_FILES = 1000  # whose mean size stands for that of all


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
    def name(self) -> str:
        """Return a short name ("pcr k=5, 2 workers")."""
        scans = "" if self.scans is None else f" k={self.scans}"
        return f"{self.loader}{scans}, {self.workers} worker{'s' if self.workers > 1 else ''}"

    def throttled(self, limits: str | None) -> LoaderVariant:
        """Return the same with other limits."""
        return replace(self, throttle=limits)

    def create(self, config: BenchConfig, *, normalized: bool) -> Loader:
        """Make the loader.

        Args:
            config: batch and image size, and the seed.
            normalized: float32 batches, as a step on the CPU takes them; else bytes.

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
                workers=self.workers,
                scans=self.scans,
                # Runs here are short: the start of processes would be most of what they cost.
                persistent_workers=True,
                throttle=Throttle.parse(self.throttle) if self.throttle else None,
            ),
        )


@dataclass(frozen=True)
class MeasurementPlan:
    """Which loader variants are measured.

    Attributes:
        target: the one that the verdict is about.
        variants: each loader at each fidelity with all workers, and at full fidelity with fewer.
    """

    target: LoaderVariant
    variants: tuple[LoaderVariant, ...]

    @property
    def trained(self) -> tuple[LoaderVariant, ...]:
        """The variants that are also measured with the training step: all k of the target."""
        return tuple(
            r
            for r in self.variants
            if r.workers == self.target.workers and r.loader == self.target.loader
        )


def find_data(path: Path) -> Path:
    """Return the training images below a path: a PCR dataset or an ImageFolder.

    Raises:
        UsageError: there is no such folder.
    """
    for found in (path, path / "train"):
        if is_pcr_dataset(found):
            return found
    return next(iter(find_splits(path).values()))


def plan_measurement(config: BenchConfig) -> MeasurementPlan:
    """Choose what is measured, and check that it can be.

    Raises:
        UsageError: a loader that does not fit the data, or a fidelity that is not there.
        DataError: the dataset is damaged.
    """
    data = config.data
    loaders = config.loaders or _default_loaders(data)
    if config.scans and not is_pcr_dataset(data):
        raise UsageError(f"{data} is an ImageFolder: it has no scan groups to choose.")
    workers = tuple(sorted(set(config.workers or (1, usable_cores()))))
    variants = []
    for loader in loaders:
        check_loader(loader, data)
        fidelities = _scans(config, data) if loader in PCR_LOADERS else (None,)
        variants += [LoaderVariant(loader, data, k, workers[-1]) for k in fidelities]
        variants += [LoaderVariant(loader, data, fidelities[-1], w) for w in workers[:-1]]
    best = [r for r in variants if r.loader == loaders[0] and r.workers == workers[-1]]
    return MeasurementPlan(best[-1], tuple(variants))


def check_loader(loader: str, data: Path) -> None:
    """Raise UsageError if there is no such loader, or it does not fit the data."""
    if loader not in LOADERS:
        raise UsageError(f"There is no loader {loader!r}; there are {', '.join(LOADERS)}.")
    if (loader in PCR_LOADERS) != is_pcr_dataset(data) and loader != "synthetic":
        kind = "a PCR dataset" if is_pcr_dataset(data) else "an ImageFolder"
        raise UsageError(f"{data} is {kind}: the loader {loader} cannot read it.")


def _default_loaders(data: Path) -> tuple[str, ...]:
    if is_pcr_dataset(data):
        return ("pcr",)
    dali = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
    return ("pytorch", "dali-cpu") if dali else ("pytorch",)


def _scans(config: BenchConfig, data: Path) -> tuple[int, ...]:
    groups = pcr.open(data).groups
    for scans in config.scans:
        if not 1 <= scans <= groups:
            raise UsageError(f"{data} has fidelities 1 to {groups}, there is no {scans}.")
    chosen = config.scans or (1, 2, (groups + 1) // 2, groups)
    return tuple(sorted(set(chosen)))


def data_files(data: Path) -> list[Path]:
    """Return the files that loaders of a dataset read. Raises as `discover` and `pcr.open` do."""
    if is_pcr_dataset(data):
        return [data / record.file for record in pcr.open(data).records]
    folder = discover(data)
    return [folder.root / file.path for file in folder.files]


def count_images(data: Path) -> int:
    """Return the number of images in a dataset. Raises as `data_files` does."""
    return pcr.open(data).image_count if is_pcr_dataset(data) else len(discover(data).files)


def bytes_per_image(variant: LoaderVariant) -> dict[int | None, float]:
    """Return how many bytes an epoch reads for an image, at each fidelity; of files, the mean."""
    if variant.loader in PCR_LOADERS:
        dataset = pcr.open(variant.data)
        count = max(dataset.image_count, 1)
        return {k: dataset.prefix_bytes(k) / count for k in range(1, dataset.groups + 1)}
    files = data_files(variant.data)
    some = files[:: max(len(files) // _SOME_FILES, 1)]
    return {None: sum(file.stat().st_size for file in some) / len(some)}


def dataset_name(data: Path) -> str:
    """Return what a dataset is called: the name of its folder, or of the one above a split."""
    resolved = Path(os.path.abspath(data))  # noqa: PTH100 - as the user names it, links unresolved
    return resolved.parent.name if resolved.name in ("train", "val") else resolved.name
