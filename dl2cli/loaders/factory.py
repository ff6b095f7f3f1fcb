"""Loaders by name. Whoever uses one gets it here and knows no more of it than `Loader`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from dl2cli.errors import UsageError
from dl2cli.loaders.base import Loader, LoaderConfig
from dl2cli.pcr import index


def _pcr(config: LoaderConfig) -> Loader:
    from dl2cli.loaders.pcr import PcrLoader

    return PcrLoader(config)


def _pytorch(config: LoaderConfig) -> Loader:
    from dl2cli.loaders.pytorch.loader import PytorchLoader

    return PytorchLoader(config)


def _synthetic(config: LoaderConfig) -> Loader:
    from dl2cli.loaders.synthetic import SyntheticLoader

    return SyntheticLoader(config)


def _dali_cpu(config: LoaderConfig) -> Loader:
    from dl2cli.loaders.dali.files import DaliLoader

    return DaliLoader(config)


def _dali_gpu(config: LoaderConfig) -> Loader:
    from dl2cli.loaders.dali.files import DaliGpuLoader

    return DaliGpuLoader(config)


def _pcr_dali(config: LoaderConfig) -> Loader:
    from dl2cli.loaders.dali.pcr import PcrDaliLoader

    return PcrDaliLoader(config)


def _pcr_dali_gpu(config: LoaderConfig) -> Loader:
    from dl2cli.loaders.dali.pcr import PcrDaliGpuLoader

    return PcrDaliGpuLoader(config)


LOADERS: Final[dict[str, Callable[[LoaderConfig], Loader]]] = {
    "pcr": _pcr,
    "pcr-dali": _pcr_dali,
    "pcr-dali-gpu": _pcr_dali_gpu,
    "dali-cpu": _dali_cpu,
    "dali-gpu": _dali_gpu,
    "pytorch": _pytorch,
    "synthetic": _synthetic,
}


def create_loader(name: str, config: LoaderConfig) -> Loader:
    """Make the loader `name`, one of `LOADERS`.

    Raises:
        UsageError: there is no such loader, or it cannot load this data or do what is asked.
        DataError: the dataset is damaged or unfinished.
        MissingDependency: a part that this loader needs is not installed.
    """
    if name not in LOADERS:
        raise UsageError(f"There is no loader {name!r}; there are {', '.join(LOADERS)}.")
    return LOADERS[name](config)


def create_validation_loader(config: LoaderConfig, data: Path) -> Loader:
    """Make a loader of validation data, an ImageFolder or a PCR dataset, for a training `config`.

    It gives each image once, in order, the centre of it, whatever loads the training data. With
    `config.synthetic_images` it is synthetic, and `data` need not be there. Raises as
    `create_loader` does.
    """
    validation = config.for_validation(data)
    if config.synthetic_images is not None:
        return create_loader("synthetic", validation)
    if is_pcr_dataset(data):
        return create_loader("pcr", validation)
    return create_loader("pytorch", replace(validation, dataset_class="ImageFolder"))


def is_pcr_dataset(data: Path) -> bool:
    """Tell whether a folder holds the index of a PCR dataset."""
    return (data / index.INDEX).is_file()
