"""ImageNet's validation images: 50,000 files in one folder, whose classes the devkit tells.

The devkit (ILSVRC2012_devkit_t12) holds data/ILSVRC2012_validation_ground_truth.txt, a number a
line in the order of the file names, and data/meta.mat, which gives each number its WordNet ID.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dl2cli.dataset.importers.base import ImportConfig, LabelledFile
from dl2cli.dataset.importers.matlab import read_struct_array
from dl2cli.dataset.importers.text_file import read_lines
from dl2cli.errors import DataError, UsageError

_TRUTH: Final = "ILSVRC2012_validation_ground_truth.txt"
_FOLDERS: Final = ("ILSVRC2012_img_val", "val")


def read_imagenet_val(config: ImportConfig) -> list[LabelledFile]:
    """Return the validation images in classes named by WordNet ID (n01440764), as train/ is."""
    source = config.source
    truth = config.table or _find_truth(source)
    folder = next((source / name for name in _FOLDERS if (source / name).is_dir()), source)
    synsets = read_struct_array(truth.parent / "meta.mat", "synsets", ("ILSVRC2012_ID", "WNID"))
    names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    files = []
    for number, line in enumerate(read_lines(truth), 1):
        text = line.strip()
        if not text.isdecimal() or int(text) not in names:
            raise DataError(f"{truth}, line {number}: {text!r} is not the number of a class.")
        files.append(
            LabelledFile(folder / f"ILSVRC2012_val_{number:08d}.JPEG", names[int(text)], "val")
        )
    return files


def _find_truth(source: Path) -> Path:
    places = (source, source / "data", *sorted(source.glob("ILSVRC2012_devkit*/data")))
    for place in places:
        if (place / _TRUTH).is_file():
            return place / _TRUTH
    raise UsageError(
        f"{source} holds no {_TRUTH}: unpack the devkit (ILSVRC2012_devkit_t12) there, or name the "
        "file with --table."
    )
