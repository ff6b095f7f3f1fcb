"""Training on two machines (network namespaces): one is lost, and the other goes on alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from namespaces import Machine, two_machines
from train_runs import records

SCRIPT = Path(__file__).with_name("gloo_run.py")
TESTS = Path(__file__).parent.parent
PORT = 29511

pytestmark = pytest.mark.slow


def _start(machine: Machine, rank: int, head: Machine, **options: Any) -> subprocess.Popen[str]:
    """Start a node of a training of two: torchrun with one rank of its own."""
    node = ("--nnodes=2", "--nproc-per-node=1", f"--node-rank={rank}", "--max-restarts=0")
    meeting = (f"--master-addr={head.address}", f"--master-port={PORT}")
    command = [sys.executable, "-m", "torch.distributed.run", *node, *meeting, str(SCRIPT)]
    return subprocess.Popen(
        machine.command(*command, json.dumps(options, default=str)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "training")]),
            "OMP_NUM_THREADS": "1",
            "GLOO_SOCKET_IFNAME": "wire",
        },
    )


def _alone(**options: Any) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS / "training")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, str(SCRIPT), json.dumps(options, default=str)]
    subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True)


@pytest.mark.parametrize("loss", [Machine.kill_all, Machine.cut_wire])
def test_a_training_on_two_machines_goes_on_with_one(
    loss: Callable[[Machine], None], sample_pcr: Path, tmp_path: Path
) -> None:
    common = {"data": sample_pcr, "data_lanes": 6, "print_freq": 1, "epochs": 6}
    _alone(**common, folder=tmp_path / "straight", data_batch_size=12)
    run = tmp_path / "run"
    with two_machines() as (head, other):
        options = common | {"folder": run, "data_batch_size": 6, "checkpoint_every_steps": 1}
        options |= {"pause_s": 0.5, "rank_timeout_s": 20}  # the loss comes in the middle
        nodes = [_start(each, rank, head, **options) for rank, each in enumerate((head, other))]
        log = run / "experiment_report.json"
        deadline = time.monotonic() + 240
        while not log.exists() or len(records(log, "T")) < 3:
            assert time.monotonic() < deadline, nodes[0].communicate()
            time.sleep(0.05)
        loss(other)
        _, errors = nodes[0].communicate(timeout=240)
        other.kill_all()
        nodes[1].communicate()
    assert nodes[0].returncode != 0
    assert "another rank has ended" in errors, errors
    assert "Resume from the last checkpoint" in errors
    _alone(**common, folder=run, data_batch_size=12, checkpoint_resume=run)
    straight = records(tmp_path / "straight" / log.name, "T")
    resumed = records(log, "T")
    assert [r["step"] for r in resumed] == [r["step"] for r in straight]
    for one, two in zip(straight, resumed, strict=True):
        assert two["t.loss"] == pytest.approx(one["t.loss"], rel=1e-4)
