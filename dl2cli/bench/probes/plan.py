"""Chooses which loader variants are measured, and checks that they can be."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dl2cli import pcr
from dl2cli.bench.config import BATCH_SIZE, SLOW_BATCH_SIZE, BenchConfig, ComputeConfig
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.cores import usable_cores
from dl2cli.dataset.location import DatasetKind, locate
from dl2cli.errors import UsageError
from dl2cli.loaders import LOADERS
from dl2cli.loaders.base import require_torch
from dl2cli.loaders.contents import count_images
from dl2cli.loaders.custom import look_at
from dl2cli.loaders.registry import (
    check_loader,
    default_loader,
    find_loader,
    has_dali,
    is_custom,
)

_FEWEST_STEPS = 4  # of an epoch, where the batch size is ours to choose


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
            each
            for each in self.variants
            if each.workers == self.target.workers and each.loader == self.target.loader
        )


def with_defaults(config: BenchConfig) -> BenchConfig:
    """Choose the split, and the batch size, where the user has not. Raises UsageError.

    A loader of the user's own has chosen already; the other runs do as it does.
    """
    data = locate(config.data).train.path
    if custom := next(filter(is_custom, config.loaders), None):
        config = _as_custom(config, custom)
    size = config.batch_size or usual_batch(config.compute, count_images(data))
    return replace(config, data=data, batch_size=size)


def _as_custom(config: BenchConfig, name: str) -> BenchConfig:
    given = look_at(name)
    if config.batch_size not in (0, given.batch_size):
        raise UsageError(
            f"{name} gives batches of {given.batch_size} images: leave out --batch-size "
            f"{config.batch_size}, or have the factory make others."
        )
    return replace(config, batch_size=given.batch_size, image_size=given.image_size)


def usual_batch(compute: ComputeConfig, images: int) -> int:
    """Return the batch size for a dataset of so many images where the user names none."""
    slow = compute.rate_img_s is None and not require_torch().cuda.is_available()
    return max(min(SLOW_BATCH_SIZE if slow else BATCH_SIZE, images // _FEWEST_STEPS), 1)


def plan_measurement(config: BenchConfig) -> MeasurementPlan:
    """Choose what is measured on `config.data`, and check that it can be.

    Raises:
        UsageError: a loader does not fit the data, or a fidelity is not there.
        DataError: the dataset is damaged.
    """
    location = locate(config.data)
    kind, data = location.train.kind, location.train.path
    if config.scans and kind is not DatasetKind.PCR:
        raise UsageError(f"{data} is an ImageFolder: it has no scan groups to choose.")
    workers = tuple(sorted(set(config.workers or (1, usable_cores()))))
    loaders = config.loaders or _usual_loaders(kind, config.exif_orientation)
    if all(map(is_custom, loaders)):  # what it is compared with
        loaders = (*loaders, default_loader(kind))
    variants: list[LoaderVariant] = []
    for loader in loaders:
        check_loader(loader, location)
        if is_custom(loader):
            variants.append(LoaderVariant(loader, data, None, look_at(loader).workers))
            continue
        reads_records = find_loader(loader).reads is DatasetKind.PCR
        fidelities = _fidelities(config, data) if reads_records else (None,)
        variants += [LoaderVariant(loader, data, k, workers[-1]) for k in fidelities]
        variants += [LoaderVariant(loader, data, fidelities[-1], w) for w in workers[:-1]]
    most = max(v.workers for v in variants if v.loader == loaders[0])
    best = [v for v in variants if v.loader == loaders[0] and v.workers == most]
    return MeasurementPlan(best[-1], tuple(variants))


def _usual_loaders(kind: DatasetKind, exif_orientation: str) -> tuple[str, ...]:
    """Return the default loader and, for plain files, the loaders that people use today.

    DALI's are left out where images are to be turned, which they cannot do.
    """
    if kind is DatasetKind.PCR:
        return (default_loader(kind),)
    dali = ("dali-cpu",) if has_dali() and exif_orientation == "ignore" else ()
    return tuple(dict.fromkeys((default_loader(kind), "pytorch", *dali)))


def _fidelities(config: BenchConfig, data: Path) -> tuple[int, ...]:
    groups = pcr.open(data).groups
    for scans in config.scans:
        if not 1 <= scans <= groups:
            raise UsageError(
                f"{data} has {groups} scan groups: scans must be 1 to {groups}, not {scans}."
            )
    chosen = config.scans or (1, 2, (groups + 1) // 2, groups)
    return tuple(sorted(set(chosen)))


def parse_loader_variant(config: BenchConfig, text: str) -> LoaderVariant:
    """Return what "pcr", "pcr:5", "DATASET" or "DATASET:5" means. Raises UsageError."""
    name, colon, number = text.rpartition(":")
    scans: int | None = None
    if colon and number.isdecimal() and not Path(text).exists():
        scans = int(number)
    else:
        name = text
    if name in LOADERS or is_custom(name):
        location, loader = locate(config.data), name
    elif Path(name).is_dir():
        location = locate(Path(name))
        loader = (*config.loaders, default_loader(location.train.kind))[0]
    else:
        raise UsageError(f"{text!r} is neither a folder nor a loader ({', '.join(LOADERS)}).")
    check_loader(loader, location)
    data = location.train.path
    if find_loader(loader).reads is DatasetKind.PCR:
        wanted = replace(config, scans=config.scans if scans is None else (scans,))
        scans = _fidelities(wanted, data)[-1]
    elif scans is not None:
        raise UsageError(f"{text!r}: only PCR datasets have fidelities.")
    workers = max(config.workers, default=usable_cores())
    if is_custom(loader):
        workers = look_at(loader).workers
    return LoaderVariant(loader, data, scans, workers, config.throttle)
