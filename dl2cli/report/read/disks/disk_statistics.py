"""Readers of disk statistics: sysstat's iostat JSON and copies of /proc/meminfo."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from statistics import median
from typing import Any

from dl2cli.report.model import DiskSample, DiskTrace, LogNote, MemInfo, Severity
from dl2cli.report.read.disks import iostat_fields
from dl2cli.report.read.values import finite, float_of, parse_json
from dl2cli.text import clean_text

_MEMINFO_LINE = re.compile(r"([A-Za-z0-9_()]{1,40}):\s+(\d{1,18})(?: (kB))?")
_STATISTICS = '"statistics"'
# Documents that released versions of sysstat write, and that are not JSON.
_DECIMAL_COMMA = re.compile(r"(:\s*-?\d+),(\d+)(?=\s*[,}\]])")
_LONE_COMMA = re.compile(r"(\[)\s*,|,(?=\s*[\]}])")
MAX_DEVICES = 1000


def is_iostat(document: Mapping[str, Any]) -> bool:
    """Tell whether a document is iostat's."""
    return isinstance(document.get("sysstat"), dict)


def iostat_trace(document: Mapping[str, Any], file: str) -> DiskTrace:
    """Read an iostat document."""
    return _Trace(file, _entries(document)).result()


def _entries(document: Mapping[str, Any]) -> list[Any]:
    hosts = document["sysstat"].get("hosts")
    entries: list[Any] = []
    for host in hosts if isinstance(hosts, list) else []:
        statistics = host.get("statistics") if isinstance(host, dict) else None
        entries += statistics if isinstance(statistics, list) else []
    return entries


def salvage_iostat(text: str, file: str) -> DiskTrace | None:
    """Read an iostat document that is not valid JSON, or return None when it is something else.

    Some versions of sysstat write decimal commas, or a comma that follows nothing. iostat writes
    the closing brackets when it is stopped gently; a hard kill leaves none.
    """
    if '"sysstat"' not in text[:4096]:
        return None
    mended = _LONE_COMMA.sub(lambda m: m.group(1) or "", _DECIMAL_COMMA.sub(r"\1.\2", text))
    try:
        document = parse_json(mended)
    except ValueError:
        document = None
    if isinstance(document, dict) and is_iostat(document):
        trace = _Trace(file, _entries(document))
        trace.note(Severity.INFO, "mended", "Its commas are not valid JSON; it was read in full.")
        return trace.result()
    entries, at_end = _whole_entries(mended)
    trace = _Trace(file, entries)
    if at_end:
        trace.note(Severity.ERROR, "cut", f"It is cut off after {len(entries)} intervals.")
    else:
        text = f"It is not valid JSON after {len(entries)} intervals, and was read up to there."
        trace.note(Severity.ERROR, "damaged", text)
    return trace.result()


def _whole_entries(text: str) -> tuple[list[Any], bool]:
    """Return the intervals up to the first that is not whole, and whether the text ends in that."""
    decoder = json.JSONDecoder()
    position = text.find("[", text.find(_STATISTICS)) + 1
    entries: list[Any] = []
    while position > 0:
        start = text.find("{", position)
        if start < 0:
            break
        try:
            entry, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            at_end = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
            return entries, at_end
        except RecursionError:
            return entries, False
        entries.append(entry)
    return entries, not text[position:].strip(" \t\r\n,")


