"""The import: reads the source's layout, splits where it has no splits, and places the files."""

from __future__ import annotations

import difflib
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dl2cli.dataset.importers.base import ImportConfig, ImportResult, LabelledFile, MissingFile
from dl2cli.dataset.importers.celeba_hq import read_celeba_hq
from dl2cli.dataset.importers.ham10000 import read_ham10000
from dl2cli.dataset.importers.imagenet_val import read_imagenet_val
from dl2cli.dataset.importers.place import class_folder, place_file
from dl2cli.dataset.importers.split import split_files
from dl2cli.dataset.importers.stanford_cars import read_stanford_cars
from dl2cli.dataset.importers.table import read_csv_dataset
from dl2cli.errors import DataError, StorageError, UsageError, is_file_fault, system_failure


@dataclass(frozen=True)
class PublishedLayout:
    """A published layout: what it is called, what it holds, and how it is read.

    Attributes:
        title: for people.
        read: returns the images that the source names.
        own_split: whether the source says which images are for validation.
    """

    title: str
    read: Callable[[ImportConfig], list[LabelledFile]]
    own_split: bool


IMPORTERS: Final[dict[str, PublishedLayout]] = {
    "ham10000": PublishedLayout("HAM10000, skin lesions", read_ham10000, own_split=False),
    "stanford-cars": PublishedLayout(
        "Stanford Cars, in either layout", read_stanford_cars, own_split=True
    ),
    "celeba-hq": PublishedLayout(
        "CelebA-HQ or CelebA, by an attribute", read_celeba_hq, own_split=False
    ),
    "imagenet-val": PublishedLayout(
        "ImageNet's validation images", read_imagenet_val, own_split=True
    ),
    "csv": PublishedLayout(
        "images named in a CSV of file and label", read_csv_dataset, own_split=False
    ),
}


def import_dataset(
    config: ImportConfig, on_progress: Callable[[int, int], None] | None = None
) -> ImportResult:
    """Make an ImageFolder of a known dataset. The source is only read.

    The same command again goes on where it was interrupted.

    Args:
        config: what to import.
        on_progress: told of the images that are placed, and of how many there are.

    Raises:
        UsageError: there is no such layout, or the source does not have it.
        DataError: the source's table is damaged, or (with on_error="fail") an image is missing.
        StorageError: the system cannot read or write.
        MissingDependency: scipy is needed for MATLAB files and is not installed.
    """
    layout = find_layout(config.name)
    if not config.source.is_dir():
        raise UsageError(f"{config.source} is not a folder.")
    files: Sequence[LabelledFile] = layout.read(config)
    if not files:
        raise DataError(f"{config.source} names no image.")
    if not any(file.split for file in files) and config.val_fraction > 0:
        files = split_files(files, config.val_fraction, config.seed)
    targets = _targets(files, config.out)
    return _place(files, targets, config, on_progress or (lambda done, total: None))


def find_layout(name: str) -> PublishedLayout:
    """Return a layout by its name. Raises UsageError."""
    if name not in IMPORTERS:
        alike = difflib.get_close_matches(name, IMPORTERS, n=1)
        hint = f"Did you mean {alike[0]}?" if alike else f"There are {', '.join(IMPORTERS)}."
        raise UsageError(f"There is no importer {name!r}. {hint}")
    return IMPORTERS[name]


def _targets(files: Sequence[LabelledFile], out: Path) -> list[Path]:
    """Return where each file goes; two files of one name in one class are refused."""
    folders: dict[str, str] = {}
    targets = []
    for file in files:
        folder = class_folder(file.label)
        other = folders.setdefault(folder, file.label)
        if other != file.label:
            raise DataError(f"The classes {other!r} and {file.label!r} would share one folder.")
        split = class_folder(file.split) if file.split else ""
        targets.append(out / split / folder / file.path.name)
    twice = [target for target, count in Counter(targets).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} names occur twice in a class; the first is {twice[0]}.")
    return targets


def _place(
    files: Sequence[LabelledFile],
    targets: Sequence[Path],
    config: ImportConfig,
    on_progress: Callable[[int, int], None],
) -> ImportResult:
    images: Counter[str] = Counter()
    classes: set[str] = set()
    missing: list[MissingFile] = []
    placed = 0
    for folder in sorted({target.parent for target in targets}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder} cannot be made: {error.strerror}.") from error
    for number, (file, target) in enumerate(zip(files, targets, strict=True), 1):
        reason = _fault(file.path)
        if reason is not None:
            if config.on_error == "fail":
                raise DataError(f"{file.path}: {reason}.")
            missing.append(MissingFile(str(file.path), reason))
        else:
            placed += place_file(file.path, target, config.placing)
            images[file.split] += 1
            classes.add(target.parent.name)
        on_progress(number, len(files))
    if not images:
        raise DataError(
            f"None of the {len(files)} images that {config.source} names is there; the first is "
            f"{missing[0].path}: {missing[0].reason}."
        )
    return ImportResult(
        out=config.out,
        placing=config.placing,
        classes=tuple(sorted(classes)),
        images=dict(images),
        placed=placed,
        already_there=sum(images.values()) - placed,
        missing=tuple(missing),
    )


def _fault(path: Path) -> str | None:
    """Return why a file of the source cannot be placed; None if it can."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if not is_file_fault(error):
            raise system_failure(path, error) from error
        return error.strerror.lower() if error.strerror else "cannot be read"
    return None if stat.S_ISREG(mode) else "is not a regular file"
