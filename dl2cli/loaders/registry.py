"""Loaders by name: which there are, what each reads, and which is the default for a dataset.

Everything that uses a loader gets it here, and relies on nothing but `Loader` (base.py).
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from dl2cli.dataset.location import DatasetKind, DatasetLocation, is_pcr_dataset
from dl2cli.errors import UsageError
from dl2cli.loaders.base import Loader, LoaderConfig
from dl2cli.text import suggestion

SYNTHETIC: Final = "synthetic"
_CUSTOM: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class LoaderEntry:
    """A loader that can be chosen.

    Attributes:
        name: the name by which the user chooses it.
        reads: the kind of dataset that it reads; None if it makes its images up.
        module: the module of its class, imported late: what it needs may not be installed.
        class_name: the name of its class.
    """

    name: str
    reads: DatasetKind | None
    module: str
    class_name: str

    def load_class(self) -> Callable[[LoaderConfig], Loader]:
        """Import the loader's class."""
        kind: Callable[[LoaderConfig], Loader] = getattr(
            importlib.import_module(self.module), self.class_name
        )
        return kind

    def create(self, config: LoaderConfig) -> Loader:
        """Make the loader. Raises as `create_loader`."""
        return self.load_class()(config)

    def can_scale(self) -> bool:
        """Tell whether the loader can decode images at a part of their size."""
        return bool(getattr(self.load_class(), "scales", False))


@dataclass(frozen=True)
class CustomEntry(LoaderEntry):
    """A loader of the user's own: its name is that of its factory (custom.py)."""

    def create(self, config: LoaderConfig) -> Loader:
        """Make the loader. Raises as `create_loader`."""
        from dl2cli.loaders.custom import CustomLoader

        return CustomLoader(config, self.name)


_HERE: Final = "dl2cli.loaders"
_ENTRIES: Final = (
    LoaderEntry("pcr", DatasetKind.PCR, f"{_HERE}.native.pcr", "PcrLoader"),
    LoaderEntry("pcr-dali", DatasetKind.PCR, f"{_HERE}.dali.pcr", "PcrDaliLoader"),
    LoaderEntry("pcr-dali-gpu", DatasetKind.PCR, f"{_HERE}.dali.pcr", "PcrDaliGpuLoader"),
    LoaderEntry("jpeg", DatasetKind.IMAGE_FOLDER, f"{_HERE}.native.jpeg", "JpegLoader"),
    LoaderEntry("dali-cpu", DatasetKind.IMAGE_FOLDER, f"{_HERE}.dali.files", "DaliLoader"),
    LoaderEntry("dali-gpu", DatasetKind.IMAGE_FOLDER, f"{_HERE}.dali.files", "DaliGpuLoader"),
    LoaderEntry("pytorch", DatasetKind.IMAGE_FOLDER, f"{_HERE}.pytorch.loader", "PytorchLoader"),
    LoaderEntry(SYNTHETIC, None, f"{_HERE}.synthetic", "SyntheticLoader"),
)
LOADERS: Final[dict[str, LoaderEntry]] = {entry.name: entry for entry in _ENTRIES}


def loaders_for(kind: DatasetKind) -> tuple[str, ...]:
    """Return the names of the loaders that read a kind of dataset."""
    return tuple(name for name, entry in LOADERS.items() if entry.reads is kind)


def default_loader(kind: DatasetKind) -> str:
    """Return the name of the loader that reads a kind of dataset by default."""
    return "pcr" if kind is DatasetKind.PCR else "jpeg"


def has_dali() -> bool:
    """Tell whether NVIDIA DALI is installed, without importing it."""
    return find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None


def find_loader(name: str) -> LoaderEntry:
    """Return the entry of a loader. Raises UsageError if no loader has that name."""
    if name in LOADERS:
        return LOADERS[name]
    if is_custom(name):
        return CustomEntry(name, None, "", "")
    raise UsageError(
        f"There is no loader {name!r}; there are {', '.join(LOADERS)}, or one of yours, as "
        f"package.module:factory.{suggestion(name, LOADERS)}"
    )


def is_custom(name: str) -> bool:
    """Tell whether a loader's name has the form `package.module:factory`."""
    return name not in LOADERS and _CUSTOM.fullmatch(name) is not None


def check_loader(name: str, location: DatasetLocation) -> None:
    """Refuse a loader that does not read the training images at a location.

    Raises:
        UsageError: there is no such loader, or it reads the other kind of dataset; the message
            names the command that makes one.
    """
    reads = find_loader(name).reads
    if reads is None or location.train.kind is reads:
        return
    root = location.root
    if reads is DatasetKind.PCR:
        other = shlex.quote(str(root).rstrip("/") + "-pcr")
        raise UsageError(
            f"The loader {name} reads PCR datasets, and {root} is an ImageFolder. Convert it: "
            f"`dl2 convert {shlex.quote(str(root))} {other}`, then name {other}."
        )
    other = shlex.quote(str(root).rstrip("/") + "-images")
    raise UsageError(
        f"The loader {name} reads plain image files, and {root} is a PCR dataset. Use the loader "
        f"pcr, or get the files back: {_extract_commands(location, other)}, then name {other}."
    )


def _extract_commands(location: DatasetLocation, other: str) -> str:
    commands = []
    for split in location.of_kind(DatasetKind.PCR):
        target = f"{other}/{split.name}" if split.name else other
        commands.append(f"`dl2 extract {shlex.quote(str(split.path))} {target}`")
    return " and ".join(commands)


def create_loader(name: str, config: LoaderConfig) -> Loader:
    """Make the loader `name`, one of `LOADERS`.

    Raises:
        UsageError: there is no such loader, or it cannot load this data or keep these options.
        DataError: the dataset is damaged or unfinished.
        MissingDependency: a part that this loader needs is not installed.
    """
    return find_loader(name).create(config)


def create_validation_loader(config: LoaderConfig, data: Path) -> Loader:
    """Make a loader of validation data, an ImageFolder or a PCR dataset, for a training `config`.

    It gives the centre of each image once, in order, whichever loader reads the training data. With
    `config.synthetic_images` it is synthetic, and `data` need not exist. Raises as `create_loader`
    does.
    """
    validation = config.for_validation(data)
    if config.synthetic_images is not None:
        return create_loader(SYNTHETIC, validation)
    kind = DatasetKind.PCR if is_pcr_dataset(data) else DatasetKind.IMAGE_FOLDER
    return create_loader(default_loader(kind), validation)
