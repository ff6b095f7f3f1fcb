"""Two real ranks, of which one is slow."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dl2cli.watching.account import Account, Replay, SlowBatch
from dl2cli.watching.ranks import Ranks, parse
from dl2cli.watching.verdict import cpu_sentence, straggler

pytest.importorskip("torch")
SCRIPT = Path(__file__).with_name("two_ranks.py")


def test_the_slow_rank_is_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    subprocess.run([*command, SCRIPT, tmp_path / "run"], check=True, timeout=300)
    log = (tmp_path / "run" / "experiment_report.json").read_text()
    notices = [
        record["data"]
        for line in log.splitlines()
        if (record := json.loads(line.removeprefix("DLLL ")))["type"] == "LOG"
        and record["step"][0] == "N"
    ]
    slow = [each for each in notices if each["n.kind"] == "straggler"]
    assert len(slow) == 2  # in each epoch
    assert slow[0]["n.text"].startswith("Rank 1 (")
    assert "Storage bounds this loop" in slow[0]["n.text"]
    assert [each["rank"] for each in slow[1]["n.values"]["ranks"]] == [0, 1]
    epochs = [json.loads(line[5:]) for line in log.splitlines() if '"e.images"' in line]
    assert [each["data"]["e.images"] for each in epochs] == [128, 128]


def summary(rank: int, wait_s: float, step_s: float):
    account = Account()
    for _ in range(4):
        account.batch_ready(8)
        account.step_ended()
    return replace(account.summary(0, rank, whole=True), wait_s=wait_s, step_s=step_s)


def test_ranks_alike_have_no_straggler() -> None:
    assert straggler([summary(0, 1.0, 1.0), summary(1, 1.02, 0.98)]) is None
    assert straggler([summary(0, 1.0, 1.0)]) is None


def test_the_straggler_waits_longest_or_else_steps_longest() -> None:
    together = [summary(0, 0.1, 1.9), summary(1, 1.9, 0.1), summary(2, 0.1, 1.9)]
    assert straggler(together).rank == 1
    alone = [summary(0, 0.1, 5.0), summary(1, 0.1, 1.0)]
    assert straggler(alone).rank == 0


def test_a_summary_survives_the_store() -> None:
    before = replace(
        summary(3, 1.0, 2.0), slowest=(SlowBatch(2, 0.5),), replay=Replay(3, 9.0, 3.0), rank=3
    )
    assert parse(json.dumps(asdict(before))) == before


def test_one_process_is_rank_0_of_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    ranks = Ranks()
    own = summary(0, 1.0, 1.0)
    assert (ranks.rank, ranks.world_size, ranks.collect(own, 5.0)) == (0, 1, [own])


def test_the_cpu_rule_adds_up_the_ranks_of_a_host() -> None:
    each = replace(summary(0, 1, 1), cpu_share=0.9, workers_cpu_share=0.25, host="a")
    assert cpu_sentence([each]) is None
    assert "50%" in cpu_sentence([each, replace(each, rank=1)])
    assert cpu_sentence([each, replace(each, rank=1, host="b")]) is None
    assert "90%" in cpu_sentence([replace(each, on_gpu=True)])
