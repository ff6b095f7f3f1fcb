"""iostat in the forms that its versions, options and locales give it, and what is said of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from report_logs import START, Training, iostat_document, write_json, write_text, write_training

from dl2cli.report.config import ReportConfig
from dl2cli.report.io_stats import DiskStats
from dl2cli.report.model import Severity
from dl2cli.report.read.discover import Finder
from dl2cli.report.read.disks.iostat_fields import counted_devices, parse_times
from dl2cli.report.report import Report, build_report

TRAINING = Training(epochs=3)
STAMP = re.compile(r"(\d\d)/(\d\d)/(\d\d) (\d\d):(\d\d:\d\d)")
MIB = 2**20
VERDICT = "from sda4 in its first epoch"


def document(read_kb: int = 1024) -> dict[str, Any]:
    return iostat_document(TRAINING, read_kb)


def disks(change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """Return the trace with each disk's record changed."""
    trace = document()
    for entry in trace["sysstat"]["hosts"][0]["statistics"]:
        entry["disk"] = [change(disk) for disk in entry["disk"]]
    return json.dumps(trace)


def restamped(pattern: str, **options: Any) -> str:
    def stamp(match: re.Match[str]) -> str:
        moment = datetime.strptime(match.group(), "%m/%d/%y %H:%M:%S")
        return (moment + timedelta(**options)).strftime(pattern)

    return STAMP.sub(stamp, json.dumps(document()))


def read(tmp_path: Path, trace: str | bytes, training: Training = TRAINING) -> Report:
    write_training(tmp_path / "io" / "experiment_report.json", training)
    data = trace.encode() if isinstance(trace, str) else trace
    (tmp_path / "io" / "iostat.json").write_bytes(data)
    return build_report(Finder([tmp_path]).load(), ReportConfig())


def stats(report: Report) -> DiskStats:
    (disk,) = report.disks
    return disk


def verdicts(report: Report) -> list[str]:
    return [s for s in report.findings if VERDICT in s or "page cache" in s]


def codes(report: Report) -> set[str]:
    return {note.code for note in report.notes if note.file.endswith("iostat.json")}


def since_boot() -> str:
    trace = document()
    statistics = trace["sysstat"]["hosts"][0]["statistics"]
    for entry in statistics:
        entry["disk"][0]["kB_read/s"] = 1024.0
    early = json.loads(json.dumps(statistics[0]))
    early["timestamp"] = (datetime(1970, 1, 1) + timedelta(seconds=START + 7199)).strftime(
        "%m/%d/%y %H:%M:%S"
    )
    early["disk"][0] |= {"kB_read": 10**9, "kB_read/s": 100.0}
    statistics.insert(0, early)
    return json.dumps(trace)


def stacked() -> str:
    trace = document()
    for entry in trace["sysstat"]["hosts"][0]["statistics"]:
        (disk,) = entry["disk"]
        entry["disk"] = [disk, {**disk, "disk_device": "dm-0"}, {**disk, "disk_device": "md127"}]
    return json.dumps(trace)


SAME = {
    "usual": lambda: json.dumps(document()),
    "four-digit year": lambda: restamped("%m/%d/%Y %H:%M:%S"),
    "AM and PM": lambda: restamped("%m/%d/%y %I:%M:%S %p"),
    "ISO with its zone": lambda: restamped("%Y-%m-%dT%H:%M:%S+0200"),
    "ISO in UTC": lambda: restamped("%Y-%m-%dT%H:%M:%SZ", hours=-2),
    "ISO without a zone": lambda: restamped("%Y-%m-%d %H:%M:%S"),
    "German": lambda: restamped("%d.%m.%Y %H:%M:%S"),
    "British": lambda: restamped("%d/%m/%y %H:%M:%S"),
    "Japanese": lambda: restamped("%Y年%m月%d日 %H:%M:%S"),
    "decimal commas": lambda: re.sub(
        r": (\d+)([,}])", r": \1,00\2", json.dumps(document(), indent=1)
    ),
    "leading comma": lambda: json.dumps(document()).replace('"statistics": [', '"statistics": [,'),
    "BOM and CRLF": lambda: "\ufeff" + json.dumps(document(), indent=1).replace("\n", "\r\n"),
    "UTF-16": lambda: json.dumps(document()).encode("utf-16"),
    "MB": lambda: disks(lambda d: {**d, "kB_read": None, "MB_read": d["kB_read"] / 1024}),
    "extended": lambda: disks(
        lambda d: {"disk_device": "sda4", "r/s": 1, "rkB/s": d["kB_read"], "wkB/s": 2, "util": 9}
    ),
    "extended in MB": lambda: disks(
        lambda d: {"disk_device": "sda4", "rMB/s": d["kB_read"] / 1024, "wMB/s": 0}
    ),
    "blocks": lambda: disks(lambda d: {"disk_device": "sda4", "Blk_read": d["kB_read"] * 2}),
    "a record since boot": since_boot,
    "stacked": stacked,
}  # fmt: skip


@pytest.mark.parametrize("form", SAME)
def test_every_form_of_iostat_gives_the_same_reads(tmp_path: Path, form: str) -> None:
    report = read(tmp_path, SAME[form]())
    disk = stats(report)
    assert disk.devices == "sda4"
    assert disk.missing == ""
    assert disk.epochs_covered == "3 of 3"
    for index, got in enumerate(disk.epoch_read_bytes):
        assert got == pytest.approx(TRAINING.epoch_s(index) * MIB, abs=2 * MIB)
    assert len(verdicts(report)) == 1
    assert VERDICT in verdicts(report)[0]
    assert not report.damaged


