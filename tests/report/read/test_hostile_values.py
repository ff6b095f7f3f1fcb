"""Logs whose numbers cannot be measurements: a report is made of the rest, and never falls over."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_logs import BENCH, Training, write_json, write_text, write_training

from dl2cli.report.config import ReportConfig
from dl2cli.report.model import TrainingRun
from dl2cli.report.page.html import render_html
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

HUGE = 1.7e308  # a finite float whose sum and square are none


def report(root: Path) -> Report:
    config = ReportConfig(targets_pct=(41.0,), budgets_h=(1.0,), group_by=("arch",))
    return build_report(Finder([root]).load(), config)


def records(result: Report, name: str) -> list[dict[str, Any]]:
    table = result.table(name)
    return table.records() if table else []


def write_changed(path: Path, **changes: Any) -> None:
    """Write a training log, with other values under the keys of `changes` (`.` for `__`)."""
    text = write_training(path).read_text()
    lines = []
    for line in text.splitlines(keepends=True):
        record = json.loads(line[5:])
        data = record.get("data", {})
        for key, value in changes.items():
            if (name := key.replace("__", ".")) in data:
                data[name] = value
        lines.append("DLLL " + json.dumps(record) + "\n")
    write_text(path, "".join(lines))


@pytest.mark.parametrize("value", [HUGE, -HUGE, 1e29])
def test_huge_values_of_a_training(tmp_path: Path, value: float) -> None:
    times = {"t__data_time": value, "t__iteration_time": value, "e__total_time": f"{value} s"}
    write_changed(tmp_path / "a" / "log.json", v__top1=value, v__top5=value, **times)
    result = report(tmp_path)
    render_html(result)
    (row,) = records(result, "overview")
    assert row["status"] == "complete"
    if abs(value) == HUGE:
        assert row["best_top1_pct"] is None
        assert row["nonfinite"] > 0
        assert any("absurd" in note.text for note in result.notes)


def test_huge_values_of_documents(tmp_path: Path) -> None:
    write_json(
        tmp_path / "enc-dl-x-1" / "log.json",
        {"dataset": "d", "total_time": HUGE, "enc_times": [HUGE, HUGE, 0.5], "bpp": [1, 2, HUGE]},
    )
    write_json(
        tmp_path / "standalone-raw-hdd-dalic" / "log.json",
        {"data_times": [[HUGE] * 3, [0.1]], "epoch_times": [HUGE, 2.0], "total_time": HUGE},
    )
    bench = {**BENCH["runs"][0], "rate_img_s": HUGE, "fetch_stall_s": HUGE, "prep_stall_s": HUGE}  # type: ignore[index]
    write_json(tmp_path / "bench" / "log.json", {**BENCH, "runs": [bench]})
    result = report(tmp_path)
    render_html(result)
    (codec,) = records(result, "codecs")
    assert (codec["times"], codec["time_sum_s"], codec["bpp_mean"]) == (1, 0.5, 1.5)
    assert result.damaged


def test_a_codec_that_took_less_than_no_time(tmp_path: Path) -> None:
    for quality, total_s in ((1, -1.0), (2, 2.0)):
        document = {"dataset": "d", "total_time": total_s, "enc_times": [0.5, 0.5]}
        write_json(tmp_path / f"enc-dl-x-{quality}" / "log.json", document)
    page = render_html(report(tmp_path))
    assert "Encoding: rate" in page


def test_an_iostat_without_a_list_of_disks(tmp_path: Path) -> None:
    statistics = [
        {"timestamp": "09/14/21 09:05:23", "disk": 5},
        {"timestamp": "09/14/21 09:05:24", "disk": [{"disk_device": "sda", "kB_read": HUGE}]},
        {"timestamp": "09/14/21 09:05:25", "disk": [{"disk_device": "sda", "kB_read": 8}]},
    ]
    document = {"sysstat": {"hosts": [{"statistics": statistics}]}}
    write_json(tmp_path / "a" / "iostat.json", document)
    result = report(tmp_path)
    render_html(result)
    (row,) = records(result, "disk_io")
    assert row["read_bytes"] == 8 * 1024


def test_values_next_to_nothing_give_no_warning(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    write_changed(tmp_path / "a" / "log.json", t__iteration_time=1e-320, e__total_time="1e-320 s")
    write_training(tmp_path / "b" / "log.json", Training(start=5.0))
    render_html(report(tmp_path))
    assert not [warning for warning in recwarn if warning.category is RuntimeWarning]


@pytest.mark.parametrize(
    ("value", "count"), [("1e999", 1), ("-1e999", 1), ("9" * 40, 1), ("NaN", 1), ("1e3", 0)]
)
@pytest.mark.parametrize("metric", ["v.top1", "t.data_time"])
def test_an_absurd_number_is_counted_wherever_it_stands(
    tmp_path: Path, metric: str, value: str, count: int
) -> None:
    path = write_training(tmp_path / "run" / "r.json")
    lines = path.read_text().splitlines(keepends=True)
    index = next(i for i, line in enumerate(lines) if f'"{metric}": ' in line)
    lines[index] = re.sub(rf'"{metric}": [0-9.]+', f'"{metric}": {value}', lines[index])
    path.write_text("".join(lines))
    (run,) = Finder([tmp_path]).load().runs
    assert isinstance(run, TrainingRun)
    assert run.nonfinite == count
