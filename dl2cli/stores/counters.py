"""What reading from a store took: requests, bytes, latencies, retries, hedges."""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add, sub
from typing import Final

# Latencies are counted in steps of 2.3 %, so that two counts can be subtracted and added: an epoch
# is the difference of two moments, and a training the sum of its ranks.
_STEPS_A_DECADE: Final = 100
_SHORTEST_S: Final = 1e-4
_DECADES: Final = 7  # up to 1,000 s, beyond every time limit
_STEPS: Final = _STEPS_A_DECADE * _DECADES + 1
_REQUESTS, _BYTES, _CACHED, _RETRIES, _HEDGES, _LATENCIES = range(6)


@dataclass(frozen=True)
class StoreStats:
    """What reading from a store took, since it was opened or between two moments.

    Attributes:
        counts: the five numbers below, and behind them how many latencies fell into each step;
            whole numbers, so that they can be summed over processes.
    """

    counts: tuple[int, ...] = (0,) * (_LATENCIES + _STEPS)

    @property
    def requests(self) -> int:
        """Requests that were made, retries and hedges among them."""
        return self.counts[_REQUESTS]

    @property
    def bytes_received(self) -> int:
        """Bytes of the bodies that came whole."""
        return self.counts[_BYTES]

    @property
    def bytes_cached(self) -> int:
        """Bytes that a cache on this machine gave instead."""
        return self.counts[_CACHED]

    @property
    def retries(self) -> int:
        """Requests made again after a failure."""
        return self.counts[_RETRIES]

    @property
    def hedges(self) -> int:
        """Requests made a second time because the first was slow."""
        return self.counts[_HEDGES]

    @property
    def latency_p50_s(self) -> float | None:
        """The median time from a request to the end of its body; None before any."""
        return percentile(self.counts[_LATENCIES:], 0.5)

    @property
    def latency_p99_s(self) -> float | None:
        """The 99th percentile."""
        return percentile(self.counts[_LATENCIES:], 0.99)

    def since(self, earlier: StoreStats) -> StoreStats:
        """Return what came after an earlier moment."""
        return StoreStats(tuple(map(sub, self.counts, earlier.counts)))

    def plus(self, other: StoreStats) -> StoreStats:
        """Return both together."""
        return StoreStats(tuple(map(add, self.counts, other.counts)))


class Counters:
    """Counts, from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = list(StoreStats().counts)

    def _add(self, place: int, count: int = 1) -> None:
        with self._lock:
            self._counts[place] += count

    def add_request(self) -> None:
        """Count a request that is made."""
        self._add(_REQUESTS)

    def add_retry(self) -> None:
        """Count a request that is made again."""
        self._add(_RETRIES)

    def add_hedge(self) -> None:
        """Count a request that is made beside a slow one."""
        self._add(_HEDGES)

    def add_cached(self, received: int) -> None:
        """Count bytes that came from a cache on this machine."""
        self._add(_CACHED, received)

    def add_answer(self, received: int, latency_s: float) -> None:
        """Count a body that came whole."""
        step = math.ceil(_STEPS_A_DECADE * math.log10(max(latency_s, _SHORTEST_S) / _SHORTEST_S))
        self._add(_BYTES, received)
        self._add(_LATENCIES + min(step, _STEPS - 1))

    def may_add_extra(self, share: float, burst: int) -> bool:
        """Tell whether one more retry or hedge keeps to the share of all requests."""
        with self._lock:
            extra = self._counts[_RETRIES] + self._counts[_HEDGES]
            return extra < burst + share * (self._counts[_REQUESTS] - extra)

    def percentile(self, share: float, least: int = 1) -> float | None:
        """Return a percentile of the latencies in seconds; None while fewer than `least` came."""
        return percentile(self.stats().counts[_LATENCIES:], share, least)

    def stats(self) -> StoreStats:
        """Return the totals so far."""
        with self._lock:
            return StoreStats(tuple(self._counts))


def percentile(steps: Sequence[int], share: float, least: int = 1) -> float | None:
    """Return a percentile in seconds, at most 2.3 % too long; None of fewer than `least`."""
    *_, count = up_to = list(accumulate(steps))
    if count < least:
        return None
    step = bisect_right(up_to, int(share * (count - 1)))
    return float(_SHORTEST_S * 10 ** (step / _STEPS_A_DECADE))
