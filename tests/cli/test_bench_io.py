"""`dl2 bench-io` as a user types it."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from dl2cli.cli.main import app
from dl2cli.errors import StorageError, ThresholdMissed, UsageError

ENVIRONMENT = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1"}
# Small and quick: emulated compute, one short run each.
QUICK = (
    "--compute-rate", "5000", "--repeat", "1", "--seconds", "0.3", "--size", "32", "-b", "4",
    "--scans", "1,10", "--workers", "1", "--sample", "0", "--checks", "0", "--no-storage",
)  # fmt: skip


def start(*arguments: object, code: str | None = None) -> subprocess.Popen[str]:
    program = ["-c", code] if code is not None else ["-m", "dl2cli"]
    return subprocess.Popen(
        [sys.executable, *program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def dl2(*arguments: object, code: int = 0) -> tuple[str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out, " ".join(err.split())


def invoke(*arguments: object) -> Result:
    """Run the command in this process, which has imported torch already."""
    return CliRunner().invoke(app, ["bench-io", *map(str, arguments)])


@pytest.fixture(scope="module")
def dataset(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench-io") / "out"
    dl2("convert", sample_set, out, "--images-per-record", 8)
    return out


@pytest.fixture(scope="module")
def document(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON document of a throttled run, and the files that were written beside it."""
    folder = tmp_path_factory.mktemp("bench-io-files")
    files = {"csv": folder / "runs.csv", "log": folder / "log.json", "plot": folder / "curves.png"}
    out, err = dl2(
        "bench-io", dataset / "train", *QUICK, "--throttle", "500kB/s,latency=1ms", "--json",
        "--csv", files["csv"], "--save-log", files["log"], "--plot", files["plot"],
        "--what-if", "storage=1GB/s cores=8", "--require-au", "0",
    )  # fmt: skip
    assert err == ""
    return {"files": files, **json.loads(out, parse_constant=pytest.fail)}


def test_json_has_everything(document: dict[str, Any]) -> None:
    assert (document["schema_version"], document["kind"]) == (1, "dl2-bench-io")
    assert document["complete"]
    assert document["dataset"] == "out"
    names = [run["name"] for run in document["runs"]]
    assert names == [
        "synthetic",
        "pcr k=1, 1 worker, cached",
        "pcr k=1, 1 worker, throttled 500kB/s,latency=1ms",
        "pcr k=10, 1 worker, cached",
        "pcr k=10, 1 worker, throttled 500kB/s,latency=1ms",
    ]
    assert document["verdict"]["bound"] in ("storage", "prep", "compute")
    assert document["what_if"]["predictions"][-1]["scenario"]["cores"] == 8
    assert document["stalls"]["total_s"] > 0
    assert document["counters"]["wall_s"] > 0


def test_files_are_written(document: dict[str, Any]) -> None:
    files = document["files"]
    rows = list(csv.DictReader(files["csv"].read_text().splitlines()))
    assert len(rows) == len(document["runs"])
    saved = json.loads(files["log"].read_text())
    assert saved["runs"] == document["runs"]
    assert files["plot"].read_bytes().startswith(b"\x89PNG")


def test_dl2_report_shows_the_log(document: dict[str, Any]) -> None:
    out, _ = dl2("report", document["files"]["log"], "--json")
    report = json.loads(out)
    text = json.dumps(report)
    for run in document["runs"]:
        assert run["name"] in text


def test_the_screen_names_the_bottleneck_and_commands(dataset: Path) -> None:
    result = invoke(dataset, *QUICK, "--throttle", "100kB/s", "--require-au", "90")
    assert isinstance(result.exception, ThresholdMissed)  # exit code 5
    assert "less than the 90 % that --require-au asks for" in str(result.exception)
    text = " ".join(result.stdout.split())
    assert "Bottleneck: storage. pcr k=10, 1 worker, throttled to 100kB/s" in text
    assert re.search(r"\$ dl2 train --data \S+ --loader pcr --scans 1 --workers 1", text)
    assert "Where fewer scans begin to pay" in text
    assert "once each" in text


def test_commands_that_are_recommended_exist(document: dict[str, Any]) -> None:
    helps = {
        name: CliRunner().invoke(app, [name, "--help"]).stdout for name in ("train", "convert")
    }
    commands = [r["command"] for r in document["recommendations"] if r["command"]]
    assert commands
    for command in (part for each in commands for part in each.split(" && ")):
        _, name, *rest = command.split()
        for option in (word for word in rest if word.startswith("--")):
            assert option in helps[name]


