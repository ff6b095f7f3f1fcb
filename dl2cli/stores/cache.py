"""A cache that knows fidelity: the first groups of every record, not all groups of the latest.

A training reads every record once an epoch, in another order each time. A cache of whole records
that drops the least recently used ones then holds what will not be read for long: it hits almost
never. This one keeps the first j groups of *every* record, the largest j that fits, and group j + 1
of as many records as still fit. What is kept is a function of the index and of the size alone, so
that nothing is ever thrown out for something else, any number of processes may share the folder,
and an epoch reads exactly [end_j, end_k) of each record from the store.

    <cache folder>/<identity of the dataset>/dataset.json    its URL, for people
    <cache folder>/<identity of the dataset>/segments/       see `segments`

The identity is a hash of the URL and of everything that the index says of the records: another
dataset, or another version of this one, has another folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dl2cli.errors import StorageError
from dl2cli.stores.segments import Segment, SegmentFolder, segment_bytes
from dl2cli_native import _core

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NOTE: Final = "dataset.json"
_SEGMENTS: Final = "segments"


@dataclass(frozen=True)
class RecordExtent:
    """Where the parts of a record lie.

    Attributes:
        name: its object, below the dataset's URL.
        lengths: of its metadata and of each scan group, in bytes.
        crc32c: of its metadata; None in datasets of the PCR_Release converter.
    """

    name: str
    lengths: tuple[int, ...]
    crc32c: int | None

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """The end of the metadata and of each group, in bytes from the record's beginning."""
        total, ends = 0, []
        for length in self.lengths:
            total += length
            ends.append(total)
        return tuple(ends)


@dataclass(frozen=True)
class CachePlan:
    """What a cache keeps of a dataset.

    Attributes:
        groups: j, the groups of every record that are kept.
        more: how many records, the first, are kept with one group more.
        bytes_kept: the most bytes that all this takes on a disk.
    """

    groups: int
    more: int
    bytes_kept: int

    def groups_of(self, record: int) -> int:
        """Return how many groups of a record are kept."""
        return self.groups + (record < self.more)


def plan_cache(records: Sequence[RecordExtent], size_bytes: int) -> CachePlan:
    """Decide what a cache of `size_bytes` keeps of a dataset.

    A group more may be a segment of its own: each is counted with a header and a broken block.
    """
    most = max((len(record.lengths) - 1 for record in records), default=0)
    kept = 0
    for groups in range(most):
        costs = [_cost(record, groups) for record in records]
        if kept + sum(costs) > size_bytes:
            more = 0
            while kept + costs[more] <= size_bytes:
                kept += costs[more]
                more += 1
            return CachePlan(groups, more, kept)
        kept += sum(costs)
    return CachePlan(most, 0, kept)


def _cost(record: RecordExtent, groups: int) -> int:
    """Return what one group more than `groups` takes."""
    if groups + 1 >= len(record.lengths):
        return 0
    begin = record.ends[groups] if groups else 0
    return segment_bytes(record.ends[groups + 1] - begin)


