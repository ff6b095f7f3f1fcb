"""Stanford Cars: 16,185 photos of 196 models.

Two layouts are in circulation. The first has cars_train/, cars_test/ and a devkit whose MATLAB
files name each image's class (the labels of the test images lie in cars_test_annos_withlabels.mat,
beside the devkit or in it). The second has all images in one folder, car_ims/, and cars_annos.mat
with the fields relative_im_path, class and test.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dl2cli.dataset.importers.base import ImportConfig, LabelledFile
from dl2cli.dataset.importers.matlab import read_strings, read_struct_array
from dl2cli.errors import DataError, UsageError

_LABELLED_TEST: Final = "cars_test_annos_withlabels.mat"


def read_stanford_cars(config: ImportConfig) -> list[LabelledFile]:
    """Return the images of Stanford Cars, in train and test."""
    source = config.source
    flat = config.table or source / "cars_annos.mat"
    if flat.is_file():
        return _read_flat(source, flat)
    devkit = source / "devkit"
    if not devkit.is_dir():
        raise UsageError(
            f"{source} holds neither devkit/ nor cars_annos.mat: it is neither layout of "
            "Stanford Cars."
        )
    classes = read_strings(devkit / "cars_meta.mat", "class_names")
    files = _read_split(devkit / "cars_train_annos.mat", source / "cars_train", "train", classes)
    labelled = next(
        (d / _LABELLED_TEST for d in (source, devkit) if (d / _LABELLED_TEST).is_file()), None
    )
    if labelled is not None:  # without their labels the test images are of no use here
        files += _read_split(labelled, source / "cars_test", "test", classes)
    return files


def _read_flat(source: Path, table: Path) -> list[LabelledFile]:
    classes = read_strings(table, "class_names")
    return [
        LabelledFile(
            source / str(row["relative_im_path"]),
            _class_name(classes, row["class"], table),
            "test" if row["test"] else "train",
        )
        for row in read_struct_array(table, "annotations", ("relative_im_path", "class", "test"))
    ]


def _read_split(table: Path, folder: Path, split: str, classes: list[str]) -> list[LabelledFile]:
    return [
        LabelledFile(folder / str(row["fname"]), _class_name(classes, row["class"], table), split)
        for row in read_struct_array(table, "annotations", ("fname", "class"))
    ]


def _class_name(classes: list[str], number: int, table: Path) -> str:
    """Return the name of a class; the published numbers begin with 1."""
    if not 1 <= int(number) <= len(classes):
        raise DataError(
            f"{table}: there are {len(classes)} classes, and an image has number {number}."
        )
    return classes[int(number) - 1]