def test_comparing(dataset: Path, sample_set: Path) -> None:
    found = json.loads(invoke(dataset, "--compare", "pcr:1", "pcr:10", *QUICK, "--json").stdout)
    assert found["kind"] == "dl2-bench-io-comparison"
    assert (found["a"]["variant"]["scans"], found["b"]["variant"]["scans"]) == (1, 10)
    result = invoke("--compare", dataset / "train", sample_set / "train", *QUICK)
    assert re.search(r"A / B = \d+\.\d\d \(from .* over 1 round\)", result.stdout)


def test_comparing_two_datasets_needs_neither_a_third_nor_a_batch_size(
    dataset: Path, sample_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # which holds no images
    quick = [word for word in QUICK if word not in ("-b", "4")]
    result = invoke("--compare", dataset / "train", sample_set / "val", *quick, "--json")
    found = json.loads(result.stdout)
    assert found["a"]["images"] > 0
    assert found["b"]["images"] > 0


def test_what_cannot_be(dataset: Path, sample_set: Path, tmp_path: Path) -> None:
    for arguments, sentence in (
        ((), "Name a dataset"),
        ((tmp_path / "no",), "There is no "),
        ((dataset, "--scans", "eleven"), "must be a whole number"),
        ((dataset, "--scans", "11"), "scans must be 1 to 10, not 11"),
        ((dataset, "--throttle", "fast"), "is not a throttle"),
        ((dataset, "--what-if", "speed=2"), "is not a what-if setting"),
        ((dataset, "--compute-rate", "0"), "is not a positive number"),
        ((dataset, "--what-if", "cores=0.5"), "cores=0.5: cores must be a whole number"),
        (
            (dataset, "--what-if", "storage=fast"),
            "--what-if storage=fast: 'fast' is not a positive",
        ),
        ((dataset, "--what-if", "cores=2 cores=4"), "cores is set twice"),
        ((dataset, "--what-if", " "), "names no setting"),
        ((dataset, "--compute-rate", "5", "--arch", "resnet18"), "leave out --arch"),
        ((dataset, "--compute-rate", "5", "--device", "cpu"), "leave out --arch, --device"),
        ((dataset, "--compute-rate", "5", "--amp"), "leave out --arch, --device and --amp"),
        ((dataset, "--loader", "psr"), "There is no loader 'psr'; there are pcr,"),
        ((dataset, "--csv", tmp_path), "is a folder"),
        ((dataset, "--compare", "pcr:0", "pcr"), "scans must be 1 to 10, not 0"),
        ((dataset, "--compare", "pcr:\N{SUPERSCRIPT TWO}", "pcr"), "neither a folder nor a loader"),
        ((dataset, "--compare", "pcr", "pcr:1", "--what-if", "cores=2"), "gives only a ratio"),
        (("--compare", "pcr", "pcr:1"), "pcr is a loader: name the dataset that it is to read"),
        ((dataset, "--loader", "pytorch"), "is a PCR dataset"),
        ((dataset, "--csv", tmp_path / "no" / "x.csv"), "there is no folder"),
        ((dataset, "--plot", tmp_path / "x.gif"), ".png or .svg"),
        ((dataset, "--arch", "lenet9000"), "no network"),
        ((dataset, "--compare", "pcr", "nothing"), "neither a folder nor a loader"),
        ((dataset, "--compare", "pcr", "pcr:1", "--csv", tmp_path / "x"), "gives only a ratio"),
        ((sample_set, "--scans", "1", "--loader", "pytorch"), "has no scan groups"),
    ):
        result = invoke(*arguments)
        assert isinstance(result.exception, UsageError), result.output
        assert sentence in str(result.exception)
        assert result.stdout == ""


def test_a_file_that_cannot_be_written_does_not_cost_the_result(dataset: Path) -> None:
    result = invoke(dataset, *QUICK, "--csv", "/proc/no.csv", "--json")  # a folder without room
    assert isinstance(result.exception, StorageError)
    assert "/proc/no.csv cannot be written" in str(result.exception)
    assert json.loads(result.stdout)["runs"]


def test_without_torch(dataset: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from dl2cli.cli.main import main; main()"
    process = start("bench-io", dataset, *QUICK, code=code)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "pip install 'dl2cli[train]'" in err


# A real signal, sent to the process when its rounds have gone on for a moment.
INTERRUPTED = """
import os, signal, threading
from dl2cli.bench.run import Measurement
from dl2cli.cli.main import main

rounds = Measurement._rounds

def interrupted(self):
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    rounds(self)

Measurement._rounds = interrupted
main()
"""


def test_ctrl_c_shows_what_is_known(dataset: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    arguments = ("bench-io", dataset, *QUICK, "--repeat", "1000", "--save-log", log)
    process = start(*arguments, code=INTERRUPTED)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "what was measured until then" in " ".join(err.split())
    assert "images" in out
    assert json.loads(log.read_text())["complete"] is False
