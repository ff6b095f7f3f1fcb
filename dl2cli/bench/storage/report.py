"""What the measurement of a storage is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from dl2cli.bench.statistics import Spread
from dl2cli.bench.storage.read_plan import AccessPattern, Skipped
from dl2cli.dataset.location import DatasetKind
from dl2cli.errors import Interrupted, UsageError

LATENCY_PERCENTS: Final = (50, 95, 99, 100)
COLD_SHARE: Final = 0.05
"""A run is cold if at most this share came from the page cache, and warm if at least the rest did.

5 % is what an error of a tenth in a predicted rate leaves room for.
"""


@dataclass(frozen=True)
class StorageConfig:
    """What to measure.

    Attributes:
        path: an ImageFolder or a PCR dataset; where it has splits, the training split.
        ks: the fidelities of a PCR dataset; empty for 1, 2, 5 and 10, as far as it has them.
        repeat: runs of each kind.
        seconds: the time for all runs together; each gets an equal share at most.
        limit_bytes: the most that one run reads (of full fidelity); larger datasets are sampled.
        block_bytes: the most that one read call takes.
        threads: files read at a time.
        direct: read past the page cache (O_DIRECT), too.
        cold: measure with an emptied page cache, too.
        seed: seed of the sample and of the random orders.
    """

    path: Path
    ks: tuple[int, ...] = ()
    repeat: int = 3
    seconds: float = 20.0
    limit_bytes: int = 1 << 30
    block_bytes: int = 8 << 20
    threads: int = 1
    direct: bool = False
    cold: bool = True
    seed: int = 0

    def check(self) -> None:
        """Raise UsageError for values that make no sense."""
        if not 1 <= self.repeat <= 1000:
            raise UsageError(f"repeat must be 1 to 1000, not {self.repeat}.")
        if not 0 < self.seconds < float("inf"):
            raise UsageError(f"The seconds to measure for must be more than 0, not {self.seconds}.")
        if not 4096 <= self.block_bytes <= 1 << 30:
            raise UsageError(f"A block must have 4 KiB to 1 GiB, not {self.block_bytes} bytes.")
        if self.limit_bytes < 1:
            raise UsageError(f"limit_bytes must be at least 1, not {self.limit_bytes}.")
        if not 1 <= self.threads <= 256:
            raise UsageError(f"threads must be 1 to 256, not {self.threads}.")


class Access(StrEnum):
    """How a run was meant to read."""

    COLD = "cold"
    WARM = "warm"
    DIRECT = "direct"


class Cache(StrEnum):
    """Where the bytes really came from."""

    COLD = "cold"  # from the device
    WARM = "warm"  # from the page cache
    MIXED = "mixed"
    UNKNOWN = "unknown"  # the file system's reads are not counted by this kernel


@dataclass(frozen=True, slots=True)
class CacheVerdict:
    """What the counters say of a run, or of several.

    Attributes:
        cache: the label.
        cache_share: the share of the bytes that the page cache served, 0 to 1; None if unknown.
        process_read_bytes: what this process fetched from devices; None if not told.
        device_read_bytes: what the device read meanwhile, for all programs; None without a device.
        read_amplification: bytes fetched from the device over bytes asked for: above 1 where the
            kernel read ahead in vain or in whole pages; None if unknown.
    """

    cache: Cache
    cache_share: float | None
    process_read_bytes: int | None
    device_read_bytes: int | None
    read_amplification: float | None


def run_name(scans: int | None, order: AccessPattern, access: Access) -> str:
    """Return a short name for a kind of reading ("pcr k=5, random, cold")."""
    what = "images" if scans is None else f"pcr k={scans}"
    return f"{what}, {order}, {access}"


@dataclass(frozen=True, slots=True)
class StorageResult:
    """One kind of reading, repeated.

    Attributes:
        scans: the fidelity k; None for images.
        order: order of the files.
        access: how the runs were meant to read.
        verdict: how they did read.
        rate_bytes_s: bytes over wall time of each run.
        rate_img_s: images over wall time of each run.
        reads: files opened, read whole and closed, in all runs.
        bytes_read: bytes read in all runs.
        images: images read in all runs.
        wall_s: total wall time of all runs.
        latency_s: percentiles `LATENCY_PERCENTS` of open, read and close of a file; None where no
            file was read whole in the time. (A warm run reads what a cold one has read before it:
            if that was cut short, the beginning of a file.)
    """

    scans: int | None
    order: AccessPattern
    access: Access
    verdict: CacheVerdict
    rate_bytes_s: Spread
    rate_img_s: Spread
    reads: int
    bytes_read: int
    images: int
    wall_s: float
    latency_s: tuple[float, ...] | None

    @property
    def name(self) -> str:
        """Return a short name, as `run_name` makes it."""
        return run_name(self.scans, self.order, self.access)

    @property
    def served_from_cache(self) -> bool:
        """Whether it was meant to be cold, and clearly less than the data came from the device."""
        return self.access is Access.COLD and self.verdict.cache in {Cache.WARM, Cache.MIXED}


@dataclass(frozen=True, slots=True)
class StorageReport:
    """What was measured.

    Attributes:
        path: what was read: of a dataset in splits, the training split.
        kind: the kind of dataset.
        files: files in the dataset.
        images: images in the dataset.
        sampled_files: the most that one run reads.
        sampled_bytes: bytes of the sampled files, at full fidelity.
        file_system: its type.
        device: the block device, or None.
        device_missing: why no device can be counted, or None.
        results: one for each kind of reading.
        skipped: files that could not be read, the first hundred.
        skipped_count: the number of files that could not be read.
        notes: what a reader of the figures must know, in sentences.
        wall_s: total wall time, planning and dropping of pages included.
        complete: False if it was interrupted.
    """

    path: Path
    kind: DatasetKind
    files: int
    images: int
    sampled_files: int
    sampled_bytes: int
    file_system: str
    device: str | None
    device_missing: str | None
    results: tuple[StorageResult, ...]
    skipped: tuple[Skipped, ...]
    skipped_count: int
    notes: tuple[str, ...]
    wall_s: float
    complete: bool

    def find(
        self, access: Access, order: AccessPattern = AccessPattern.RANDOM, scans: int | None = None
    ) -> StorageResult | None:
        """Return the result of one kind of reading, None if it was not measured."""
        for result in self.results:
            if (result.access, result.order, result.scans) == (access, order, scans):
                return result
        return None


@dataclass(frozen=True, slots=True)
class StorageProgress:
    """How far a measurement is; `next_run` is empty when it has ended."""

    done: int
    total: int
    elapsed_s: float
    next_run: str


class StorageInterrupted(Interrupted):
    """The user pressed Ctrl-C; `report` holds what is known."""

    def __init__(self, report: StorageReport) -> None:
        super().__init__("The measurement of the storage was interrupted.")
        self.report = report


def cache_verdict(
    page_bytes: int,
    bytes_read: int,
    process_bytes: int | None,
    device_bytes: int | None,
    *,
    in_memory: bool,
) -> CacheVerdict:
    """Say from the counters where the bytes of some runs came from.

    Args:
        page_bytes: what was asked for, in whole pages.
        bytes_read: what was asked for.
        process_bytes: what this process fetched from devices meanwhile, or None.
        device_bytes: what the device read meanwhile, for all programs; None without a device.
        in_memory: whether the file system has only memory behind it.
    """
    known = [each for each in (process_bytes, device_bytes) if each is not None]
    # Other processes read from the device, too, so the smaller number is nearer to ours.
    fetched = min(known, default=None)
    share = None if fetched is None else 1.0 - min(fetched / max(page_bytes, 1), 1.0)
    if in_memory:
        return CacheVerdict(Cache.WARM, 1.0, process_bytes, device_bytes, 0.0)
    if share is None or (device_bytes is None and share > 1 - COLD_SHARE):
        # File systems in user space and some of networks count nothing: 0 does not mean cached.
        return CacheVerdict(Cache.UNKNOWN, None, process_bytes, device_bytes, None)
    if share <= COLD_SHARE:
        label = Cache.COLD
    else:
        label = Cache.WARM if share >= 1 - COLD_SHARE else Cache.MIXED
    amplification = (fetched or 0) / max(bytes_read, 1)
    return CacheVerdict(label, share, process_bytes, device_bytes, amplification)
