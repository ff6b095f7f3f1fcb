"""The commands with URLs, as a user runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from store_servers import FaultProxy, WebServer, silent, status
from train_runs import records

from dl2cli import pcr

pytest.importorskip("torch")
TRAIN = (
    "train", "-a", "small_cnn", "--image-size", "32", "-b", "4", "-w", "1", "--device", "cpu",
    "--seed", "3", "-n", "run", "--skip-validation",
)  # fmt: skip


def dl2(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dl2cli", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=dict(os.environ)
    )
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def losses(log: Path) -> list[float]:
    found: list[float] = []
    for line in log.read_text().splitlines():
        record: dict[str, Any] = json.loads(line.removeprefix("DLLL "))
        if record.get("step", [""])[0] == "E" and "t.loss" in record["data"]:
            found.append(record["data"]["t.loss"])
    return found


def test_training_from_s3_is_training_from_disk(s3: str, dataset: Path) -> None:
    dl2(*TRAIN, "-d", s3, "-e", 2)
    far = losses(Path("logs/run/experiment_report.json"))
    dl2(*TRAIN, "-d", dataset, "-e", 2, "--overwrite")
    assert far == losses(Path("logs/run/experiment_report.json"))
    assert len(far) >= 2


def test_training_stops_with_the_reason_and_goes_on(
    proxy: FaultProxy, web: WebServer, dataset: Path
) -> None:
    url = f"{proxy.url}/pcr"
    dl2(*TRAIN, "-d", url, "-e", 3, "--run-epochs", 1)
    proxy.fault(r"PCR_2\.db", status(403))
    stopped = dl2("train", "--resume", "logs/run", code=1)
    assert f"{url}/PCR_2.db, attempt 1, the server answered 403" in " ".join(stopped.stderr.split())
    proxy.clear()
    dl2("train", "--resume", "logs/run")
    far = losses(Path("logs/run/experiment_report.json"))
    dl2(*TRAIN, "-d", dataset, "-e", 3, "--overwrite")
    whole = losses(Path("logs/run/experiment_report.json"))
    assert far[-1] == whole[-1]


def test_commands_that_read(web: WebServer, dataset: Path) -> None:
    url = f"{web.url}/pcr"
    shown = json.loads(dl2("inspect", url, "--verify", "--json").stdout)
    assert shown["path"] == url
    assert shown["verification"]["damage"] == []
    assert shown["images"] == 33
    dl2("extract", url, "images", "--scans", 2)
    assert len(list(Path("images").rglob("*.jpg"))) == 33
    dl2("analyze-images", url, "--json")


def test_what_must_be_local_is_no_url(dataset: Path) -> None:
    refused = dl2("extract", dataset, "s3://bucket/out", code=2)
    assert "DIR must be on this machine" in refused.stderr
    assert not Path("s3:").exists()


def test_a_store_that_cannot_be_read_is_one_sentence(web: WebServer) -> None:
    refused = dl2("inspect", f"{web.url}/nothing", code=2)
    assert "holds no PCR dataset" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert pcr.open(f"{web.url}/pcr").image_count == 33


def test_training_with_a_cache_is_the_same_and_reads_less(web: WebServer) -> None:
    url = f"{web.url}/pcr"
    cache = ("--cache-dir", "kept", "--cache-size", "60kB")
    dl2(*TRAIN, "-d", url, "-e", 2)
    plain = losses(Path("logs/run/experiment_report.json"))
    begin = len(web.requests())
    dl2(*TRAIN, "-d", url, "-e", 1, "--run-epochs", 1, *cache, "--overwrite")
    first = sum(size for *_, size in web.requests()[begin:])
    begin = len(web.requests())
    dl2(*TRAIN, "-d", url, "-e", 2, *cache, "--overwrite")
    both = sum(size for *_, size in web.requests()[begin:])
    assert plain == losses(Path("logs/run/experiment_report.json"))
    assert both < 2 * first
    epochs = records(Path("logs/run/experiment_report.json"), "E")
    gets = [row for row in web.requests()[begin:] if row[1] != "/pcr/PCR.db"]
    assert sum(epoch["e.store_requests"] for epoch in epochs) == len(gets)
    assert sum(epoch["e.store_bytes"] for epoch in epochs) == sum(size for *_, size in gets)
    whole = pcr.open(url).prefix_bytes(10)
    for epoch in epochs:
        assert epoch["e.store_bytes"] + epoch["e.cache_bytes"] == whole
        assert 0 < epoch["e.store_latency_p50"] <= epoch["e.store_latency_p99"]
        assert epoch["e.store_retries"] == epoch["e.store_hedges"] == 0
    shown = json.loads(dl2("cache", "kept", "--json").stdout)
    assert [each["url"] for each in shown["datasets"]] == [url]
    assert 0 < shown["datasets"][0]["bytes_kept"] <= 60_000
    assert "freed" in dl2("cache", "kept", "--clear").stdout
    assert json.loads(dl2("cache", "kept", "--json").stdout)["datasets"] == []
    refused = dl2(*TRAIN, "-d", url, "--cache-dir", "kept", code=2)
    assert "--cache-dir needs --cache-size" in refused.stderr


def test_copying_by_command(web: WebServer, s3: str) -> None:
    copied = f"{s3}-by-command"
    dl2("copy", f"{web.url}/pcr", copied, "--scans", 3)
    assert pcr.open(copied).groups == 3
    dl2("copy", copied, "near", "--scans", 2)
    assert pcr.open("near").groups == 2


@pytest.mark.parametrize("command", [["inspect", "--verify"], ["copy", "copied"]])
def test_ctrl_c_does_not_wait_for_a_silent_store(proxy: FaultProxy, command: list[str]) -> None:
    proxy.fault(r"PCR_2\.db", silent)
    name, rest = command
    line = [sys.executable, "-m", "dl2cli", name, f"{proxy.url}/pcr", rest]
    process = subprocess.Popen(line, stderr=subprocess.PIPE)
    while proxy.count("/pcr/PCR_2.db") == 0:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)  # its own patience would last for minutes
    assert process.returncode == 130
    assert b"nterrupted" in said
