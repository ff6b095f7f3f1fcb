"""What reading from a store took: requests, bytes, latencies, retries, hedges."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from typing import Final

_SAMPLE: Final = 4096  # latencies that are kept: enough for a 99th percentile


@dataclass(frozen=True)
class StoreStats:
    """Totals since a store was opened.

    Attributes:
        requests: requests that were made, retries and hedges among them.
        bytes_received: bytes of the bodies that came whole.
        bytes_cached: bytes that a cache on this machine gave instead.
        retries: requests made again after a failure.
        hedges: requests made a second time because the first was slow.
        latency_p50_s: the median time from a request to the end of its body; None before any.
        latency_p99_s: the 99th percentile.
    """

    requests: int = 0
    bytes_received: int = 0
    bytes_cached: int = 0
    retries: int = 0
    hedges: int = 0
    latency_p50_s: float | None = None
    latency_p99_s: float | None = None


class Counters:
    """Counts, from any thread. Latencies are an unbiased sample of all (reservoir sampling)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._bytes = self._cached = 0
        self._retries = self._hedges = 0
        self._latencies: list[float] = []
        self._seen = 0
        self._random = random.Random(0)

    def add_request(self) -> None:
        """Count a request that is made."""
        with self._lock:
            self._requests += 1

    def add_retry(self) -> None:
        """Count a request that is made again."""
        with self._lock:
            self._retries += 1

    def add_hedge(self) -> None:
        """Count a request that is made beside a slow one."""
        with self._lock:
            self._hedges += 1

    def add_cached(self, received: int) -> None:
        """Count bytes that came from a cache on this machine."""
        with self._lock:
            self._cached += received

    def add_answer(self, received: int, latency_s: float) -> None:
        """Count a body that came whole."""
        with self._lock:
            self._bytes += received
            self._seen += 1
            if len(self._latencies) < _SAMPLE:
                self._latencies.append(latency_s)
            elif (place := self._random.randrange(self._seen)) < _SAMPLE:
                self._latencies[place] = latency_s

    def may_add_extra(self, share: float, burst: int) -> bool:
        """Tell whether one more retry or hedge keeps to the share of all requests."""
        with self._lock:
            extra = self._retries + self._hedges
            return extra < burst + share * (self._requests - extra)

    def percentile(self, share: float, least: int = 1) -> float | None:
        """Return a percentile of the latencies in seconds; None while fewer than `least` came."""
        with self._lock:
            if len(self._latencies) < least:
                return None
            return sorted(self._latencies)[int(share * (len(self._latencies) - 1))]

    def stats(self) -> StoreStats:
        """Return the totals so far."""
        p50, p99 = self.percentile(0.5), self.percentile(0.99)
        with self._lock:
            return StoreStats(
                self._requests,
                self._bytes,
                self._cached,
                self._retries,
                self._hedges,
                p50,
                p99,
            )
