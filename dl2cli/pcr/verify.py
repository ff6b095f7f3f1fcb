"""Check a PCR dataset: structure, checksums, decoding, and losslessness against its sources."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dl2cli.errors import DataError, StorageError, UsageError, is_file_fault, system_failure
from dl2cli.pcr import index
from dl2cli.pcr.dataset import Dataset, Record, limits_of
from dl2cli.pcr.index import SourceInfo
from dl2cli_native import _core

OnProgress = Callable[[int, int], None]
AHEAD: Final = 8  # images a thread that wait for their turn


@dataclass(frozen=True)
class Damage:
    """Something that is wrong with a record as a whole, or with one image in it."""

    record: str
    slot: int | None
    source: str | None
    reason: str


@dataclass(frozen=True)
class VerifyResult:
    """What a check found.

    Attributes:
        images: images that were decoded at full fidelity.
        records: records that were read.
        proved_lossless: images whose coefficients and pixels equal their source's.
        too_large: images of more pixels than the user allows: they were not decoded, and may be
            sound or damaged.
        not_comparable: images that were encoded anew or kept though damaged, so that they differ
            from their sources by design.
        damage: what is wrong; empty if all is well.
    """

    images: int
    records: int
    too_large: int
    proved_lossless: int
    not_comparable: int
    damage: tuple[Damage, ...]


def verify(
    dataset: Dataset,
    against: Path | None = None,
    workers: int = 1,
    on_progress: OnProgress | None = None,
    max_pixels: int | None = None,
) -> VerifyResult:
    """Read and decode everything; with `against`, compare each image with its source there.

    Memory: one record, and a decoded image (two with `against`) a worker.

    Args:
        dataset: what to check.
        against: the ImageFolder that it was made from.
        workers: threads that decode.
        on_progress: called with the number of images checked, and of all images.
        max_pixels: images of more pixels are counted and not decoded; 100 million if None. The
            limits that the dataset states itself are not trusted.

    Raises:
        UsageError: `against` is given and the dataset does not know its sources.
        StorageError: the system failed to read a record or a source, which is not damage.
    """
    check = _Check(dataset, against, max_pixels or _core.Limits().max_pixels)
    sources = check.sources()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for number in range(len(dataset.records)):
                check.record(number, next(sources), pool, workers * AHEAD)
                if on_progress is not None:
                    on_progress(check.images, dataset.image_count)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return VerifyResult(
        check.images,
        len(dataset.records),
        check.too_large,
        check.proved_lossless,
        check.not_comparable,
        tuple(check.damage),
    )


class _Check:
    """Counts and findings of one run of `verify`."""

    def __init__(self, dataset: Dataset, against: Path | None, max_pixels: int) -> None:
        self.limits = limits_of(max_pixels)
        self.dataset = dataset
        self.against = against
        self.images = 0
        self.too_large = 0
        self.proved_lossless = 0
        self.not_comparable = 0
        self.damage: list[Damage] = []
        if against is not None and not against.is_dir():
            raise UsageError(f"{against} is not a folder.")
        if against is not None and next(dataset.sources(), None) is None:
            raise UsageError(
                f"{dataset.path} does not say where its images came from (PCR_sources.db is "
                "missing or empty), so it cannot be compared with them."
            )

    def sources(self) -> Iterator[dict[int, SourceInfo]]:
        """Yield the sources of each record; damage of PCR_sources.db is a finding of its own."""
        try:
            yield from self.dataset.sources_by_record()
        except DataError as error:
            self.damage.append(Damage(index.SOURCES, None, None, str(error)))
            self.against = None
        while True:
            yield {}

    def record(
        self, number: int, sources: dict[int, SourceInfo], pool: ThreadPoolExecutor, ahead: int
    ) -> None:
        info = self.dataset.records[number]
        try:
            record = self.dataset.read(number)
            size = self.dataset.record_bytes(number)
        except (DataError, StorageError) as error:
            if isinstance(error, StorageError) and not _is_about_the_record(error):
                raise
            self.damage.append(Damage(info.file, None, None, str(error)))
            return
        self._structure(record, size, sources)
        waiting: deque[tuple[int, Future[str | None]]] = deque()
        for slot in range(len(record)):
            waiting.append((slot, pool.submit(self._image, record, slot, sources.get(slot))))
            if len(waiting) >= ahead:
                self._take(record, sources, *waiting.popleft())
        while waiting:
            self._take(record, sources, *waiting.popleft())

    def _structure(self, record: Record, size: int, sources: dict[int, SourceInfo]) -> None:
        file = record.info.file
        if size != sum(record.info.lengths):
            reason = f"it has {size} bytes, but the index says {sum(record.info.lengths)}"
            self.damage.append(Damage(file, None, None, reason))
        classes = len(self.dataset.classes)
        if len(record) and not 0 <= record.labels.min() <= record.labels.max() < classes:
            self.damage.append(Damage(file, None, None, "a label has no class"))
        known = sources or self.against is not None  # a dataset may do without its provenance
        if known and sorted(sources) != list(range(len(record))):
            reason = f"PCR_sources.db knows {len(sources)} of its {len(record)} images"
            self.damage.append(Damage(file, None, None, reason))

    def _take(
        self, record: Record, sources: dict[int, SourceInfo], slot: int, future: Future[str | None]
    ) -> None:
        reason = future.result()
        source = sources.get(slot)
        if reason is None:
            self.too_large += 1
            return
        self.images += 1
        if reason:
            path = None if source is None else source.path
            self.damage.append(Damage(record.info.file, slot, path, reason))
        elif self.against is not None:
            if source is not None and self._is_comparable(source):
                self.proved_lossless += 1
            else:
                self.not_comparable += 1

    def _image(self, record: Record, slot: int, source: SourceInfo | None) -> str | None:
        """Return what is wrong with an image, or the empty string; None if it is too large."""
        if len(record.widths):
            pixel_count = int(record.widths[slot]) * int(record.heights[slot])
            if pixel_count > self.limits.max_pixels:
                return None
        jpeg = record.image(slot)
        try:
            pixels = np.asarray(_core.decode([jpeg], whole_file=True, limits=self.limits))
        except _core.DataError as error:
            return f"does not decode: {error}"
        except MemoryError as error:
            where = f"{self.dataset.path / record.info.file}, image {slot}"
            raise system_failure(where, error) from error
        if len(record.widths) and pixels.shape[:2] != (record.heights[slot], record.widths[slot]):
            return f"decodes to {pixels.shape[1]} x {pixels.shape[0]} pixels, not the size recorded"
        if self.against is None or source is None or not self._is_comparable(source):
            return ""
        path = f"{self.against}/{source.path}"
        return _compare(jpeg, pixels, path, source, self.limits)

    def _is_comparable(self, source: SourceInfo) -> bool:
        """Tell whether an image is meant to equal its source."""
        is_cut = index.OF_GROUPS in self.dataset.properties
        return not (is_cut or source.is_reencoded or source.is_damaged)


def _is_about_the_record(error: StorageError) -> bool:
    """Tell whether the record file itself cannot be read, which is a finding; a bad disk is not."""
    return isinstance(error.__cause__, OSError) and is_file_fault(error.__cause__)


def _compare(
    jpeg: memoryview,
    pixels: NDArray[np.uint8],
    path: str,
    source: SourceInfo,
    limits: _core.Limits,
) -> str:
    try:
        # A file that changed its size, or is a FIFO or a device now, is not read.
        status = os.stat(path)  # noqa: PTH116 - a str, not a Path
        if not stat.S_ISREG(status.st_mode) or status.st_size != source.bytes:
            return "its source has changed since the conversion"
        original = _core.read_file(os.fsencode(path), source.bytes)
    except _core.DataError:
        return "its source has changed since the conversion"
    except (OSError, MemoryError) as error:
        if not is_file_fault(error):
            raise system_failure(path, error) from error
        return f"its source cannot be read: {getattr(error, 'strerror', error)}"
    if _core.crc32c(original) != source.crc32c:
        return "its source has changed since the conversion"
    try:
        difference = _core.compare_coefficients(original, jpeg, limits)
        if difference:
            return f"not lossless: {difference}"
        reference = np.asarray(_core.decode([original], whole_file=True, limits=limits))
        if not np.array_equal(reference, pixels):
            return "not lossless: the decoded pixels differ"
    except _core.DataError as error:
        return f"its source does not decode: {error}"
    except MemoryError as error:
        raise system_failure(path, error) from error
    return ""