class RecordCache:
    """The cached groups of one dataset, for the threads of a process. Thread-safe."""

    def __init__(
        self, folder: Path, url: str, records: Sequence[RecordExtent], size_bytes: int
    ) -> None:
        """Open or make the cache of a dataset below `folder`.

        What is there and not planned for (from a larger cache) is removed, and so are caches of
        other versions of the same dataset. Raises StorageError if the folder cannot be written.
        """
        self.plan = plan_cache(records, size_bytes)
        self._records = records
        self._numbers = {record.name: number for number, record in enumerate(records)}
        identity = _identity(url, records)
        self.folder = folder / identity
        self._segments = SegmentFolder(self.folder / _SEGMENTS)
        self._lock = threading.Lock()
        self._known: dict[int, set[Segment]] = {}
        self._full: str | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_note(self.folder, url)
            _remove_other_versions(folder, url, identity)
        except OSError as error:
            raise StorageError(
                f"The cache {folder} cannot be written: {error.strerror}."
            ) from error
        self._segments.remove_leftovers()
        for segment in self._segments.all():
            if segment.record < len(records) and segment.upto <= self._planned(segment.record):
                self._known.setdefault(segment.record, set()).add(segment)
            else:
                self._segments.remove(segment)

    @property
    def stopped(self) -> str | None:
        """Why nothing is added any more, in a sentence; None while all is well."""
        return self._full

    def extent(self, name: str, offset: int, length: int) -> tuple[int, int] | None:
        """Return record number and groups if a range is a record's prefix at a fidelity."""
        number = self._numbers.get(name)
        if number is None or offset != 0:
            return None
        with contextlib.suppress(ValueError):
            groups = self._records[number].ends.index(length)
            return (number, groups) if groups else None
        return None

    def read(self, number: int, groups: int) -> tuple[int, list[Buffer]]:
        """Return how many of the first `groups` groups of a record are here, and their bytes."""
        lengths = self._records[number].lengths
        found: list[Buffer] = []
        done = 0
        looked_again = False
        while done < groups:
            segment = self._best(number, done)
            if segment is None:
                if looked_again or not self._planned(number) > done:
                    break
                looked_again = True
                self._look_again(number)
                continue
            wanted = min(groups, segment.upto)
            body = self._segments.read(segment, _part_lengths(lengths, done, wanted))
            if body is None:
                self._forget(segment)
                continue
            found.append(body)
            done = wanted
        return done, found

    def add(self, number: int, after: int, groups: int, pieces: Sequence[Buffer]) -> None:
        """Keep groups of a record that came from the store, as many as are planned.

        Bytes with a wrong checksum are not kept; nothing is raised if the disk fails.

        Args:
            number: the record.
            after: how many groups are here already.
            groups: the group that `pieces` ends with.
            pieces: the bytes behind group `after`, and with none before, the metadata.
        """
        upto = min(groups, self._planned(number))
        if upto <= after or self._full is not None:
            return
        lengths = _part_lengths(self._records[number].lengths, after, upto)
        body = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))
        parts, at = [], 0
        for length in lengths:
            parts.append(body[at : at + length])
            at += length
        if not self._is_sound(number, after, parts):
            return
        segment = Segment(number, after, upto)
        try:
            self._segments.write(segment, parts)
        except OSError as error:
            self._full = f"Nothing more is cached in {self.folder}: {error.strerror}."
            return
        with self._lock:
            self._known.setdefault(number, set()).add(segment)

    def _planned(self, number: int) -> int:
        return min(self.plan.groups_of(number), len(self._records[number].lengths) - 1)

    def _is_sound(self, number: int, after: int, parts: Sequence[memoryview]) -> bool:
        """Compare groups with the checksums in the record's metadata, where it has them."""
        record = self._records[number]
        if record.crc32c is None:
            return True
        metadata: Buffer
        if after == 0:
            metadata = parts[0][: record.lengths[0]]
            groups = [parts[0][record.lengths[0] :], *parts[1:]]
        else:
            begun = self.read(number, 1)[1]
            if not begun:
                return False
            metadata, groups = memoryview(begun[0])[: record.lengths[0]], list(parts)
        if _core.crc32c(metadata) != record.crc32c:
            return False
        try:
            checksums = _core.record_checksums(metadata)
        except _core.DataError:
            return False
        return [_core.crc32c(group) for group in groups] == checksums[after : after + len(groups)]

    def _best(self, number: int, done: int) -> Segment | None:
        with self._lock:
            fitting = [s for s in self._known.get(number, ()) if s.after == done]
        return max(fitting, default=None)

    def _look_again(self, number: int) -> None:
        """Learn what other processes have added."""
        found = [s for s in self._segments.of_record(number) if s.record == number]
        with self._lock:
            self._known.setdefault(number, set()).update(found)

    def _forget(self, segment: Segment) -> None:
        with self._lock:
            self._known.get(segment.record, set()).discard(segment)


def _part_lengths(lengths: Sequence[int], after: int, upto: int) -> list[int]:
    """Return the lengths of groups after + 1 to upto; the metadata counts with group 1."""
    parts = list(lengths[after + 1 : upto + 1])
    if after == 0 and parts:
        parts[0] += lengths[0]
    return parts


def _identity(url: str, records: Sequence[RecordExtent]) -> str:
    text = json.dumps([url, [(r.name, r.lengths, r.crc32c) for r in records]])
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _write_note(folder: Path, url: str) -> None:
    file = folder / _NOTE
    if not file.exists():
        temporary = folder / f"{_NOTE}.{threading.get_ident()}.tmp"
        temporary.write_text(json.dumps({"url": url}), "utf-8")
        temporary.replace(file)


def _remove_other_versions(folder: Path, url: str, identity: str) -> None:
    for other in cached_datasets(folder):
        if other.url == url and other.folder.name != identity:
            shutil.rmtree(other.folder, ignore_errors=True)


@dataclass(frozen=True)
class CachedDataset:
    """A dataset that a cache folder holds parts of.

    Attributes:
        url: the dataset.
        folder: its part of the cache.
    """

    url: str
    folder: Path

    def records(self) -> dict[int, int]:
        """Return how many records are kept with how many groups."""
        reach: dict[int, int] = {}
        for segment in sorted(SegmentFolder(self.folder / _SEGMENTS).all()):
            if segment.after <= reach.get(segment.record, 0):
                reach[segment.record] = max(reach.get(segment.record, 0), segment.upto)
        counts: dict[int, int] = {}
        for groups in reach.values():
            counts[groups] = counts.get(groups, 0) + 1
        return dict(sorted(counts.items()))

    def size(self) -> int:
        """Return how many bytes are kept."""
        return SegmentFolder(self.folder / _SEGMENTS).size()


def cached_datasets(folder: Path) -> list[CachedDataset]:
    """List what a cache folder holds. Raises StorageError if it cannot be read."""
    found = []
    try:
        for note in sorted(folder.glob(f"*/{_NOTE}")):
            with contextlib.suppress(ValueError, TypeError, KeyError):
                found.append(
                    CachedDataset(str(json.loads(note.read_text("utf-8"))["url"]), note.parent)
                )
    except OSError as error:
        if error.errno == errno.ENOENT:
            return []
        raise StorageError(f"The cache {folder} cannot be read: {error.strerror}.") from error
    return found


def clear_cache(folder: Path) -> int:
    """Remove all that a cache folder holds of datasets, and nothing else; returns the bytes.

    Raises StorageError.
    """
    freed = 0
    for dataset in cached_datasets(folder):
        freed += dataset.size()
        try:
            shutil.rmtree(dataset.folder)
        except OSError as error:
            raise StorageError(f"{dataset.folder} cannot be removed: {error.strerror}.") from error
    return freed
