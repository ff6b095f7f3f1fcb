"""Which data a training uses, and which loader: what the user names, or what is there.

Without a name it is `$DL2_HOME/data` or `./data` where one of them exists, else the built-in sample
set, which is converted to PCR datasets beside it when a loader wants those.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import importlib.util
import os
import shlex
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dl2cli import pcr
from dl2cli.cores import usable_cores
from dl2cli.dataset.discovery import SPLIT_NAMES, class_names, discover, find_splits
from dl2cli.dataset.location import is_pcr_dataset
from dl2cli.dataset.sample import TEMPORARY_PREFIX, cache_dir, ensure_sample_set
from dl2cli.errors import StorageError, UsageError
from dl2cli.loaders import LOADERS
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert, split_configs

PCR_LOADERS: Final = tuple(name for name in LOADERS if name.startswith("pcr"))
SYNTHETIC: Final = "synthetic"
# Small records: even this little set has several, so that two ranks do not read all of it each.
SAMPLE_RECORD_IMAGES: Final = 50
SHOWN: Final = 5  # names in a message


@dataclass(frozen=True)
class DataChoice:
    """The data of a training.

    Attributes:
        train: an ImageFolder or a PCR dataset; not there at all for synthetic images of a given
            number.
        val: likewise, of validation images; None if there are none.
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
        loader: a name in `LOADERS`; None chooses: pcr for a PCR dataset and the sample set, else
            dali-cpu where DALI is installed, else pytorch.
        val_data: validation images that lie elsewhere.
        synthetic_images: the synthetic loader is told how many, so that `data` need not exist.
        on_image: called with the images done and all images, while the sample set is made.

    Raises:
        UsageError: there is nothing of the kind, or the loader cannot read it.
        DataError: it is damaged or unfinished.
        StorageError: the system refuses to read it, or to write the sample set.
    """
    if loader is not None and loader not in LOADERS:
        raise UsageError(f"There is no loader {loader!r}; there are {', '.join(LOADERS)}.")
    if loader == SYNTHETIC and synthetic_images is not None:
        root = data or Path("no/real/dataset")  # the name that published logs have for it
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
        train, val = _splits(root)
    except UsageError as error:
        if not reason:
            raise
        raise UsageError(f"{error} (It was looked at{reason}.)") from None
    val = val_data or val
    if val_data is not None:
        _check_is_dataset(val_data)
    is_pcr = is_pcr_dataset(train)
    if loader is None:
        loader = "pcr" if is_pcr else default_file_loader()
    elif loader != SYNTHETIC:
        _check_fits(root, loader, is_pcr=is_pcr)
    kind = "PCR dataset" if is_pcr else "ImageFolder"
    without = ", without validation images (--val-data names some)" if val is None else ""
    why = f"Data: the {kind} {train}{reason}{without}; loader {loader}."
    return DataChoice(train, val, loader, False, why, _classes(train), root)


def _choose_sample(
    loader: str | None, val_data: Path | None, on_image: Callable[[int, int], None]
) -> DataChoice:
    loader = loader or "pcr"
    with _one_at_a_time(cache_dir()):
        root = ensure_sample_set(on_image=on_image)
        if loader in PCR_LOADERS:
            root = ensure_sample_pcr(root, on_image)
    train, val = root / "train", val_data or root / "val"
    if val_data is not None:
        _check_is_dataset(val_data)
    places = " or ".join(f"{place}/" for place in _usual_places())
    why = f"Data: the built-in sample set {root}, as there is no --data and no {places}; "
    why += f"loader {loader}."
    return DataChoice(train, val, loader, True, why, _classes(train), root)


def ensure_sample_pcr(sample: Path, on_image: Callable[[int, int], None]) -> Path:
    """Return the sample set as PCR datasets, train/ and val/, which are made first if need be.

    They lie beside the ImageFolder, appear in one step, complete, and two processes may do this at
    once. Raises StorageError.
    """
    target = sample.with_name(f"{sample.name}-pcr")
    if target.is_dir():
        return target
    with tempfile.TemporaryDirectory(
        prefix=TEMPORARY_PREFIX, dir=sample.parent, ignore_cleanup_errors=True
    ) as name:
        out = Path(name) / "pcr"
        config = ConvertConfig(
            source=sample,
            out=out,
            images_per_record=SAMPLE_RECORD_IMAGES,
            workers=usable_cores(),
        )
        for split in split_configs(config):
            convert(split, lambda state: on_image(state.done, state.images))
        try:
            out.rename(target)
        except OSError as error:
            if not target.is_dir():  # else another process was first, with the same bytes
                raise StorageError(f"{target} cannot be written: {error.strerror}.") from error
    return target


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let the other ranks wait for what the first makes, rather than make it as well.

    Correctness does not rest on it (what is made appears in one step), so a file system without
    locks will do.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context((folder / ".lock").open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def default_file_loader() -> str:
    """Return the loader of plain files that this machine has: dali-cpu, else pytorch."""
    try:
        found = importlib.util.find_spec("nvidia.dali") is not None
    except ModuleNotFoundError:  # not even a package named nvidia
        found = False
    return "dali-cpu" if found else "pytorch"


def _splits(root: Path) -> tuple[Path, Path | None]:
    """Return the training data under `root`, and the validation data if there is any."""
    if not root.exists():
        raise UsageError(f"There is no {root}{_nearby(root)}.")
    if is_pcr_dataset(root):
        return root, None
    splits = {name: root / name for name in SPLIT_NAMES if is_pcr_dataset(root / name)}
    if "train" not in splits:
        splits = find_splits(root)
        if "" in splits:
            _check_is_dataset(root)
            _check_is_one(root)
            return root, None
    # A folder with a training set of one kind may hold a validation set of the other.
    for name in SPLIT_NAMES[1:]:
        if name not in splits and (root / name).is_dir() and class_names(root / name):
            splits[name] = root / name
    others = [splits[name] for name in SPLIT_NAMES if name in splits and name != "train"]
    return splits["train"], others[0] if others else None


def _check_is_dataset(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"There is no {path}{_nearby(path)}.")
    if is_pcr_dataset(path) or class_names(path):
        return
    raise UsageError(
        f"{path} holds no dataset: expected a PCR dataset (PCR.db), one folder a class, or train/ "
        f"and val/ of either kind{_listing(path)}."
    )


def _check_is_one(root: Path) -> None:
    """Refuse a folder of datasets, which would pass for an ImageFolder with their names as classes.

    The first folders tell: all of them could be thousands of classes, each with its files.
    """
    first = [root / name for name in class_names(root)[:SHOWN]]
    datasets = [path for path in first if is_pcr_dataset(path) or "train" in find_splits(path)]
    if datasets:
        raise UsageError(f"{root} holds several datasets; name one of them, as {datasets[0]}.")


def _check_fits(root: Path, loader: str, *, is_pcr: bool) -> None:
    """Refuse a loader of the other kind of data, with the command that makes this kind of it."""
    named = shlex.quote(str(root))
    if loader in PCR_LOADERS and not is_pcr:
        other = shlex.quote(str(root).rstrip("/") + "-pcr")
        raise UsageError(
            f"The loader {loader} reads PCR datasets, and {root} is an ImageFolder. Convert it: "
            f"`dl2 convert {named} {other}`, then train with `--data {other}`."
        )
    if loader not in PCR_LOADERS and is_pcr:
        other = shlex.quote(str(root).rstrip("/") + "-images")
        raise UsageError(
            f"The loader {loader} reads plain image files, and {root} is a PCR dataset. Use "
            f"`--loader pcr`, or get the files back: {_extract_commands(root, other)}, then train "
            f"with `--data {other}`."
        )


def _extract_commands(root: Path, other: str) -> str:
    if is_pcr_dataset(root):
        return f"`dl2 extract {shlex.quote(str(root))} {other}`"
    names = [name for name in SPLIT_NAMES if is_pcr_dataset(root / name)]
    return " and ".join(
        f"`dl2 extract {shlex.quote(str(root / name))} {other}/{name}`" for name in names
    )


def count_images(data: Path) -> int:
    """Return the number of images in a PCR dataset or an ImageFolder; raises as a loader does."""
    return pcr.open(data).image_count if is_pcr_dataset(data) else len(discover(data).files)


def _classes(train: Path) -> tuple[str, ...]:
    return pcr.open(train).classes if is_pcr_dataset(train) else class_names(train)


def _nearby(path: Path) -> str:
    """Say what there is near a path that is not there."""
    parent = path.parent
    missing = path.name
    while not parent.exists() and parent != parent.parent:
        missing, parent = parent.name, parent.parent
    names = _names(parent)
    alike = difflib.get_close_matches(missing, names, n=1, cutoff=0.6)
    if alike:
        return f"; there is {parent / alike[0]}"
    return f"; {parent} {_content(names)}" if names else ""


def _listing(folder: Path) -> str:
    names = _names(folder)
    return f"; it {_content(names)}" if names else "; it is empty"


def _content(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return f"holds {', '.join(names[:SHOWN])}{more}"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(each.name for each in folder.iterdir() if not each.name.startswith("."))
    except OSError:
        return []