def cut_in_an_interval() -> str:
    text = json.dumps(document())
    return text[: len(text) * 2 // 3]


def cut_after_an_interval() -> str:
    text = cut_in_an_interval()
    return text[: text.rindex("}, {") + 1]


def shortened(start: int, end: int | None) -> str:
    trace = document()
    statistics = trace["sysstat"]["hosts"][0]["statistics"]
    trace["sysstat"]["hosts"][0]["statistics"] = statistics[start:end]
    return json.dumps(trace)


def jumping(seconds: int) -> str:
    trace = document()
    statistics = trace["sysstat"]["hosts"][0]["statistics"]
    for entry in statistics[40:]:
        moment = datetime.strptime(entry["timestamp"], "%m/%d/%y %H:%M:%S")
        moment += timedelta(seconds=seconds)
        entry["timestamp"] = moment.strftime("%m/%d/%y %H:%M:%S")
    return json.dumps(trace)


MISSING = {
    "cut in an interval": (cut_in_an_interval, "does not cover epoch", "cut"),
    "cut after an interval": (cut_after_an_interval, "does not cover epoch", "cut"),
    "begins late": (lambda: shortened(20, None), "does not cover epoch 1 of 3", None),
    "stops early": (lambda: shortened(0, 90), "does not cover epoch 3 of 3", None),
    "clock set forward": (lambda: jumping(30), "gap of 31 s after interval 40", None),
    "clock set back": (lambda: jumping(-30), "goes back after interval 40", None),
    "another day": (lambda: restamped("%m/%d/%y %H:%M:%S", days=1), "of another time", None),
    "no times": (
        lambda: re.sub(r'"timestamp": "[^"]*", ', "", json.dumps(document())),
        "no times that can be read",
        "no times",
    ),
    "strange times": (lambda: restamped("day %j, %H:%M"), "no times", "no times"),
    "strange fields": (
        lambda: disks(lambda d: {"disk_device": "sda4", "kB/s": d["kB_read"], "tps": 3}),
        "no counter of reads that is known",
        "unknown fields",
    ),
    "damaged in the middle": (
        lambda: json.dumps(document()).replace('"iowait": 0.5', '"iowait": 0.5.5', 50),
        "",
        "damaged",
    ),
}


@pytest.mark.parametrize("case", MISSING)
def test_a_trace_that_is_not_whole_gives_no_verdict(tmp_path: Path, case: str) -> None:
    make, words, code = MISSING[case]
    report = read(tmp_path, make())
    assert not any(VERDICT in sentence for sentence in report.findings)
    if words:
        assert words in stats(report).missing
        assert any(words in sentence for sentence in report.findings)
    assert code is None or code in codes(report)


def test_a_clock_that_is_set_during_the_run_gives_no_verdict(tmp_path: Path) -> None:
    path = write_training(tmp_path / "io" / "experiment_report.json", TRAINING)
    lines = path.read_text().splitlines(keepends=True)
    late = json.loads(lines[-1][5:])
    late["timestamp"] = str(float(late["timestamp"]) + 100)
    write_text(path, "".join(lines[:-1]) + "DLLL " + json.dumps(late) + "\n")
    write_json(tmp_path / "io" / "iostat.json", document())
    report = build_report(Finder([tmp_path]).load(), ReportConfig())
    assert "was set by 100 s while it ran" in stats(report).missing


def test_a_trace_without_reads_says_only_that(tmp_path: Path) -> None:
    report = read(tmp_path, json.dumps(document(read_kb=0)))
    (sentence,) = verdicts(report)
    assert "reads 0 B an epoch from sda4" in sentence
    assert "fit" not in sentence


def test_a_day_that_may_be_a_month_is_the_one_of_the_run() -> None:
    times = parse_times(["07/08/21 10:00:00", "07/08/21 10:00:01"])
    assert times is not None
    assert times.swapped_s == (datetime(2021, 8, 7) - datetime(2021, 7, 8)).total_seconds()
    over_midnight = parse_times(["07/08/21 23:59:59", "08/08/21 00:00:00"])
    assert over_midnight is not None
    assert over_midnight.seconds[1] - over_midnight.seconds[0] == 1
    assert over_midnight.swapped_s is None


@pytest.mark.parametrize(
    ("totals", "counted"),
    [
        ({"sda": 10, "sda1": 4, "sda2": 6}, ["sda"]),
        ({"sda1": 4, "sda2": 6}, ["sda1", "sda2"]),
        ({"nvme0n1": 5, "nvme1n1": 5, "md0": 10, "dm-0": 10}, ["nvme0n1", "nvme1n1"]),
        ({"dm-0": 10, "dm-1": 10}, ["dm-0"]),
        ({"sda": 1, "dm-0": 10}, ["dm-0"]),
        ({"sda": 0, "loop0": 0}, ["sda"]),
        ({}, []),
    ],
)
def test_no_byte_counts_twice(totals: dict[str, float], counted: list[str]) -> None:
    found, sentence = counted_devices(totals)
    assert found == counted
    assert bool(sentence) == (set(totals) != set(counted))


def test_notes_on_what_was_mended(tmp_path: Path) -> None:
    report = read(tmp_path, SAME["decimal commas"]())
    (note,) = (n for n in report.notes if n.code == "mended")
    assert note.severity is Severity.INFO
