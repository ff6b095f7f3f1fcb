"""`dl2 report` killed at random moments: the old page or the new one is there, never a torn one."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from report_logs import Training, write_training

pytest.importorskip("matplotlib")

KILLS = 10
ENVIRONMENT = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}


def start(logs: Path, target: Path) -> subprocess.Popen[bytes]:
    words = f"report {logs} --html {target / 'page.html'} --plots {target / 'plots'}".split()
    return subprocess.Popen(
        [sys.executable, "-m", "dl2cli", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
    )


def files(target: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(target)): path.read_bytes()
        for path in sorted(target.rglob("*"))
        if path.is_file()
    }


def put_back(target: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (target / name).write_bytes(data)


def test_a_killed_report_leaves_whole_files_only(tmp_path: Path) -> None:
    logs, target = tmp_path / "logs", tmp_path / "out"
    write_training(logs / "raw" / "r.json", Training(data="data-hdd/imagenet/raw/"))
    assert start(logs, target).wait() == 0
    old = files(target)
    write_training(
        logs / "packed" / "r.json", Training(data="data-hdd/imagenet/jpeg-10/", start=2.0)
    )
    began = time.monotonic()
    assert start(logs, target).wait() == 0
    life_s = time.monotonic() - began
    new = files(target)
    assert old["page.html"] != new["page.html"]
    draw = random.Random(1)
    for _ in range(KILLS):
        put_back(target, old)
        process = start(logs, target)
        try:
            process.wait(life_s * draw.uniform(0.2, 1.0))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for name, data in files(target).items():
            if name.startswith(("plots/.dl2-tmp-", ".dl2-tmp-")):
                continue  # of the killed process; the next one deletes it
            if name == "plots/.dl2-plots":  # names the plots of both, while new ones are written
                before, after = set(old[name].split()), set(new[name].split())
                assert set(data.split()) in (before, before | after, after)
                continue
            assert data in (old.get(name), new.get(name)), name
            if name.endswith(".svg"):
                ET.fromstring(data)
    assert start(logs, target).wait() == 0
    assert files(target) == new, "nothing is left of what was killed"
