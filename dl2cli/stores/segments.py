"""Pieces of records on a local disk: written so that any crash leaves a whole piece or none.

A segment holds scan groups a to b of one record: a header with a checksum of each group (the
record's metadata counts with group 1), then their bytes as they lie in the record.

    <folder>/<record number // 1000>/<record number>.<a>-<b>

It gets its name when it is whole. It is not synced: what a power failure leaves of it has a wrong
checksum, and is fetched again.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli_native import _core

if TYPE_CHECKING:
    from typing_extensions import Buffer

BLOCK_BYTES: Final = 4096  # what a file system takes at a time
_MAGIC: Final = b"DL2SEG1\0"
_NAME: Final = re.compile(r"(\d+)\.(\d+)-(\d+)")
_IN_FOLDER: Final = 1000  # records a folder
_STALE_S: Final = 3600.0  # after which a temporary file is taken for what a killed process left


@dataclass(frozen=True, order=True)
class Segment:
    """Which groups of which record: those behind group `after`, up to group `upto`."""

    record: int
    after: int
    upto: int

    @property
    def name(self) -> str:
        """Its file, below the folder of segments."""
        return f"{self.record // _IN_FOLDER}/{self.record}.{self.after}-{self.upto}"

    def header_bytes(self) -> int:
        """How long its header is."""
        return len(_MAGIC) + 4 * (self.upto - self.after) + 4


def segment_bytes(length: int) -> int:
    """Return what a segment of so many bytes takes on a disk at most, header included."""
    return (length // BLOCK_BYTES + 2) * BLOCK_BYTES


class SegmentFolder:
    """The segments of one dataset."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of_record(self, record: int) -> list[Segment]:
        """List the segments of a record and of its neighbours, as they are now."""
        return self._list(self.folder / str(record // _IN_FOLDER))

    def all(self) -> list[Segment]:
        """List all segments."""
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            folders = sorted(entry.path for entry in entries if entry.name.isdecimal())
            return [segment for each in folders for segment in self._list(Path(each))]
        return []

    def write(self, segment: Segment, parts: Sequence[Buffer]) -> None:
        """Write a segment, one part for each of its groups, or none at all. Raises OSError."""
        file = self.folder / segment.name
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f"{uuid.uuid4().hex}.tmp")
        checksums = [_core.crc32c(part) for part in parts]
        header = _MAGIC + struct.pack(f"<{len(checksums)}I", *checksums)
        header += struct.pack("<I", _core.crc32c(header + segment.name.encode()))
        try:
            with temporary.open("xb") as out:
                out.write(header)
                for part in parts:
                    out.write(part)
            temporary.replace(file)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def read(self, segment: Segment, lengths: Sequence[int]) -> bytes | None:
        """Return the first groups of a segment; None, and no file, if it is not as written.

        Args:
            segment: which.
            lengths: the lengths of the groups that are wanted, in bytes.
        """
        file = self.folder / segment.name
        head = segment.header_bytes()
        try:
            with file.open("rb") as opened:
                content = opened.read(head + sum(lengths))
        except FileNotFoundError:
            return None
        except OSError:
            content = b""
        header, body = content[:head], content[head:]
        if len(body) == sum(lengths) and _is_header(header, segment):
            known = struct.unpack_from(f"<{len(lengths)}I", header, len(_MAGIC))
            if list(known) == list(_checksums(body, lengths)):
                return body
        self.remove(segment)
        return None

    def remove(self, segment: Segment) -> None:
        """Remove a segment, if that can be done."""
        with contextlib.suppress(OSError):
            (self.folder / segment.name).unlink()

    def size(self) -> int:
        """Return how many bytes the segments take."""
        total = 0
        for segment in self.all():
            with contextlib.suppress(OSError):
                total += (self.folder / segment.name).stat().st_size
        return total

    def remove_leftovers(self) -> None:
        """Remove what processes left that were killed while they wrote."""
        for file in self.folder.glob("*/*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _STALE_S:
                    file.unlink()

    def _list(self, folder: Path) -> list[Segment]:
        found = []
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match:
                    found.append(Segment(*map(int, match.groups())))
        return sorted(found)


def _is_header(header: bytes, segment: Segment) -> bool:
    if len(header) != segment.header_bytes() or not header.startswith(_MAGIC):
        return False
    (crc,) = struct.unpack_from("<I", header, len(header) - 4)
    return bool(crc == _core.crc32c(header[:-4] + segment.name.encode()))


def _checksums(body: bytes, lengths: Sequence[int]) -> list[int]:
    view, at, found = memoryview(body), 0, []
    for length in lengths:
        found.append(_core.crc32c(view[at : at + length]))
        at += length
    return found
