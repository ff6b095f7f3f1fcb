"""Situations to predict, and how a user names them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from dl2cli.errors import UsageError
from dl2cli.loaders.throttle import Throttle

_SETTINGS: Final = {
    "storage": ("bandwidth_bytes_s", "B/s"),
    "latency": ("latency_s", "s"),
    "cores": ("cores", ""),
    "cache": ("cache_bytes", "B"),
    "accelerator": ("accelerator_img_s", "img/s"),
}
_EXAMPLES: Final = "storage=100MB/s, latency=10ms, cores=8, cache=2GB and accelerator=2500"


@dataclass(frozen=True)
class Scenario:
    """A situation to predict.

    Attributes:
        name: what the tables call it.
        bandwidth_bytes_s: bandwidth of storage; infinity is as fast as memory.
        latency_s: latency of each read.
        cores: cores that decode, as many as workers; None leaves what was measured.
        cache_bytes: bytes of the dataset that are in memory and stay there.
        accelerator_img_s: speed of the accelerator; None leaves what was measured.
    """

    name: str
    bandwidth_bytes_s: float
    latency_s: float = 0.0
    cores: int | None = None
    cache_bytes: float = 0.0
    accelerator_img_s: float | None = None

    @classmethod
    def parse(cls, text: str, now: Scenario) -> Scenario:
        """Return the situation `now` with changes ("storage=50MB/s cores=8 cache=2GB").

        Raises:
            UsageError: the text is not a list of such settings.
        """
        changes: dict[str, float | int] = {}
        parts = text.replace(",", " ").split()
        if not parts:
            raise UsageError(f"--what-if {text!r} names no setting; use {_EXAMPLES}.")
        for part in parts:
            key, _, value = part.partition("=")
            if key not in _SETTINGS:
                raise UsageError(f"{part!r} is not a what-if setting; use {_EXAMPLES}.")
            field, unit = _SETTINGS[key]
            if field in changes:
                raise UsageError(f"--what-if {text}: {key} is set twice.")
            try:
                number = quantity(value, unit)
            except UsageError as error:
                raise UsageError(f"--what-if {part}: {error}") from None
            if key == "cores" and not number.is_integer():
                raise UsageError(f"--what-if {part}: cores must be a whole number.")
            changes[field] = int(number) if key == "cores" else number
        return replace(now, name=text, **changes)  # type: ignore[arg-type]


def throttled(limits: str) -> Scenario:
    """Return storage as a throttle makes it. Raises UsageError."""
    throttle = Throttle.parse(limits)
    bandwidth = throttle.bytes_per_s if throttle.bytes_per_s is not None else math.inf
    return Scenario(f"throttled to {throttle}", bandwidth, throttle.latency_s)


_PREFIXES: Final = {
    "": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3, "u": 1e-6,
}  # fmt: skip


def quantity(text: str, unit: str) -> float:
    """Return a positive number with an optional decimal prefix and unit ("100MB/s" is 1e8).

    Raises:
        UsageError: it is something else.
    """
    digits = text.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/ ")
    prefix = text.strip()[len(digits) :].strip().removesuffix(unit)
    try:
        value = float(digits) * _PREFIXES[prefix]
    except (ValueError, KeyError):
        value = math.nan
    if not 0 < value < 1e18:
        raise UsageError(f"{text!r} is not a positive number{f' of {unit}' if unit else ''}.")
    return value
