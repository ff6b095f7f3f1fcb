"""Finds the data of a training and its loader: those that the user names, or those that are there.

Without a name it is `$DL2_HOME/data` or `./data` where one of them exists, else the built-in sample
set, which is converted to PCR datasets beside it when a loader wants those.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dl2cli.cores import usable_cores
from dl2cli.dataset.location import DatasetKind, DatasetLocation, locate
from dl2cli.dataset.sample import TEMPORARY_PREFIX, ensure_sample_set
from dl2cli.errors import StorageError, UsageError
from dl2cli.loaders import check_loader, default_loader, loaders_for
from dl2cli.loaders.contents import dataset_classes
from dl2cli.loaders.registry import SYNTHETIC, find_loader
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.plan import split_configs
from dl2cli.user_folders import cache_dir

# Small records: even this little set has several, so that two ranks do not read all of it each.
SAMPLE_RECORD_IMAGES: Final = 50
NO_DATASET: Final = Path("no/real/dataset")  # what published logs call synthetic images


@dataclass(frozen=True)
class DataChoice:
    """The data of a training.

    Attributes:
        train: an ImageFolder or a PCR dataset of training images; it need not exist for synthetic
            images of a given number.
        val: one of validation images; None if there are none.
        loader: a name in `LOADERS`.
        sample: whether it is the built-in sample set.
        why: a sentence for the user: what was chosen and why.
        classes: class names by label; empty for synthetic images of a given number.
        root: the folder that holds both, as the user or the search named it.
    """

    train: Path
    val: Path | None
    loader: str
    sample: bool
    why: str
    classes: tuple[str, ...] = ()
    root: Path = Path()


def find_data(
    data: Path | None,
    loader: str | None,
    *,
    val_data: Path | None = None,
    synthetic_images: int | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> DataChoice:
    """Find the data of a training and a loader that reads it.

    Args:
        data: an ImageFolder, a PCR dataset, or a folder with train/ and val/ of either kind (also
            valid/, validation/, test/); None looks for it.
        loader: a name in `LOADERS`; None chooses the default for the kind of data, and pcr for the
            sample set.
        val_data: validation images that lie elsewhere.
        synthetic_images: the synthetic loader is told how many, so that `data` need not exist.
        on_image: called with the images done and all images, while the sample set is made.

    Raises:
        UsageError: there is no such data or loader, or the loader cannot read this data.
        DataError: it is damaged or unfinished.
        StorageError: the system refuses to read it, or to write the sample set.
    """
    if loader is not None:
        find_loader(loader)
    if loader == SYNTHETIC and synthetic_images is not None:
        root = data or NO_DATASET
        why = f"Data: {synthetic_images:,} synthetic images an epoch, without a dataset."
        return DataChoice(root, val_data, loader, False, why, root=root)
    if data is not None:
        return _choose(data, loader, val_data, "")
    for place in _usual_places():
        if place.is_dir():
            return _choose(place, loader, val_data, ", as there is no --data")
    return _choose_sample(loader, val_data, on_image or (lambda _done, _images: None))


def _usual_places() -> Iterator[Path]:
    if home := os.environ.get("DL2_HOME"):
        yield Path(home) / "data"
    yield Path("data")


def _choose(root: Path, loader: str | None, val_data: Path | None, reason: str) -> DataChoice:
    try:
        location = locate(root)
        train = location.train
    except UsageError as error:
        if not reason:
            raise
        raise UsageError(f"{error} (dl2 looked there{reason}.)") from None
    val = _validation(location, val_data)
    loader = loader or default_loader(train.kind)
    check_loader(loader, location)
    without = ", without validation images (--val-data names some)" if val is None else ""
    why = f"Data: the {train.kind} {train.path}{reason}{without}; loader {loader}."
    return DataChoice(train.path, val, loader, False, why, dataset_classes(train.path), root)


def _validation(location: DatasetLocation, val_data: Path | None) -> Path | None:
    """Return the validation images: those that are named, else those beside the training set."""
    if val_data is None:
        return location.validation.path if location.validation else None
    named = locate(val_data)
    return (named.validation or named.splits[0]).path


def _choose_sample(
    loader: str | None, val_data: Path | None, on_image: Callable[[int, int], None]
) -> DataChoice:
    loader = loader or default_loader(DatasetKind.PCR)
    with _one_at_a_time(cache_dir()):
        root = ensure_sample_set(on_image=on_image)
        if loader in loaders_for(DatasetKind.PCR):
            root = ensure_sample_pcr(root, on_image)
    location = locate(root)
    train = location.train.path
    places = " or ".join(f"{place}/" for place in _usual_places())
    why = f"Data: the built-in sample set {root}, as there is no --data and no {places}; "
    why += f"loader {loader}."
    val = _validation(location, val_data)
    return DataChoice(train, val, loader, True, why, dataset_classes(train), root)


def ensure_sample_pcr(sample: Path, on_image: Callable[[int, int], None]) -> Path:
    """Return the sample set as PCR datasets, train/ and val/, which are made first if need be.

    They lie beside the ImageFolder and appear in one step, complete; two processes may do this at
    once. Raises StorageError.
    """
    target = sample.with_name(f"{sample.name}-pcr")
    if target.is_dir():
        return target
    try:
        with tempfile.TemporaryDirectory(
            prefix=TEMPORARY_PREFIX, dir=sample.parent, ignore_cleanup_errors=True
        ) as name:
            out = Path(name) / "pcr"
            config = ConvertConfig(
                sample, out, images_per_record=SAMPLE_RECORD_IMAGES, workers=usable_cores()
            )
            for split in split_configs(config):
                convert(split, lambda state: on_image(state.done, state.images))
            out.rename(target)
    except StorageError as error:
        # Nothing of the conversion is kept, so its own advice to resume it would mislead.
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__ or error
        raise StorageError(f"The sample set cannot be converted to {target}: {reason}.") from error
    except OSError as error:
        if not target.is_dir():  # else another process was first, with the same bytes
            raise StorageError(f"{target} cannot be written: {error.strerror}.") from error
    return target


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let the other ranks wait for what the first makes, instead of making it too.

    Correctness does not depend on it (what is made appears in one step), so a file system without
    locks will do.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(folder / ".lock", flags, 0o666)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
