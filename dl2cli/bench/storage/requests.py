"""A dataset in a store: how fast its records come, in how many requests, and what that costs.

An epoch at fidelity k makes one request for each record (for each part of a long one), and receives
the records' prefixes; both follow from the index. The rate and the latencies are measured: prefixes
of records in random order, by as many threads as a loader has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dl2cli import pcr
from dl2cli.errors import UsageError
from dl2cli.loaders.records import STORE_FETCH_THREADS
from dl2cli.stores.fetch import cancel_until_done, parts_of
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import is_remote
from dl2cli.stores.reader import StoreReader

_FEWEST_READS: Final = 4  # of a fidelity, however slow the store is
_GB: Final = 1e9


@dataclass(frozen=True)
class Prices:
    """What a store asks, in any currency.

    Attributes:
        per_thousand_requests: for 1,000 GET requests.
        per_gb: for 10^9 bytes that leave it.
    """

    per_thousand_requests: float = 0.0
    per_gb: float = 0.0

    def __post_init__(self) -> None:
        if not (self.per_thousand_requests >= 0 and self.per_gb >= 0):
            raise UsageError("Prices must be 0 or more.")

    def of(self, requests: float, bytes_received: float) -> float:
        """Return the price of so many requests and bytes."""
        return requests / 1000 * self.per_thousand_requests + bytes_received / _GB * self.per_gb


@dataclass(frozen=True)
class StoreReading:
    """What a dataset in a store gives at one fidelity.

    Attributes:
        scans: the fidelity k.
        requests: of an epoch.
        bytes_received: of an epoch.
        bytes_per_image: the mean.
        rate_bytes_s: measured; bytes over wall time.
        rate_img_s: likewise.
        latency_p50_s: from a request to the end of its body, the median.
        latency_p99_s: the 99th percentile.
        reads: records that were read for that.
        price: of an epoch; None where the user gave no prices.
    """

    scans: int
    requests: int
    bytes_received: int
    bytes_per_image: float
    rate_bytes_s: float
    rate_img_s: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    reads: int
    price: float | None


def measure_store(
    data: Path,
    scans: tuple[int, ...],
    *,
    seconds: float,
    prices: Prices | None = None,
    seed: int = 0,
    on_fidelity: Callable[[int, int], None] | None = None,
) -> tuple[StoreReading, ...]:
    """Read a dataset in a store at some fidelities, for about so many seconds in all.

    Args:
        data: the dataset.
        scans: the fidelities.
        seconds: for all of them together.
        prices: what the store asks.
        seed: of the order of the records.
        on_fidelity: called with the fidelities that are done, and how many there are.

    Raises:
        UsageError: `data` is not a dataset in a store, or has no such fidelity.
        DataError: a record is damaged.
        StorageError: the store failed.
    """
    if not is_remote(data):
        raise UsageError(f"{data} is in no store.")
    readings = []
    for done, k in enumerate(scans):
        readings.append(_measure(data, k, seconds / len(scans), prices, seed))
        if on_fidelity is not None:
            on_fidelity(done + 1, len(scans))
    return tuple(readings)


def _measure(
    data: Path, scans: int, seconds: float, prices: Prices | None, seed: int
) -> StoreReading:
    dataset = pcr.open(data)
    total = dataset.prefix_bytes(scans)
    order = np.random.default_rng(seed).permutation(len(dataset.records)).tolist()
    end = time.perf_counter() + seconds
    latencies: list[float] = []

    def read(count_and_number: tuple[int, int]) -> tuple[int, int]:
        count, number = count_and_number
        if count >= _FEWEST_READS and time.perf_counter() > end:
            return 0, 0
        start = time.perf_counter()
        record = dataset.read(number, scans)
        latencies.append(time.perf_counter() - start)
        return record.bytes_read, len(record)

    start = time.perf_counter()
    with ThreadPoolExecutor(STORE_FETCH_THREADS) as pool:
        futures = [pool.submit(read, each) for each in enumerate(order)]
        try:
            read_all = [future.result() for future in futures]
        except BaseException:
            if isinstance(dataset.place, StoreReader):
                cancel_until_done(futures, dataset.place.cancel)
            raise
    wall_s = time.perf_counter() - start
    part_bytes = StoreOptions().part_bytes
    requests = sum(
        len(parts_of(0, sum(record.lengths[: scans + 1]), part_bytes)) for record in dataset.records
    )
    return StoreReading(
        scans=scans,
        requests=requests,
        bytes_received=total,
        bytes_per_image=total / max(dataset.image_count, 1),
        rate_bytes_s=sum(size for size, _ in read_all) / wall_s,
        rate_img_s=sum(images for _, images in read_all) / wall_s,
        latency_p50_s=float(np.percentile(latencies, 50)) if latencies else None,
        latency_p99_s=float(np.percentile(latencies, 99)) if latencies else None,
        reads=len(latencies),
        price=prices.of(requests, total) if prices is not None else None,
    )
