"""What a dataset holds, whichever kind it is: its classes, its images, the files to read."""

from __future__ import annotations

from pathlib import Path

from dl2cli import pcr
from dl2cli.dataset.discovery import class_names, discover
from dl2cli.dataset.location import is_pcr_dataset


def count_images(data: Path) -> int:
    """Return the number of images in a PCR dataset or an ImageFolder; raises as a loader does."""
    return pcr.open(data).image_count if is_pcr_dataset(data) else len(discover(data).files)


def dataset_classes(data: Path) -> tuple[str, ...]:
    """Return the class names of a PCR dataset or an ImageFolder, by label."""
    return pcr.open(data).classes if is_pcr_dataset(data) else class_names(data)


def scan_groups(data: Path) -> int | None:
    """Return G, the number of scan groups of a PCR dataset; None for an ImageFolder."""
    return pcr.open(data).groups if is_pcr_dataset(data) else None


def data_files(data: Path) -> list[Path]:
    """Return the files that a loader reads in a dataset: records or images."""
    if is_pcr_dataset(data):
        return [data / record.file for record in pcr.open(data).records]
    folder = discover(data)
    return [folder.root / file.path for file in folder.files]
