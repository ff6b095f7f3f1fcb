"""CelebA-HQ (as CelebAMask-HQ publishes it) and CelebA: faces with 40 attributes, each -1 or 1.

The attribute file begins with the number of images; the second line names the attributes; every
further line is a file name and the values. One attribute becomes the class.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dl2cli.dataset.importers.base import ImportConfig, LabelledFile
from dl2cli.dataset.importers.text_file import read_lines
from dl2cli.errors import DataError, UsageError
from dl2cli.text import suggestion

_TABLES: Final = ("CelebAMask-HQ-attribute-anno.txt", "list_attr_celeba.txt")
_FOLDERS: Final = ("CelebA-HQ-img", "img_align_celeba")


def read_celeba_hq(config: ImportConfig) -> list[LabelledFile]:
    """Return the faces in two classes: `Male` and `not_Male`, for the attribute Male."""
    source = config.source
    table = config.table or next((source / t for t in _TABLES if (source / t).is_file()), None)
    if table is None:
        raise UsageError(
            f"{source} holds neither {' nor '.join(_TABLES)}: name the file with --table."
        )
    folder = next((source / name for name in _FOLDERS if (source / name).is_dir()), source)
    attributes, rows = _read_attributes(table)
    if config.attribute not in attributes:
        raise UsageError(
            f"{table} has no attribute {config.attribute!r}; it has {', '.join(attributes)}."
            + suggestion(config.attribute, attributes)
        )
    column = attributes.index(config.attribute)
    names = {"1": config.attribute, "-1": f"not_{config.attribute}"}
    return [LabelledFile(folder / name, names[values[column]]) for name, values in rows]


def _read_attributes(table: Path) -> tuple[list[str], list[tuple[str, list[str]]]]:
    lines = read_lines(table)
    if len(lines) < 2 or not lines[0].strip().isdecimal():
        raise DataError(f"{table} does not begin with the number of images and their attributes.")
    attributes = lines[1].split()
    rows = []
    for number, line in enumerate(lines[2:], 3):
        name, *values = line.split()
        if len(values) != len(attributes) or not set(values) <= {"1", "-1"}:
            raise DataError(
                f"{table}, line {number}: expected a file name and {len(attributes)} values, "
                "each 1 or -1."
            )
        rows.append((name, values))
    if len(rows) != int(lines[0]):
        raise DataError(
            f"{table} announces {lines[0].strip()} images and names {len(rows)}: it is cut."
        )
    return attributes, rows
