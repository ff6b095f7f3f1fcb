"""What the fields of an iostat interval mean: units by their names, times in any locale, devices.

sysstat's JSON has other field names with `-x` (`rkB/s`), `-m` (`MB_read`) and POSIXLY_CORRECT
(`Blk_read`), and dates as the locale or S_TIME_FORMAT=ISO want them. A field is read only when its
name says its unit; what is not understood is None, never zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from dl2cli.report.read.values import finite, float_of

_UNITS = {"kB": 1024, "MB": 1024**2, "GB": 1024**3, "Blk": 512, "sec": 512}
_TOTAL = {"read": ("{}_read",), "written": ("{}_wrtn",)}
_RATE = {"read": ("{}_read/s", "r{}/s"), "written": ("{}_wrtn/s", "w{}/s")}

_TIME = re.compile(
    r"(\d{1,4})([-/.]|年)(\d{1,2})(?:[-/.]|月)(\d{1,4})日?,?[ T]+(\d{1,2})[:.h](\d\d)[:.m](\d\d)s?"
    r"(?:[.,]\d+)?\s*([AaPp])?\.?(?:[Mm]\.?)?\s*(Z|[+-]\d\d:?\d\d)?"
)
_EPOCH = datetime(1970, 1, 1)

_DISK = re.compile(r"([shv]d[a-z]+|xvd[a-z]+|dasd[a-z]+|(?:nvme\d+n|mmcblk|nbd|rbd|sr)\d+)")
_PARTITION = re.compile(rf"{_DISK.pattern}p?\d+")


def read_bytes(disk: Mapping[str, Any], interval_s: float | None) -> float | None:
    """Return the bytes read in an interval; None where no field says so in a known unit.

    A rate counts for the interval's length, where that is known.
    """
    return _bytes(disk, "read", interval_s)


def written_bytes(disk: Mapping[str, Any], interval_s: float | None) -> float | None:
    """Return the bytes written in an interval, as `read_bytes` does."""
    return _bytes(disk, "written", interval_s)


def _bytes(disk: Mapping[str, Any], what: str, interval_s: float | None) -> float | None:
    total = _field(disk, _TOTAL[what])
    if total is not None:
        return total
    rate = _field(disk, _RATE[what])
    return None if rate is None or interval_s is None else rate * interval_s


def _field(disk: Mapping[str, Any], patterns: Iterable[str]) -> float | None:
    for pattern in patterns:
        for unit, factor in _UNITS.items():
            value = finite(float_of(disk, pattern.format(unit)))
            if value is not None and value >= 0:
                return value * factor
    return None


def measured_interval_s(disk: Mapping[str, Any]) -> float | None:
    """Return how long an interval was, by its bytes and its bytes a second, or None.

    It tells the first record of an iostat without `-y`, which is about all the time since the
    machine was started, from an interval of the run.
    """
    total, rate = _field(disk, _TOTAL["read"]), _field(disk, _RATE["read"])
    return total / rate if total and rate else None


@dataclass(frozen=True, slots=True)
class TimeStamps:
    """The times of the samples, in the order of the file.

    `seconds` are Unix seconds where `utc`, else the local clock read as if it were UTC. `swapped_s`
    is what must be added where day and month may as well stand in the other order.
    """

    seconds: tuple[float, ...]
    utc: bool = False
    swapped_s: float | None = None


def parse_times(texts: Sequence[str]) -> TimeStamps | None:
    """Read the samples' times, or return None when one of them is of no known form.

    All are read with one order of year, month and day; 07/08/21 may be July or August, and then
    the American order, which is iostat's default, is taken, and `swapped_s` is given.
    """
    matches = [_TIME.fullmatch(text.strip()[:60]) for text in texts]
    if not texts or any(match is None for match in matches):
        return None
    known = [match for match in matches if match is not None]
    readings = []
    for order in _orders(known[0]):
        found = [_moment(match, order) for match in known]
        if all(moment is not None for moment in found):
            readings.append([moment for moment in found if moment is not None])
    if not readings:
        return None
    # The wrong order makes a month of a trace that goes on over midnight.
    readings.sort(key=lambda times: max(times) - min(times))
    swapped = None
    if len(readings) > 1 and _span(readings[0]) == _span(readings[1]):
        swapped = readings[1][0] - readings[0][0]
    return TimeStamps(tuple(readings[0]), known[0].group(9) is not None, swapped)


def _span(times: Sequence[float]) -> float:
    return max(times) - min(times)


def _orders(match: re.Match[str]) -> tuple[str, ...]:
    if len(match.group(1)) == 4:
        return ("ymd",)
    return ("dmy",) if match.group(2) == "." else ("mdy", "dmy")


def _moment(match: re.Match[str], order: str) -> float | None:
    numbers = dict(zip(order, (int(match.group(i)) for i in (1, 3, 4)), strict=True))
    year = numbers["y"]
    if year < 100:
        year += 1900 if year >= 69 else 2000  # as POSIX has it
    hour = int(match.group(5))
    if half := match.group(8):
        hour = hour % 12 + 12 * (half in "Pp")
    try:
        moment = datetime(
            year, numbers["m"], numbers["d"], hour, int(match.group(6)), int(match.group(7))
        )
        if (zone := match.group(9)) is not None:
            moment = moment.replace(tzinfo=_zone(zone)).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return (moment - _EPOCH).total_seconds()


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))


def counted_devices(read_totals: Mapping[str, float]) -> tuple[list[str], str]:
    """Choose devices so that no byte counts twice, and say in a sentence what was left out.

    A partition lies on its disk; device mapper, md, loop and the like (every name that is not that
    of a disk) lie on the disks beside them. Where they read more than those, the trace does not
    have all disks, and the busiest of them counts instead.

    Args:
        read_totals: The bytes that each device read over the whole trace.
    """
    disks = [name for name in read_totals if _DISK.fullmatch(name)]
    partitions = [
        name
        for name in read_totals
        if (match := _PARTITION.fullmatch(name)) and name not in disks
        and match.group(1) not in read_totals
    ]  # fmt: skip
    physical = [*disks, *partitions]
    stacked = [
        name for name in read_totals if name not in physical and not _PARTITION.fullmatch(name)
    ]
    top = max(stacked, key=lambda name: read_totals[name], default=None)
    below = sum(read_totals[name] for name in physical)
    counted = physical
    if top is not None and (not physical or read_totals[top] > below * 1.01):
        counted = [top]
    left_out = sorted(set(read_totals) - set(counted))
    if not left_out:
        return counted, ""
    verbs = ("holds", "is") if len(left_out) == 1 else ("hold", "are")
    others, names = ", ".join(left_out), ", ".join(sorted(counted))
    return counted, f"{others} {verbs[0]} the same bytes as {names}, and {verbs[1]} not added."
