"""The published logs against values that were computed independently."""

import csv
import math
from pathlib import Path

import pytest

from dl2cli.report.config import ReportConfig
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

# Column of the truth -> column of our tables, where the names differ.
COLUMNS = {
    "storage_dir": "storage", "cache_size": "cache_size_bytes",
    "epochs_requested": "epochs_asked", "n_records": "lines", "n_nonfinite": "nonfinite",
    "best_top1": "best_top1_pct", "best_top5": "best_top5_pct",
    "top5_at_best_top1": "top5_at_best_top1_pct", "final_top1": "final_top1_pct",
    "final_top5": "final_top5_pct", "summary_top1": "summary_top1_pct",
    "summary_top5": "summary_top5_pct", "final_train_top1": "final_train_top1_pct",
    "epoch_time_first": "epoch_first_s", "epoch_time_mean": "epoch_mean_s",
    "epoch_time_std": "epoch_std_s", "epoch_time_min": "epoch_min_s",
    "epoch_time_max": "epoch_max_s", "epoch_time_sum_all": "epoch_sum_s",
    "n_train": "images_train", "n_val": "images_val", "thr_epoch": "rate_epoch_img_s",
    "thr_notebook": "rate_notebook_img_s", "thr_train": "rate_train_img_s",
    "thr_train_speedmean": "rate_speedmean_img_s", "data_time": "data_s",
    "compute_time": "compute_s", "iteration_time": "iteration_s", "T_records": "steps",
    "T_last_iter": "steps_last_iteration", "V_records": "v_records",
    "data_time_T": "steps_data_s", "compute_time_T": "steps_compute_s",
    "iteration_time_T": "steps_iteration_s", "stall_frac_T": "steps_stall_frac",
    "stall_frac_first_epoch": "stall_frac_first", "v_data_time": "v_data_s",
    "v_iteration_time": "v_iteration_s", "total_time": "total_s", "wall_ts": "wall_s",
    "startup_time": "startup_s", "n_times": "times", "time_sum": "time_sum_s",
    "time_mean": "time_mean_s", "stage_elapsed_sum": "elapsed_sum_s",
}  # fmt: skip
CODEC_COLUMNS = {
    "n_train": "images",
    "thr_epoch": "rate_total_img_s",
    "thr_train": "rate_times_img_s",
}
NOT_CELLS = {"group", "exp", "file", "stages", "regimen_stage_times"}
ONE_BASED_HERE = {"first_epoch", "last_epoch"}


@pytest.fixture(scope="module")
def truth(test_data: Path) -> list[dict[str, str]]:
    with (test_data / "dl2-logs.truth.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(test_data: Path) -> Report:
    return build_report(Finder([test_data / "dl2-logs"]).load(), ReportConfig())


def test_every_value_of_the_truth(report: Report, truth: list[dict[str, str]]) -> None:
    cells: dict[str, dict[str, object]] = {}
    for table in report.tables:
        if table.name in ("overview", "throughput", "accuracy", "codecs"):
            for record in table.records():
                cells.setdefault(str(record["file"]), {}).update(record)
    regimens = report.table("regimens")
    assert regimens is not None
    for record in regimens.records():
        cells[f"{record['run']}/"]["elapsed_sum_s"] = record["elapsed_sum_s"]
    compared = 0
    for row in truth:
        names = COLUMNS | (CODEC_COLUMNS if row["kind"].startswith("codec") else {})
        for column, expected in row.items():
            if not expected or column in NOT_CELLS:
                continue
            got = cells[row["file"]][names.get(column, column)]
            if column in ONE_BASED_HERE:
                assert isinstance(got, int)
                got -= 1
            assert _same(got, expected), (row["file"], column, expected, got)
            compared += 1
    assert compared == 797


def _same(got: object, expected: str) -> bool:
    if isinstance(got, int | float) and not isinstance(got, bool):
        return math.isclose(got, float(expected), rel_tol=1e-9, abs_tol=0)
    return str(got) == expected


def test_the_stages_of_the_regimen(report: Report, truth: list[dict[str, str]]) -> None:
    table = report.table("regimens")
    assert table is not None
    row = next(row for row in truth if row["kind"] == "regimen")
    stages = ",".join(
        f"{r['variant']}:{(r['last_epoch'] or 0) - (r['first_epoch'] or 0) + 1}"  # type: ignore[operator]
        for r in table.records()
    )
    assert stages == row["stages"]
    assert ",".join(f"{r['time_s']:.2f}" for r in table.records()) == row["regimen_stage_times"]


def test_nothing_is_damaged_and_the_disk_is_joined(report: Report) -> None:
    assert not report.damaged
    assert report.corpus.files_read == 25
    (disk,) = report.disks
    assert disk.run == "misc/io-160G-dali"
    assert disk.samples == 2720
    # ImageNet is read once, in the first epoch; after it the page cache holds it.
    assert 140e9 < (disk.read_first_epoch_bytes or 0) < 160e9
    assert (disk.read_epoch_bytes or math.inf) < 1e9
    assert disk.page_cache_bytes == 155472440 * 1024


def test_findings_name_what_an_analyst_would(report: Report) -> None:
    text = "\n".join(report.findings)
    assert "h1/alex-raw-hdd-w40 is bound by its data path: at least 96 %" in text
    assert "synthetic data gives 8508 img/s" in text
    assert "h3/inet-r50-50:45_raw:45-mem has the best top-1, 76.23 % in epoch 90" in text
