"""The run log: in the published format to the letter, and read back by `dl2 report`."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from training_reports import epoch_report, phase_report, run_info, train_result

from dl2cli.errors import StorageError
from dl2cli.report.model import Severity, Status
from dl2cli.report.read.session import epochs_of, notes_of, status_of, steps_of, summary_of
from dl2cli.report.read.training_log import read_sessions
from dl2cli.training.log.events import Notice, NoticeKind, Phase
from dl2cli.training.log.run_log import RunLog

NAN_NOTICE = Notice(NoticeKind.NAN_LOSS, "The loss is nan.", 1, 7, {"lr": 0.1, "loss": math.nan})


def write(path: Path, *, epochs: int = 3, result=True, info=None, **epoch_changes) -> Path:
    log = RunLog(path)
    log.started(info or run_info(path.parent))
    for epoch in range(epochs):
        for iteration in (100, 200):
            log.window(phase_report(epoch, iteration))
        log.epoch_ended(epoch_report(epoch, **epoch_changes))
    if result:
        log.ended(train_result(path.parent))
    log.close()
    return path


def lines(path: Path) -> list[dict]:
    text = path.read_text(encoding="ascii")
    assert text.endswith("\n")
    return [json.loads(line.removeprefix("DLLL ")) for line in text.splitlines()]


def test_records_stand_in_the_published_order(tmp_path: Path):
    records = lines(write(tmp_path / "log.json", epochs=1))
    kinds = ["".join(map(str, r["step"])) if r["type"] == "LOG" else "M" for r in records]
    assert kinds == ["P", *["M"] * 23, *["T0100"] * 2, *["T0200"] * 2, *["E0"] * 3, *["S"] * 2]


def test_without_validation_there_are_10_metadata_lines(tmp_path: Path):
    info = run_info(tmp_path, val_steps=0)
    records = lines(write(tmp_path / "log.json", info=info, validation=None))
    assert sum(r["type"] == "METADATA" for r in records) == 10
    assert not any(key.startswith("v.") for r in records for key in r.get("data", {}))


def test_times_are_text_as_published(tmp_path: Path):
    for record in lines(write(tmp_path / "log.json", epochs=1)):
        assert re.fullmatch(r"\d{10,}\.\d{1,6}", record["timestamp"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{6})?", record["datetime"])
        assert float(record["elapsedtime"]) >= 0
        assert isinstance(record["elapsedtime"], str)
        if record["type"] == "LOG":
            assert list(record) == [
                "timestamp", "datetime", "elapsedtime", "type", "step", "data",
            ]  # fmt: skip
    last = lines(tmp_path / "log.json")[-3]
    assert last["data"]["e.total_time"] == "279.86649 s"


def test_a_report_reads_every_value_to_the_last_digit(tmp_path: Path):
    [session] = read_sessions(write(tmp_path / "log.json"))
    assert status_of(session) is Status.COMPLETE
    assert [n for n in notes_of(session, "log") if n.level is not Severity.INFO] == []
    assert session.params["train_images"] == 16_000
    assert session.params["scans"] == "5@0,10@2"
    assert {"python", "dl2", "torch"} <= session.params["versions"].keys()
    for index, epoch in enumerate(epochs_of(session)):
        told = epoch_report(index)
        train, validation = told.train, told.validation
        assert epoch.total_s == round(told.total_s, 5)
        assert (epoch.data_s, epoch.compute_s) == (train.data_s, train.compute_s)
        assert epoch.iteration_s == train.iteration_s
        assert (epoch.fetch_stall_s, epoch.prep_stall_s) == (
            train.fetch_stall_s,
            train.prep_stall_s,
        )
        assert (epoch.loss, epoch.top1_pct) == (train.loss, train.top1_pct)
        assert epoch.iteration_speed_img_s == train.iteration_speed_img_s
        assert (epoch.v_loss, epoch.v_top1_pct) == (validation.loss, validation.top1_pct)
        assert epoch.v_top5_pct == validation.top5_pct
        assert epoch.v_iteration_s == validation.iteration_s
        assert epoch.bytes_read == train.bytes_read
    steps = steps_of(session)
    assert [(s.epoch, s.iteration) for s in steps] == [(e, i) for e in range(3) for i in (100, 200)]
    assert steps[0].data_s == phase_report(0, 100).data_s


def test_the_summary_is_as_published(tmp_path: Path):
    [session] = read_sessions(write(tmp_path / "log.json"))
    summary = summary_of(session)
    reports = [epoch_report(epoch) for epoch in range(3)]
    assert summary["t.top1"] == max(r.train.top1_pct for r in reports)
    assert summary["v.top5"] == max(r.validation.top5_pct for r in reports)
    assert summary["v.loss"] == min(r.validation.loss for r in reports)
    mean = sum(r.train.data_s for r in reports) / 3
    assert summary["t.data_time"] == pytest.approx(mean, rel=1e-15)
    latest = max(r.validation.compute_latency_s[1.0] for r in reports)
    assert summary["v.compute_latency_at100"] == latest
    assert summary["lr"] == reports[-1].train.lr
    assert summary["s.images"] == 3 * 16_000
    assert summary["s.bytes_read"] == sum(r.train.bytes_read for r in reports)
    assert summary["s.wall"] == sum(r.total_s for r in reports)
    assert summary["s.epochs"] == 3


def test_notices_are_kept_and_pass_a_report_quietly(tmp_path: Path):
    log = RunLog(tmp_path / "log.json")
    log.started(run_info(tmp_path))
    log.noticed(NAN_NOTICE)
    log.epoch_ended(epoch_report(0))
    log.ended(train_result(tmp_path))
    log.close()
    notice = lines(tmp_path / "log.json")[24]
    assert notice["step"] == ["N", 1, 7]
    assert notice["data"]["n.text"] == "The loss is nan."
    assert notice["data"]["n.values"]["lr"] == 0.1
    [session] = read_sessions(tmp_path / "log.json")
    assert status_of(session) is Status.COMPLETE
    assert list(notes_of(session, "log")) == []


def test_a_loss_that_is_no_number_leaves_the_log_valid(tmp_path: Path):
    nan = phase_report(1, loss=math.nan)
    path = tmp_path / "log.json"
    log = RunLog(path)
    log.started(run_info(tmp_path))
    log.epoch_ended(epoch_report(0))
    log.epoch_ended(epoch_report(1, train=nan, validation=None))
    log.epoch_ended(epoch_report(2, train=phase_report(2, loss=math.inf)))
    log.ended(train_result(tmp_path))
    log.close()
    assert '"t.loss": NaN' in path.read_text()
    [session] = read_sessions(path)
    assert session.nonfinite == 2
    assert math.isnan(epochs_of(session)[1].loss)
    assert summary_of(session)["t.loss"] == epoch_report(0).train.loss


def test_a_run_that_was_stopped_has_no_summary(tmp_path: Path):
    log = RunLog(tmp_path / "log.json")
    log.started(run_info(tmp_path))
    log.epoch_ended(epoch_report(0))
    log.ended(train_result(tmp_path, status="stopped", stopped_by="SIGTERM"))
    log.close()
    [session] = read_sessions(tmp_path / "log.json")
    assert status_of(session) is Status.NO_SUMMARY


def test_validation_alone_is_logged(tmp_path: Path):
    path = write(tmp_path / "log.json", epochs=1, train=None)
    [session] = read_sessions(path)
    assert status_of(session) is Status.COMPLETE
    epoch = epochs_of(session)[0]
    assert (epoch.loss, epoch.v_loss) == (None, epoch_report(0).validation.loss)


def _stop_and_go_on(path: Path, *, extra_epochs: int = 0) -> Path:
    """Two epochs, a checkpoint, epochs that are lost, and a resume with the third."""
    first = RunLog(path)
    first.started(run_info(path.parent))
    for epoch in range(2):
        for iteration in (100, 200):
            first.window(phase_report(epoch, iteration))
        first.epoch_ended(epoch_report(epoch))
    state = {"RunLog": json.loads(json.dumps(first.state()))}
    for epoch in range(2, 2 + extra_epochs):
        first.epoch_ended(epoch_report(epoch, total_s=1.0))
    first.close()
    if extra_epochs:
        with path.open("ab") as file:
            file.write(b'DLLL {"timestamp": "16')  # a line that was cut
    second = RunLog(path)
    second.started(run_info(path.parent, first_epoch=2, log_state=state))
    for iteration in (100, 200):
        second.window(phase_report(2, iteration))
    second.epoch_ended(epoch_report(2))
    second.ended(train_result(path.parent))
    second.close()
    return path


@pytest.mark.parametrize("extra_epochs", [0, 2])
def test_a_resumed_run_has_the_log_of_a_run_in_one(tmp_path: Path, extra_epochs: int):
    straight = lines(write(tmp_path / "a.json"))
    resumed = lines(_stop_and_go_on(tmp_path / "b.json", extra_epochs=extra_epochs))

    def what(records: list[dict]) -> list[dict]:
        times = ("timestamp", "datetime", "elapsedtime")
        return [{k: v for k, v in r.items() if k not in times} for r in records]

    assert what(resumed) == what(straight)
    elapsed = [float(r["elapsedtime"]) for r in resumed]
    assert elapsed == sorted(elapsed)


@pytest.mark.parametrize("damage", ["gone", "shorter", "another run's", "no state"])
def test_a_log_that_cannot_go_on_is_begun_anew_and_the_old_one_kept(tmp_path: Path, damage: str):
    path = tmp_path / "log.json"
    log = RunLog(path)
    log.started(run_info(tmp_path))
    log.epoch_ended(epoch_report(0))
    state = {} if damage == "no state" else {"RunLog": log.state()}
    log.close()
    if damage == "gone":
        path.unlink()
    elif damage == "shorter":
        os.truncate(path, 500)
    elif damage == "another run's":
        path.write_bytes(b"DLLL {}\n" * 10_000)
    old = path.read_bytes() if path.exists() else None
    resumed = RunLog(path)
    resumed.started(run_info(tmp_path, log_state=state))
    resumed.epoch_ended(epoch_report(1))
    resumed.ended(train_result(tmp_path))
    resumed.close()
    assert lines(path)[0]["step"] == ["P"]
    assert lines(path)[-1]["data"]["s.epochs"] == 1  # of this file
    assert sum(r.get("step") == ["P"] for r in lines(path)) == 1
    kept = tmp_path / "log_old_1.json"
    assert (kept.read_bytes() if kept.exists() else None) == old


def test_a_process_that_is_killed_leaves_whole_lines(tmp_path: Path):
    script = """
