"""The import: reads the source's layout, splits where it has no splits, and places the files."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
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
from dl2cli.text import suggestion

Reader = Callable[[ImportConfig], list[LabelledFile]]

IMPORTERS: Final[dict[str, Reader]] = {
    "ham10000": read_ham10000,
    "stanford-cars": read_stanford_cars,
    "celeba-hq": read_celeba_hq,
    "imagenet-val": read_imagenet_val,
    "csv": read_csv_dataset,
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
    read = IMPORTERS.get(config.name)
    if read is None:
        raise UsageError(
            f"There is no importer {config.name!r}; there are {', '.join(IMPORTERS)}."
            + suggestion(config.name, IMPORTERS)
        )
    if not config.source.is_dir():
        raise UsageError(f"{config.source} is not a folder.")
    try:
        files: Sequence[LabelledFile] = read(config)
    except OSError as error:
        raise system_failure(config.source, error) from error
    _check(files, config.source)
    if not files[0].split and config.val_fraction > 0:
        files = split_files(files, config.val_fraction, config.seed)
    targets = _targets(files, config.out)
    return _place(files, targets, config, on_progress or (lambda done, total: None))


def _check(files: Sequence[LabelledFile], source: Path) -> None:
    """Refuse files from outside the source, and a split that only some have. Raises DataError."""
    if not files:
        raise DataError(f"{source} names no image.")
    without = sum(not file.split for file in files)
    if 0 < without < len(files):
        raise DataError(
            f"{source}: {without} of {len(files)} images have no split, but the others have one."
        )
    root = Path(os.path.abspath(source))  # noqa: PTH100 - links in the source are the user's
    for file in files:
        if not Path(os.path.abspath(file.path)).is_relative_to(root):  # noqa: PTH100
            raise DataError(f"{file.path} lies outside {source}: a table must name files in it.")


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
            f"None of the {len(files)} images that {config.source} names exists; the first is "
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
    """Return the reason why a file of the source cannot be placed; None if it can."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if not is_file_fault(error):
            raise system_failure(path, error) from error
        return error.strerror.lower() if error.strerror else "cannot be read"
    return None if stat.S_ISREG(mode) else "is not a regular file"
