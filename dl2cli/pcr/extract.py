"""Giving the images of a dataset back as an ImageFolder of plain JPEG files at fidelity k."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image

from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.dataset import Dataset, Record
from dl2cli.pcr.index import SourceInfo, check_inside
from dl2cli_native import _core

_ORIENTATION: Final = 0x0112
_SOI: Final = b"\xff\xd8"
_APP0: Final = b"\xff\xe0"
_APP1: Final = b"\xff\xe1"


@dataclass(frozen=True)
class ExtractResult:
    """How many images were written, and their bytes."""

    out: Path
    scans: int
    images: int
    bytes_written: int


def extract(
    dataset: Dataset,
    out: Path,
    scans: int | None = None,
    most: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ExtractResult:
    """Write each image to `out`, under its class and original name.

    What was no JPEG gets `.jpg` behind its name; a name that is taken then (`x.png.jpg` beside
    `x.png`) gets record and slot behind it. The EXIF orientation is put back where the
    conversion left EXIF out. Images of datasets that do not know their sources are named after
    record and slot.

    Args:
        dataset: what to extract.
        out: a folder that is not there yet, or empty.
        scans: the fidelity k; all scan groups if None.
        most: stop after so many images.
        on_progress: called with the images written and their number in all.

    Raises:
        UsageError: `out` is not empty, or there is no such fidelity.
        DataError: the dataset is damaged.
        StorageError: the system refuses to write.
    """
    try:
        taken = out.exists() and (not out.is_dir() or next(out.iterdir(), None) is not None)
    except OSError as error:
        raise StorageError(f"{out} cannot be read: {error.strerror}.") from error
    if taken:
        raise UsageError(f"{out} is not empty; choose another folder.")
    total = dataset.image_count if most is None else min(most, dataset.image_count)
    images = bytes_written = 0
    for number, info in enumerate(dataset.records):
        if images == total:
            break
        record = dataset.read(number, scans)
        sources = {source.slot: source for source in dataset.sources(info.id)}
        for slot in range(min(len(record), total - images)):
            jpeg = _with_orientation(dataset, record, slot)
            path = out / _name(dataset, record, slot, sources.get(slot))
            _write(path, jpeg, f"{info.id}_{slot}")
            images += 1
            bytes_written += len(jpeg)
        if on_progress is not None:
            on_progress(images, total)
    return ExtractResult(out, scans or dataset.groups, images, bytes_written)


def _name(dataset: Dataset, record: Record, slot: int, source: SourceInfo | None) -> PurePosixPath:
    if source is not None:
        return PurePosixPath(source.path + (".jpg" if source.is_reencoded else ""))
    label = int(record.labels[slot])
    if not 0 <= label < len(dataset.classes):
        raise DataError(f"{dataset.path}, record {record.info.file}: {label} is no class.")
    name = f"{dataset.classes[label]}/{record.info.id}_{slot}.jpg"
    try:
        return PurePosixPath(check_inside(name))
    except DataError as error:
        raise DataError(f"{dataset.path}: {error}") from error


def _with_orientation(dataset: Dataset, record: Record, slot: int) -> bytes | memoryview:
    """Insert an EXIF segment with the recorded orientation, if the JPEG itself has none."""
    jpeg = record.image(slot)
    recorded = int(record.orientations[slot]) if len(record.orientations) else 1
    if recorded == 1:
        return jpeg
    try:
        if _core.read_jpeg_header(jpeg, dataset.limits).orientation == recorded:
            return jpeg
    except _core.DataError as error:
        where = f"{dataset.path}, record {record.info.file}, image {slot}"
        raise DataError(f"{where}: {error}.") from error
    exif = Image.Exif()
    exif[_ORIENTATION] = recorded
    payload = exif.tobytes()
    segment = _APP1 + struct.pack(">H", len(payload) + 2) + payload
    at = len(_SOI)
    if bytes(jpeg[at : at + 2]) == _APP0:  # JFIF wants to be first
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return b"".join((jpeg[:at], segment, jpeg[at:]))


def _write(path: Path, jpeg: bytes | memoryview, number: str) -> None:
    """Write a new file; where the name is taken, with `number` behind it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("xb")
        except FileExistsError:
            file = path.with_name(f"{path.name}.{number}.jpg").open("xb")
        with file:
            file.write(jpeg)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}.") from error
