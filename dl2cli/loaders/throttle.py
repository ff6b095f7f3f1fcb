"""Slow storage down: what would a slow disk or a network share do to the loading of data?

The native core slows its own reads; this module slows the reading of plain files by several
processes. Both share one bandwidth among all readers, and let each read wait for the latency by
itself.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Final, Self

from dl2cli.errors import UsageError
from dl2cli_native import _core

_BYTES: Final = {
    "GB": 1e9,
    "MB": 1e6,
    "kB": 1e3,
    "B": 1.0,
    "KB": 1e3,
    "KiB": 2.0**10,
    "MiB": 2.0**20,
    "GiB": 2.0**30,
}
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
_MAX_LATENCY_S: Final = 60.0
_NUMBER: Final = r"(\d+(?:\.\d+)?)\s*"
_RATE: Final = re.compile(_NUMBER + f"({'|'.join(_BYTES)})(?:/s)?")
_LATENCY: Final = re.compile(r"latency\s*=\s*" + _NUMBER + f"({'|'.join(_SECONDS)})")
# As in the native core (throttle.cpp): sleeps that take too long must not add up.
_GRACE_S: Final = 0.02
_CHUNK_S: Final = 0.01
_CHUNK_BYTES: Final = 256 << 10
_SLICE_S: Final = 0.02  # how long a stop may wait for a sleeper


@dataclass(frozen=True)
class Throttle:
    """How slow storage should be.

    Attributes:
        bytes_per_s: bandwidth that all threads or processes of a loader share; None is unlimited.
        latency_s: seconds that the reading of each range of a file waits.
    """

    bytes_per_s: float | None
    latency_s: float = 0.0

    def __post_init__(self) -> None:
        rate = self.bytes_per_s
        if rate is not None and not (math.isfinite(rate) and rate >= 1):
            raise UsageError(f"A throttle needs at least 1 byte a second, not {rate:g}.")
        if not 0 <= self.latency_s <= _MAX_LATENCY_S:
            raise UsageError(
                f"A throttle's latency must be 0 to {_MAX_LATENCY_S:g} s, not {self.latency_s:g}."
            )
        if rate is None and self.latency_s == 0:
            raise UsageError("A throttle needs a bandwidth, a latency, or both.")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read "100MB/s", "100MB/s,latency=10ms" or "latency=500us".

        Bytes are B, kB, MB, GB (powers of 1000) or KiB, MiB, GiB; times are us, ms, s. Raises
        UsageError.
        """
        rate: float | None = None
        latency: float | None = None
        for part in (part.strip() for part in text.split(",")):
            if (found := _RATE.fullmatch(part)) and rate is None:
                rate = float(found[1]) * _BYTES[found[2]]
            elif (found := _LATENCY.fullmatch(part)) and latency is None:
                latency = float(found[1]) * _SECONDS[found[2]]
            else:
                raise UsageError(
                    f"{text!r} is not a throttle: write a bandwidth in B, kB, MB, GB, KiB, MiB or "
                    'GiB, a latency in us, ms or s, or both, such as "100MB/s,latency=10ms".'
                )
        return cls(rate, latency or 0.0)

    def __str__(self) -> str:
        parts = []
        if self.bytes_per_s is not None:
            unit = next(unit for unit in _BYTES if self.bytes_per_s >= _BYTES[unit])
            parts.append(f"{_decimal(self.bytes_per_s / _BYTES[unit])}{unit}/s")
        if self.latency_s > 0:
            unit = next((unit for unit in _SECONDS if self.latency_s >= _SECONDS[unit]), "us")
            parts.append(f"latency={_decimal(self.latency_s / _SECONDS[unit])}{unit}")
        return ",".join(parts)

    def native(self) -> _core.Throttle:
        """Return a throttle of the native core: one bandwidth for all who read with it."""
        return _core.Throttle(self.bytes_per_s or 0.0, self.latency_s)


def _decimal(number: float) -> str:
    """Write a number without an exponent, with the digits that matter."""
    return f"{number:.9f}".rstrip("0").rstrip(".")


class SharedThrottle:
    """Hands out one bandwidth to processes, in the order in which they ask."""

    def __init__(
        self,
        throttle: Throttle,
        context: BaseContext,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make a throttle that several processes share.

        Args:
            throttle: how slow storage should be.
            context: the context of the processes that will share it.
            clock: returns seconds, the same in all processes.
            sleep: waits for so many seconds.
        """
        self.throttle = throttle
        self._clock = clock
        self._sleep = sleep
        self._free = context.Value("d", 0.0)  # when all that was asked for has arrived
        # No lock, so that a process that dies cannot keep it.
        self._stop = context.Value("b", 0, lock=False)

    def read(self, read: Callable[[], bytes]) -> bytes:
        """Return the result of `read`, once so many bytes would have arrived."""
        begun = self._clock()
        content = read()
        self._sleep_until(begun + self.throttle.latency_s)
        self._await_bytes(len(content))
        return content

    def _await_bytes(self, size: int) -> None:
        rate = self.throttle.bytes_per_s
        if rate is None:
            return
        chunk = max(min(int(rate * _CHUNK_S), _CHUNK_BYTES), 1)
        while size > 0 and not self._stop.value:
            self._sleep_until(self.arrival(min(size, chunk)))
            size -= chunk

    def arrival(self, size: int) -> float:
        """Return when `size` more bytes have arrived: after all that were asked for before."""
        rate = self.throttle.bytes_per_s
        assert rate is not None
        with self._free.get_lock():
            now = self._clock()
            earliest = now - _GRACE_S if self._free.value else now
            self._free.value = max(self._free.value, earliest) + size / rate
            return float(self._free.value)

    def release(self) -> None:
        """Stop making anyone wait."""
        self._stop.value = 1

    def _sleep_until(self, moment: float) -> None:
        while (left := moment - self._clock()) > 0 and not self._stop.value:
            self._sleep(min(left, _SLICE_S))
