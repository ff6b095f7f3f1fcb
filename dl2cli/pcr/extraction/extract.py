"""Write the images of a dataset back as an ImageFolder of plain JPEG files at fidelity k.

A file appears under its name when it is whole. A marker in the folder says which extraction is
under way and how many records are done, so that the same command goes on after a kill or a full
disk. The marker is removed when everything is there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from dl2cli.dataset.orientation import ORIENTATION
from dl2cli.durability import try_lock
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.dataset import Dataset, Record
from dl2cli.pcr.extraction.folder import ExtractFolder
from dl2cli.pcr.index import SourceInfo, check_inside
from dl2cli_native import _core

_SOI: Final = b"\xff\xd8"
_APP0: Final = b"\xff\xe0"
_APP1: Final = b"\xff\xe1"


@dataclass(frozen=True)
class ExtractResult:
    """What was extracted.

    Attributes:
        out: the folder.
        scans: the fidelity k.
        images: images in it now.
        bytes_written: bytes that this run wrote.
        renamed: images that got another name than their source's, because that name was taken, too
            long, or not allowed by the file system.
        resumed_records: records that an earlier run had extracted.
    """

    out: Path
    scans: int
    images: int
    bytes_written: int
    renamed: int
    resumed_records: int


def extract(
    dataset: Dataset,
    out: Path,
    scans: int | None = None,
    most: int | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> ExtractResult:
    """Write each image to `out` under its class and original name, or continue an extraction.

    Images whose source was not a JPEG get the ending `.jpg`. If the name is then taken (`x.png.jpg`
    beside `x.png`), too long, or not allowed by the file system, record and slot are appended. The
    EXIF orientation is put back where the conversion left EXIF out. Images of datasets that do not
    know their sources are named after record and slot.

    Args:
        dataset: what to extract.
        out: a folder that is not there yet, or empty, or where this extraction was interrupted.
        scans: the fidelity k; all scan groups if None.
        most: stop after so many images.
        on_progress: called with the images written and their number in all.

    Raises:
        UsageError: `out` holds something else, or there is no such fidelity.
        DataError: the dataset is damaged.
        StorageError: the system refuses to read or to write; what is done is kept.
    """
    total = dataset.image_count if most is None else min(most, dataset.image_count)
    images = written = renamed = 0
    with _locked(out) as folder:
        resumed = folder.start(_identity(dataset, scans or dataset.groups, total))
        for number, (info, sources) in enumerate(
            zip(dataset.records, dataset.sources_by_record(), strict=True)
        ):
            if images == total:
                break
            if number < resumed:
                images += min(info.images, total - images)
                continue
            record = dataset.read(number, scans)
            for slot in range(min(len(record), total - images)):
                jpeg = _with_orientation(dataset, record, slot)
                name = _name(dataset, record, slot, sources.get(slot))
                new_bytes, own_name = folder.add(name, f"{info.id}_{slot}", jpeg)
                images += 1
                written += new_bytes
                renamed += not own_name
            folder.finish_record(number + 1)
            if on_progress is not None:
                on_progress(images, total)
        folder.finish()
    return ExtractResult(out, scans or dataset.groups, images, written, renamed, resumed)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[ExtractFolder]:
    """Make the folder and lock it, where its file system has locks."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(out, os.O_RDONLY | os.O_DIRECTORY)
    except (FileExistsError, NotADirectoryError):
        raise UsageError(f"{out} is not a folder, and cannot become one.") from None
    except OSError as error:
        raise StorageError(f"{out} cannot be made: {error.strerror}.") from error
    try:
        try_lock(descriptor)
        yield ExtractFolder(out)
    except BlockingIOError:
        raise UsageError(f"Another extraction is writing to {out}.") from None
    finally:
        os.close(descriptor)


def _identity(dataset: Dataset, scans: int, total: int) -> str:
    """Return what an extraction must have in common with the one that it goes on with."""
    records = [(info.file, info.lengths, info.crc32c) for info in dataset.records]
    text = json.dumps([records, dataset.classes, scans, total])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _name(dataset: Dataset, record: Record, slot: int, source: SourceInfo | None) -> str:
    if source is not None:
        return source.path + (".jpg" if source.is_reencoded else "")
    label = int(record.labels[slot])
    if not 0 <= label < len(dataset.classes):
        raise DataError(f"{dataset.path}, record {record.info.file}: label {label} has no class.")
    try:
        return check_inside(f"{dataset.classes[label]}/{record.info.id}_{slot}.jpg")
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
    exif[ORIENTATION] = recorded
    payload = exif.tobytes()
    segment = _APP1 + struct.pack(">H", len(payload) + 2) + payload
    at = len(_SOI)
    if bytes(jpeg[at : at + 2]) == _APP0:  # JFIF wants to be first
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return b"".join((jpeg[:at], segment, jpeg[at:]))
