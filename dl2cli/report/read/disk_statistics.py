"""Readers of disk statistics: sysstat's iostat JSON and copies of /proc/meminfo."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from dl2cli.report.model import DiskSample, DiskTrace, LogNote, MemInfo, Severity
from dl2cli.report.read.values import clean_text, finite, float_of

_MEMINFO_LINE = re.compile(r"([A-Za-z0-9_()]{1,40}):\s+(\d{1,18})(?: (kB))?")
_STATISTICS = '"statistics"'


def is_iostat(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is iostat's."""
    return isinstance(document.get("sysstat"), dict)


def iostat_trace(document: Mapping[str, Any], file: str) -> DiskTrace:
    """Read an iostat document: intervals of the local clock, all devices added up."""
    hosts = document["sysstat"].get("hosts")
    entries: list[Any] = []
    for host in hosts if isinstance(hosts, list) else []:
        statistics = host.get("statistics") if isinstance(host, dict) else None
        entries += statistics if isinstance(statistics, list) else []
    return _trace(entries, file, ())


def salvage_iostat(text: str, file: str) -> DiskTrace | None:
    """Read the whole intervals of an iostat document whose end is missing, or return None.

    iostat writes the closing brackets when it is stopped gently; a hard kill leaves none.
    """
    if '"sysstat"' not in text[:4096]:
        return None
    entries = list(_objects(text))
    note = LogNote(
        Severity.ERROR, "cut", f"The document is cut off after {len(entries)} intervals.", file
    )
    return _trace(entries, file, (note,))


def _objects(text: str) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    position = text.find("[", text.find(_STATISTICS)) + 1
    while position > 0:
        start = text.find("{", position)
        if start < 0:
            return
        try:
            entry, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            return
        yield entry


def _trace(entries: list[Any], file: str, notes: tuple[LogNote, ...]) -> DiskTrace:
    samples: list[DiskSample] = []
    devices: dict[str, None] = {}
    bad = 0
    for entry in entries:
        sample = _sample(entry, devices, samples[-1].local_unix_s if samples else None)
        if sample is None:
            bad += 1
        else:
            samples.append(sample)
    if bad:
        notes += (
            LogNote(Severity.ERROR, "damaged", f"Intervals that cannot be read: {bad}.", file),
        )
    if not samples:
        notes += (LogNote(Severity.WARNING, "empty", "There is no interval in it.", file),)
    return DiskTrace(
        file, str(PurePosixPath(file).parent), tuple(sorted(devices)), tuple(samples), notes
    )


def _sample(entry: object, devices: dict[str, None], before: float | None) -> DiskSample | None:
    if not isinstance(entry, dict):
        return None
    try:
        moment = datetime.strptime(str(entry.get("timestamp"))[:40], "%m/%d/%y %H:%M:%S")
    except ValueError:
        return None
    local = (moment - datetime(1970, 1, 1)).total_seconds()
    listed = entry.get("disk")
    disks = [d for d in listed if isinstance(d, dict)] if isinstance(listed, list) else []
    devices.update((clean_text(str(d.get("disk_device")), 40), None) for d in disks)
    cpu = entry.get("avg-cpu")
    return DiskSample(
        local_unix_s=local,
        read_kib=sum(finite(float_of(d, "kB_read")) or 0.0 for d in disks),
        written_kib=sum(finite(float_of(d, "kB_wrtn")) or 0.0 for d in disks),
        interval_s=1.0 if before is None else max(local - before, 0.0),
        iowait_pct=(finite(float_of(cpu, "iowait")) if isinstance(cpu, dict) else None) or 0.0,
    )


def is_meminfo(head: bytes) -> bool:
    """Tell from a file's first bytes whether it is a copy of /proc/meminfo."""
    return head.startswith(b"MemTotal:")


def meminfo(text: str, file: str) -> MemInfo:
    """Read /proc/meminfo; values in kB (which are KiB) become bytes."""
    values: dict[str, int] = {}
    bad = 0
    for line in text.splitlines()[:1000]:
        match = _MEMINFO_LINE.fullmatch(line.strip())
        if match:
            values[match.group(1)] = int(match.group(2)) * (1024 if match.group(3) else 1)
        elif line.strip():
            bad += 1
    notes: tuple[LogNote, ...] = ()
    if bad:
        notes = (LogNote(Severity.ERROR, "damaged", f"Lines that cannot be read: {bad}.", file),)
    return MemInfo(file, str(PurePosixPath(file).parent), values, notes)
