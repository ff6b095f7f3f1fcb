"""The data of an import: its options, the files that the reader of a layout returns, its result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from dl2cli.errors import UsageError


class Placing(StrEnum):
    """How a file of the source gets into the ImageFolder."""

    HARDLINK = "hardlink"
    SYMLINK = "symlink"
    COPY = "copy"


@dataclass(frozen=True)
class ImportConfig:
    """An import.

    Attributes:
        name: the layout, one of `IMPORTERS`.
        source: the folder with the published files.
        out: the ImageFolder to make.
        placing: by hard link, symlink or copy.
        val_fraction: share of the images that become val/ if the source has no splits; 0 makes no
            split.
        seed: seed of that split.
        table: the CSV of file and label; for `csv`, and to name another than the usual one.
        file_column: the column of the CSV that names the file.
        label_column: the column of the CSV that names the class.
        group_column: the column of the CSV whose equal values must not straddle the split.
        split_column: the column of the CSV that names the split.
        attribute: the attribute of CelebA-HQ that becomes the class.
        on_error: "skip" lists files that are missing and goes on, "fail" stops at the first.
    """

    name: str
    source: Path
    out: Path
    placing: Placing = Placing.HARDLINK
    val_fraction: float = 0.1
    seed: int = 0
    table: Path | None = None
    file_column: str = "file"
    label_column: str = "label"
    group_column: str | None = None
    split_column: str | None = None
    attribute: str = "Male"
    on_error: Literal["skip", "fail"] = "skip"

    def __post_init__(self) -> None:
        if not 0 <= self.val_fraction < 1:
            raise UsageError(
                f"The share of validation images must be at least 0 and below 1, not "
                f"{self.val_fraction:g}."
            )


@dataclass(frozen=True)
class LabelledFile:
    """An image of the source.

    Attributes:
        path: the file.
        label: name of its class, as the source spells it.
        split: "train", "val" or "test"; empty where the source has no splits.
        group: images of one group stay in one split; empty for an image that stands alone.
    """

    path: Path
    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class MissingFile:
    """A file that the source's table names and that cannot be placed, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class ImportResult:
    """The result of an import.

    Attributes:
        out: the ImageFolder.
        placing: how the files were placed.
        classes: names of the classes, sorted: a label is an index into them.
        images: number of images by split; the key is empty where there are no splits.
        placed: images that this run placed.
        already_there: images that an earlier run had placed.
        missing: files that the table names and that cannot be placed.
    """

    out: Path
    placing: Placing
    classes: tuple[str, ...]
    images: dict[str, int]
    placed: int
    already_there: int
    missing: tuple[MissingFile, ...]
