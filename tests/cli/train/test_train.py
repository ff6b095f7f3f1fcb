"""`dl2 train` as a user runs it: folders, exit codes, stopping and going on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from train_commands import QUICK, dl2, epochs, first_record
from typer.testing import CliRunner

from dl2cli.cli.main import app
from dl2cli.errors import UsageError

pytestmark = pytest.mark.usefixtures("work", "one_thread")


def test_a_run_is_never_overwritten_unasked(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 1, "-n", "first")
    dl2(*run, "--backup-checkpoints", "--seed", 1)
    folder = Path("logs/first")
    log = folder / "experiment_report.json"
    parameters = first_record(log)
    assert parameters["train_images"] == 24
    before = {path: path.read_bytes() for path in folder.iterdir()}
    refused = dl2(*run, code=1)
    assert isinstance(refused.exception, UsageError)
    for way_out in ("--resume logs/first", "--overwrite", "--name"):
        assert way_out in str(refused.exception)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    other = dl2(*run[:-1], "second", "--resume", "logs/first", "--run-epochs", 1, code=0)
    assert "1 of 1" in other.stdout
    refused = dl2(*run[:-1], "second", "--resume", "logs/first", code=1)  # not second's own
    assert "logs/second already holds a run" in str(refused.exception)
    (folder / "notes.txt").write_text("mine")
    dl2(*run, "--overwrite", "--seed", 2, "--no-save-checkpoints")
    assert first_record(log)["seed"] == 2
    names = {path.name for path in folder.iterdir()}
    assert {"experiment_report.json", "train_data_0.csv", "notes.txt"} <= names
    assert not any(name.startswith(("checkpoint", "model_best")) for name in names)


def test_json_is_one_document_and_report_reads_the_log(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 2, "--run-epochs", 1, "-n", "first", "--scans", 3)
    shown = dl2(*run, "--json")
    document = json.loads(shown.stdout, parse_constant=pytest.fail)
    assert document["schema_version"] == 1
    assert (document["epochs_done"], document["status"]) == (1, "complete")
    assert "Data: the PCR dataset" in shown.stderr
    resumed = dl2(*run[:-4], "--resume", "logs/first", "--scans", 3)
    assert "2 of 2" in resumed.stdout
    log = Path("logs/first/experiment_report.json")
    assert epochs(log) == [0, 1]
    report = CliRunner().invoke(app, ["report", "logs", "--json"])
    (row,) = json.loads(report.stdout)["tables"]["overview"]
    assert (row["variant"], row["dataset"], row["arch"]) == ("pcr-3", "photos", "small_cnn")


def test_stages_over_variants(sample_set: Path, pcr_set: Path, work: Path) -> None:
    again = work / "photos" / "pcr-again"
    shutil.copytree(pcr_set, again)
    stages = ("--stage", f"{pcr_set}@0", "--stage", f"{again}@1")
    dl2(*stages, *QUICK, "-e", 2, "-n", "regimen", "--skip-validation")
    folder = work / "logs" / "regimen"
    assert set(json.loads((folder / "regimen_log.json").read_text())) == {
        "stage_0", "stage_1", "total_time",
    }  # fmt: skip
    for number in (0, 1):
        log = folder / f"experiment_report_stage_{number}.json"
        assert epochs(log) == [number]
        assert first_record(log)["data"] == str((pcr_set, again)[number] / "train")
    report = CliRunner().invoke(app, ["report", "logs", "--json"])
    rows = json.loads(report.stdout)["tables"]["regimens"]
    assert [row["stage"] for row in rows] == [0, 1]
    refused = dl2(*stages, *QUICK, "-e", 2, "-n", "regimen", code=1)
    assert "already holds a run" in str(refused.exception)
    mixed = ("--stage", f"{pcr_set}@0", "--stage", f"{sample_set}@1")
    refused = dl2(*mixed, *QUICK, "-e", 2, "-n", "mixed", code=1)
    assert "different kinds" in str(refused.exception)


def program(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def test_ctrl_c_saves_and_names_the_command_that_goes_on(pcr_set: Path, work: Path) -> None:
    process = program("dl2cli", "train", "-d", pcr_set, *QUICK, "-e", 5000, "-p", 1, "-n", "run")
    log = work / "logs" / "run" / "experiment_report.json"
    while process.poll() is None and not (log.exists() and '"E", 1' in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Stopped by SIGINT. To continue:" in err
    assert "Traceback" not in err
    done = epochs(log)
    arguments = shlex.split(err.strip().splitlines()[-1])
    assert arguments[:2] == ["dl2", "train"]
    dl2(*arguments[2:], "--run-epochs", 1)
    assert epochs(log) == [*done, done[-1] + 1]


def test_sigterm_has_the_exit_code_of_its_signal(pcr_set: Path) -> None:
    over = threading.Event()

    def press() -> None:
        while not over.wait(0.2):  # again, should it have come too early
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    thread = threading.Thread(target=press)
    thread.start()
    try:
        run = dl2("-d", pcr_set, *QUICK, "-e", 5000, "-n", "run", code=143)
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert "Stopped by SIGTERM. To continue:" in run.stderr


def test_a_time_budget_is_no_failure(pcr_set: Path) -> None:
    run = dl2("-d", pcr_set, *QUICK, "-e", 5000, "--time-budget", "1s", "-n", "run")
    assert "Stopped by time budget. To continue:" in run.stderr
    assert "--resume logs/run/checkpoint.pth.tar" in run.stderr


def test_torchrun_gives_one_run_and_one_voice(pcr_set: Path, work: Path) -> None:
    process = program(
        "torch.distributed.run", "--nproc-per-node", 2, "-m", "dl2cli", "train",
        "-d", pcr_set, *QUICK, "-e", 1, "--json",
    )  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "complete"
    assert err.count("Data: ") == 1
    (folder,) = (work / "logs").iterdir()
    assert {path.name for path in folder.glob("train_data_*")} == {
        "train_data_0.csv", "train_data_1.csv",
    }  # fmt: skip
    parameters = first_record(folder / "experiment_report.json")
    assert (parameters["world_size"], parameters["distributed"]) == (2, True)


def test_torchrun_tells_an_error_once(work: Path) -> None:
    process = program(
        "torch.distributed.run", "--nproc-per-node", 2, "-m", "dl2cli", "train", "-d", "nowhere",
    )  # fmt: skip
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert err.count("dl2: There is no nowhere") == 1


def test_compile_without_a_compiler_is_one_sentence(pcr_set: Path, work: Path) -> None:
    places = {"PATH": str(work), "CXX": "g++", "TORCHINDUCTOR_CACHE_DIR": str(work / "cache")}
    process = program("dl2cli", "train", "-d", pcr_set, *QUICK, "-e", 1, "--compile", **places)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 4, err
    assert "torch.compile cannot compile this network here" in err
    assert "leave out --compile" in err
    assert "Traceback" not in err
