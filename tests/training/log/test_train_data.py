"""The CSV of each rank."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from training_reports import epoch_report, phase_report, run_info

from dl2cli.training.log.train_data import COLUMNS, TrainData


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write(folder: Path, epochs: range, state: dict | None = None, rank: int = 0) -> TrainData:
    data = TrainData(folder)
    data.started(run_info(folder, rank=rank, log_state=state or {}))
    for epoch in epochs:
        data.window(phase_report(epoch, 100))
        data.epoch_ended(epoch_report(epoch))
    return data


def test_a_row_holds_a_value(tmp_path: Path):
    write(tmp_path, range(2), rank=3).close()
    written = rows(tmp_path / "train_data_3.csv")
    assert tuple(written[0]) == COLUMNS == ("iteration", "epoch", "type", "value")
    keyed = {(int(r["epoch"]), int(r["iteration"]), r["type"]): r["value"] for r in written}
    assert len(keyed) == len(written)
    told = phase_report(1, 100)
    assert float(keyed[1, 100, "t.loss"]) == told.loss
    assert float(keyed[1, 100, "t.data_time"]) == told.data_s
    assert float(keyed[1, 100, "lr"]) == told.lr
    assert float(keyed[1, 250, "epoch.v.top1"]) == epoch_report(1).validation.top1_pct
    assert int(keyed[1, 250, "epoch.e.images"]) == 16_000


def test_values_that_are_no_numbers_can_be_read_back(tmp_path: Path):
    data = TrainData(tmp_path)
    data.started(run_info(tmp_path))
    data.window(phase_report(0, 100, loss=math.nan, fetch_stall_s=None, prep_stall_s=None))
    data.close()
    written = {r["type"]: r["value"] for r in rows(tmp_path / "train_data_0.csv")}
    assert math.isnan(float(written["t.loss"]))
    assert "t.fetch_time" not in written


def test_a_resumed_run_has_the_rows_of_a_run_in_one(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write(tmp_path / "a", range(3)).close()
    first = write(tmp_path / "b", range(2))
    state = json.loads(json.dumps({"TrainData": first.state()}))
    first.epoch_ended(epoch_report(2, total_s=1.0))  # lost: it is behind the checkpoint
    first.close()
    write(tmp_path / "b", range(2, 3), state).close()
    name = "train_data_0.csv"
    assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_without_the_old_file_a_new_one_begins(tmp_path: Path):
    state = {"TrainData": {"bytes": 100, "head": "0"}}
    write(tmp_path, range(2, 3), state).close()
    assert {r["epoch"] for r in rows(tmp_path / "train_data_0.csv")} == {"2"}