import sys, os, signal
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from training_reports import *
from dl2cli.training.log.run_log import RunLog
log = RunLog(Path(sys.argv[1]) / "log.json")
log.started(run_info(Path(sys.argv[1])))
log.epoch_ended(epoch_report(0))
log.window(phase_report(1, 100))
os.kill(os.getpid(), signal.SIGKILL)
"""
    here = str(Path(__file__).parents[2])
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path), here], check=False)
    assert ended.returncode == -signal.SIGKILL
    [session] = read_sessions(tmp_path / "log.json")
    assert len(lines(tmp_path / "log.json")) == 24 + 3 + 2
    assert status_of(session) is Status.NO_SUMMARY


def test_a_full_disk_is_told(tmp_path: Path):
    path = tmp_path / "log.json"
    path.symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"log\.json cannot be written: No space left"):
        RunLog(path).started(run_info(tmp_path))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path):
    with pytest.raises(StorageError, match="No such file"):
        RunLog(tmp_path / "none" / "log.json").started(run_info(tmp_path))


def test_odd_parameters_do_not_break_the_log(tmp_path: Path):
    parameters = {"data": Path("/photos/ü\udcff"), "odd": {1, 2}, "name": "a\nb", "x": math.inf}
    log = RunLog(tmp_path / "log.json")
    log.started(run_info(tmp_path, parameters=parameters))
    log.close()
    assert lines(tmp_path / "log.json")[0]["data"]["data"] == "/photos/ü\udcff"
    [session] = read_sessions(tmp_path / "log.json")
    assert session.bad_lines == 0


def test_keys_and_their_order_are_those_of_a_published_log(test_data: Path, tmp_path: Path):
    published = test_data / "dl2-logs/misc/io-160G-dali/experiment_report.json"
    log = RunLog(tmp_path / "log.json")
    log.started(run_info(tmp_path))
    log.window(phase_report(0, 100))
    log.window(phase_report(0, 100, Phase.VALIDATION))
    log.epoch_ended(epoch_report(0))
    log.ended(train_result(tmp_path))
    log.close()
    theirs, ours = _shape(lines(published)), _shape(lines(tmp_path / "log.json"))
    assert theirs.keys() == ours.keys()
    for kind, expected in theirs.items():
        if kind == "M":
            assert ours[kind] == expected
        elif kind != "P":
            for our, their in zip(ours[kind], expected, strict=True):
                added = [key for key in our if key not in their]
                assert [key for key in our if key in their] == their
                assert our[len(their) :] == added  # behind the published ones


def _shape(records: list[dict]) -> dict[str, list]:
    """The keys of the first record of each kind, line by line; METADATA as it is."""
    shape: dict[str, list] = {"M": []}
    first: dict[str, list] = {}
    for record in records:
        if record["type"] == "METADATA":
            shape["M"].append((record["metric"], record["metadata"]))
            continue
        kind = record["step"][0]
        if first.setdefault(kind, record["step"]) == record["step"]:
            shape.setdefault(kind, []).append(list(record["data"]))
    return shape


def test_dl2_report_shows_the_run(tmp_path: Path):
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "experiment_report.json")
    command = [sys.executable, "-m", "dl2cli", "report", str(tmp_path), "--json"]
    done = subprocess.run(command, capture_output=True, check=True, text=True)
    [run] = json.loads(done.stdout)["tables"]["overview"]
    assert (run["status"], run["dataset"], run["variant"]) == ("complete", "photos", "pcr")
    assert run["best_top1_pct"] == epoch_report(2).validation.top1_pct
