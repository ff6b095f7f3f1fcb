"""What the report shows of a loop that `dl2cli.watch` watched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_logs import Training, training_lines, write_text, write_training

from dl2cli.report.config import ReportConfig
from dl2cli.report.model import TrainingRun
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

E_KEYS: dict[str, Any] = {
    "e.first_batch": 0.5, "e.wait_p50": 0.01, "e.wait_p95": 0.02, "e.wait_p99": 0.03,
    "e.wait_max": 0.04, "e.stall": 0.25, "e.cpu_share": 0.6,
}  # fmt: skip


def make(root: Path) -> Report:
    return build_report(Finder([root]).load(), ReportConfig())


def only_row(report: Report) -> dict[str, Any]:
    table = report.table("waits")
    assert table is not None
    (row,) = table.records()
    return row


def line(step: list[object], data: dict[str, Any]) -> str:
    record = {"timestamp": "1", "elapsedtime": "1", "type": "LOG", "step": step, "data": data}
    return f"DLLL {json.dumps(record)}\n"


def notice(epoch: int, kind: str, text: object, values: object) -> str:
    return line(["N", epoch, 9], {"n.kind": kind, "n.text": text, "n.values": values})


def watched_log(path: Path, *more: str) -> Path:
    """Write a log of two epochs whose E records have the keys of a watched loop."""
    lines = training_lines(
        Training(validate=False, epochs=2, params={"arch": None, "watched": "mine"})
    )
    keys = [line(["E", epoch], {**E_KEYS, "e.stall": 0.25 + epoch / 10}) for epoch in range(2)]
    return write_text(path, "".join([*lines[:-2], *keys, *more, *lines[-2:]]))


def test_the_waits_are_those_that_watching_found(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    import dl2cli

    batches = [torch.zeros(4, 3, 8, 8)] * 20
    with dl2cli.watch(batches, log=tmp_path / "run", name="mine", replay=4) as watched:
        for _ in range(2):
            for images in watched:
                images.sum()
    first, last = watched.watched.epochs
    report = make(tmp_path)
    row = only_row(report)
    assert row["epoch"] == 2
    waits = (row["wait_p50_s"], row["wait_p95_s"], row["wait_p99_s"], row["wait_max_s"])
    assert waits == last.wait_quantiles_s
    assert row["first_batch_s"] == last.first_batch_s
    assert row["first_epoch_batch_s"] == first.first_batch_s
    assert row["stall"] == last.stall
    assert row["cpu_share"] == last.cpu_share
    assert first.replay is not None
    assert row["replay_img_s"] == first.replay.rate_img_s
    assert row["replay_gain"] == pytest.approx(first.replay.gain)
    # The first epoch is told of for its replay, the last one for its verdict.
    said = [text for text in report.findings if ", epoch " in text]
    assert len(said) == 2
    assert "A perfect loader would give" in said[0]
    assert "bounds this loop" in said[1] or "slows down this loop" in said[1]


def test_the_verdict_and_the_straggler_are_findings(tmp_path: Path) -> None:
    transform = {"bottleneck": "the transform"}
    watched_log(
        tmp_path / "run" / "r.json",
        notice(0, "bottleneck", "Old.", transform),
        notice(0, "straggler", "Rank 1 is slow.", {"rank": 1}),
        notice(1, "bottleneck", "The transform bounds this loop.", transform),
        notice(1, "straggler", "Rank 3 is the straggler.", {"rank": 1}),
        notice(1, "straggler", "Rank 3 is the straggler, said again.", {"rank": 3}),
        notice(1, "info", "Nothing of interest.", {}),
    )
    report = make(tmp_path)
    row = only_row(report)
    assert (row["bottleneck"], row["straggler_rank"]) == ("rank 3", 3)
    assert row["stall"] == pytest.approx(0.35)
    said = [text for text in report.findings if ", epoch " in text]
    assert said == [
        "run, epoch 2: The transform bounds this loop.",
        "run, epoch 2, as in 2 of 2 epochs: Rank 3 is the straggler, said again.",
    ]
    assert not any("bound by its data path" in text for text in report.findings)
    assert report.table("answer").records()[0]["model"] == "watched mine"  # type: ignore[union-attr]
    assert report.table("answer").records()[0]["bound"] == "rank 3"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("bottleneck", "bound"),
    [
        ("the model", "compute"),
        ("storage", "storage"),
        ("the transform", "transform"),
        ("the loader", "data"),
        ("new", "data"),
    ],
)
def test_what_bounds_a_watched_loop_is_what_watching_found(
    tmp_path: Path, bottleneck: str, bound: str
) -> None:
    watched_log(
        tmp_path / "run" / "r.json", notice(1, "bottleneck", "x", {"bottleneck": bottleneck})
    )
    assert make(tmp_path).table("answer").records()[0]["bound"] == bound  # type: ignore[union-attr]


def test_rank_0_is_not_said_to_compute_while_it_waits_for_another(tmp_path: Path) -> None:
    watched_log(
        tmp_path / "run" / "r.json",
        notice(1, "bottleneck", "The model bounds this loop.", {"bottleneck": "the model"}),
        notice(1, "straggler", "Rank 1 is the straggler.", {"rank": 1}),
    )
    said = [text for text in make(tmp_path).findings if "run, epoch " in text]
    assert said == ["run, epoch 2: Rank 1 is the straggler."]


def test_a_training_by_dl2_has_no_such_table(tmp_path: Path) -> None:
    write_training(tmp_path / "run" / "r.json")
    report = make(tmp_path)
    assert report.table("waits") is None
    assert all(run.watched == () for run in report.corpus.runs if isinstance(run, TrainingRun))


def test_strange_values_are_unknown(tmp_path: Path) -> None:
    odd = {"e.first_batch": "soon", "e.wait_p50": True, "e.wait_p95": [1], "e.cpu_share": "unknown",
           "e.stall": 1e40, "e.wait_max": {}, "e.replay_rate": "x"}  # fmt: skip
    watched_log(
        tmp_path / "run" / "r.json",
        line(["E", 1], odd),
        notice(1, "bottleneck", ["a", "list"], {"bottleneck": 7, "replay": [1]}),
        notice(1, "straggler", "\x1b[2Jx" * 9000, {"rank": 1e99}),
        notice(-1, "straggler", "x", {}),
        line(["N"], {"n.kind": "straggler", "n.values": {}}),
        line(["N", {}, 1], {"n.kind": ["straggler"], "n.values": {}}),
        line(["N", 1, 1], {"n.kind": "straggler", "n.values": "none"}),
    )
    report = make(tmp_path)
    row = only_row(report)
    known = {key for key, value in row.items() if value is not None}
    assert known == {"run", "epoch", "wait_p99_s", "first_epoch_batch_s", "file"}
    (said,) = (text for text in report.findings if ", epoch 2" in text)
    assert "\x1b" not in said
    assert len(said) < 6000


def test_a_log_with_too_many_notices_keeps_the_last(tmp_path: Path) -> None:
    many = [notice(epoch, "bottleneck", "x", {}) for epoch in range(10_001)]
    final = notice(1, "bottleneck", "The last word.", {})
    watched_log(tmp_path / "run" / "r.json", *many, final)
    assert "run, epoch 2: The last word." in make(tmp_path).findings