class _Trace:
    """Reads the intervals of a trace, and notes what it does not understand."""

    def __init__(self, file: str, entries: list[Any]) -> None:
        self.file = file
        self.entries = [entry for entry in entries if isinstance(entry, dict)]
        self.notes: list[LogNote] = []
        if bad := len(entries) - len(self.entries):
            self.note(Severity.ERROR, "damaged", f"Intervals that are not records: {bad}.")

    def note(self, severity: Severity, code: str, text: str) -> None:
        self.notes.append(LogNote(severity, code, text, self.file))

    def result(self) -> DiskTrace:
        times = self._times()
        intervals = self._intervals_s(times)
        if self._begins_at_boot(intervals):
            self.entries, intervals = self.entries[1:], intervals[1:]
            if times is not None:
                times = iostat_fields.TimeStamps(times.seconds[1:], times.utc, times.swapped_s)
        devices = self._devices(intervals)
        samples = tuple(
            self._sample(index, times, intervals[index], devices)
            for index in range(len(self.entries))
        )
        if not samples:
            self.note(Severity.WARNING, "empty", "It holds no interval.")
        elif not devices or all(sample.read_bytes is None for sample in samples):
            self._complain_of_units()
        return DiskTrace(
            file=self.file,
            directory=str(PurePosixPath(self.file).parent),
            devices=tuple(sorted(devices)),
            samples=samples,
            notes=tuple(self.notes),
            clock=None if times is None else "utc" if times.utc else "local",
            swapped_s=None if times is None else times.swapped_s,
        )

    def _times(self) -> iostat_fields.TimeStamps | None:
        if not self.entries:
            return None
        texts = [str(entry.get("timestamp", "")) for entry in self.entries]
        bad = [text for text in texts if iostat_fields.parse_times([text]) is None]
        first = clean_text(bad[0], 60) if bad else ""
        if 0 < len(bad) <= len(texts) / 2:
            text = f"Intervals whose time cannot be read: {len(bad)}, the first is {first!r}."
            self.note(Severity.ERROR, "damaged", text)
            pairs = zip(self.entries, texts, strict=True)
            self.entries = [entry for entry, text in pairs if text not in bad]
            texts = [text for text in texts if text not in bad]
        if (times := iostat_fields.parse_times(texts)) is not None:
            return times
        text = "Its intervals have no time of day (iostat's option -t writes it)"
        if any(texts):
            text = f"The time {first or clean_text(texts[0], 60)!r} is of no known form"
        text += ": what it reads cannot be given to epochs."
        self.note(Severity.WARNING, "no times", text)
        return None

    def _intervals_s(self, times: iostat_fields.TimeStamps | None) -> list[float | None]:
        """Return the seconds that each interval covers; of the first, as long as most are."""
        if times is None:
            disks = [_disks(entry) for entry in self.entries]
            found = (map(iostat_fields.measured_interval_s, each) for each in disks)
            measured = [next((s for s in each if s is not None), None) for each in found]
            known = [s for s in measured if s is not None]
            return [median(known) if s is None and known else s for s in measured]
        gaps = [b - a for a, b in zip(times.seconds, times.seconds[1:], strict=False)]
        usual = median(gaps) if gaps else None
        return [usual, *(max(gap, 0.0) for gap in gaps)]

    def _begins_at_boot(self, intervals: list[float | None]) -> bool:
        """Tell whether the first record is about the time since boot, as without iostat's -y."""
        if len(intervals) < 2 or intervals[1] is None:
            return False
        measured = [iostat_fields.measured_interval_s(disk) for disk in _disks(self.entries[0])]
        return any(s is not None and s > 60 + 10 * intervals[1] for s in measured)

    def _devices(self, intervals: list[float | None]) -> list[str]:
        totals: dict[str, float] = {}
        for entry, interval_s in zip(self.entries, intervals, strict=True):
            for disk in _disks(entry):
                name = _device(disk)
                if name in totals or len(totals) < MAX_DEVICES:
                    read = iostat_fields.read_bytes(disk, interval_s)
                    totals[name] = totals.get(name, 0.0) + (read or 0.0)
        counted, sentence = iostat_fields.counted_devices(totals)
        if sentence:
            self.note(Severity.INFO, "stacked devices", sentence)
        return counted

    def _sample(
        self,
        index: int,
        times: iostat_fields.TimeStamps | None,
        interval_s: float | None,
        devices: list[str],
    ) -> DiskSample:
        entry = self.entries[index]
        # An idle disk is not in the list when iostat runs with -z.
        disks = [disk for disk in _disks(entry) if _device(disk) in devices]
        listed = isinstance(entry.get("disk"), list)
        reads = [iostat_fields.read_bytes(disk, interval_s) for disk in disks]
        writes = [iostat_fields.written_bytes(disk, interval_s) for disk in disks]
        cpu = entry.get("avg-cpu")
        return DiskSample(
            clock_s=None if times is None else times.seconds[index],
            read_bytes=_sum(reads) if listed else None,
            written_bytes=_sum(writes) if listed else None,
            interval_s=interval_s,
            iowait_pct=finite(float_of(cpu, "iowait")) if isinstance(cpu, dict) else None,
        )

    def _complain_of_units(self) -> None:
        disks = [disk for entry in self.entries for disk in _disks(entry)]
        if not disks:
            text = "No disk is in it: what was read is not known."
        else:
            names = ", ".join(clean_text(str(key), 30) for key in list(disks[0])[:8])
            text = f"None of its fields is a known counter of reads ({names})."
        self.note(Severity.WARNING, "unknown fields", text)


def _disks(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    listed = entry.get("disk")
    return [disk for disk in listed if isinstance(disk, dict)] if isinstance(listed, list) else []


def _device(disk: Mapping[str, Any]) -> str:
    return clean_text(str(disk.get("disk_device")), 40)


def _sum(values: list[float | None]) -> float | None:
    return None if None in values else sum(v for v in values if v is not None)


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
