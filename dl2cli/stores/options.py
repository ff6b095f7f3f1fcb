"""How a store is asked: timeouts, retries, hedging, the size of parts, the cache."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dl2cli.errors import UsageError

MIB: Final = 1 << 20
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?(|k|K|M|G|T)(i?)[bB]?")


def parse_size(text: str, name: str) -> int:
    """Read "200GB", "64GiB" or a number of bytes. Raises UsageError that names the option."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or (match[3] and not match[2]):
        raise UsageError(f"{name} must be a size such as 200GB or 64GiB, not {text!r}.")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** ("", "k", "m", "g", "t").index(match[2].lower()))


@dataclass(frozen=True)
class StoreOptions:
    """How requests are made; the same for every store that a command reads.

    Attributes:
        connect_timeout_s: how long a connection may take to open.
        read_timeout_s: how long a server may stay silent in the middle of an answer.
        request_timeout_s: how long one request may take in all, so that a server that sends a byte
            now and then does not hold a training for ever.
        retries: how often a request is made again that failed for a reason which may pass.
        first_backoff_s: up to how long the first retry waits; each later one up to twice as long.
            The wait is drawn at random, so that many readers do not come back together.
        longest_backoff_s: where that ends.
        hedge: make a request a second time when it takes longer than 99 of 100 did, and use the
            answer that comes first.
        extra_share: retries and hedges are at most this share of all requests ...
        extra_burst: ... and this many beyond it, so that a short outage is survived.
        part_bytes: a longer range is fetched in parts of about this size, side by side: one
            connection gives some 100 MB/s.
        parts_in_flight: how many parts of all ranges are on their way at a time.
        memory_bytes: keep up to so many bytes of ranges in memory and give them again, to measure
            what a loader does without a store.
        cache_dir: a folder on this machine for the first groups of every record; None keeps none.
        cache_bytes: how much of the disk that may take, for each dataset.
    """

    connect_timeout_s: float = 5.0
    read_timeout_s: float = 20.0
    request_timeout_s: float = 120.0
    retries: int = 7
    first_backoff_s: float = 0.25
    longest_backoff_s: float = 15.0
    hedge: bool = False
    extra_share: float = 0.1
    extra_burst: int = 100
    part_bytes: int = 8 * MIB
    parts_in_flight: int = 32
    memory_bytes: int = 0
    cache_dir: Path | None = None
    cache_bytes: int = 0

    def __post_init__(self) -> None:
        for name in ("connect_timeout_s", "read_timeout_s", "request_timeout_s"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be more than 0, not {getattr(self, name)}.")
        bounds = {"retries": 0, "part_bytes": 1, "parts_in_flight": 1, "cache_bytes": 0}
        for name, least in bounds.items():
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}.")
