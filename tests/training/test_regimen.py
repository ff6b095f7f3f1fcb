"""Stages on several variants of a dataset."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from test_trainer import Listener
from train_runs import curve, records, small_config, train

from dl2cli.errors import UsageError
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.regimen import Stage, train_regimen


@pytest.fixture(scope="module")
def variants(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sample set as it is, and with JPEG quality 10."""
    coarse = tmp_path_factory.mktemp("variants") / "jpeg-10"
    for source in sample_set.rglob("*.jpg"):
        target = coarse / source.relative_to(sample_set)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(source) as image:
            image.save(target, quality=10)
    return {"raw": sample_set, "jpeg-10": coarse}


def _stages(variants: dict[str, Path]) -> list[Stage]:
    coarse, raw = variants["jpeg-10"], variants["raw"]
    return [Stage(0, coarse / "train", raw / "val"), Stage(1, raw / "train", raw / "val")]


def _config(variants: dict[str, Path], folder: Path):
    return small_config(variants["raw"], folder, data_loader="pytorch", data_workers=1)


def test_each_stage_has_a_log_and_goes_on(variants: dict[str, Path], tmp_path: Path):
    result = train_regimen(_config(variants, tmp_path), _stages(variants))
    assert [stage.epochs_done for stage in result.stages] == [1, 2]
    first = records(tmp_path / "experiment_report_stage_0.json", "E")
    second = records(tmp_path / "experiment_report_stage_1.json", "E")
    assert [r["step"][1] for r in first] == [0]
    assert [r["step"][1] for r in second] == [1]
    assert second[0]["lr"] < first[0]["lr"]  # the schedule spans all stages
    log = json.loads((tmp_path / "regimen_log.json").read_text())
    assert log["stage_0"]["dataset"] == str(variants["jpeg-10"] / "train")
    assert [log[f"stage_{i}"]["epochs"] for i in range(2)] == [1, 1]
    assert log["total_time"] == log["stage_0"]["time"] + log["stage_1"]["time"]
    assert (tmp_path / "checkpoint_0.pth.tar").is_file()
    assert (tmp_path / "checkpoint_1.pth.tar").is_file()


def test_stages_of_the_same_data_are_one_training(variants: dict[str, Path], tmp_path: Path):
    config = _config(variants, tmp_path / "stages")
    raw = variants["raw"]
    stages = [Stage(epoch, raw / "train", raw / "val") for epoch in range(2)]
    train_regimen(config, stages)
    straight = train(replace(config, folder=tmp_path / "straight"))
    both = [curve(tmp_path / "stages" / f"experiment_report_stage_{i}.json") for i in range(2)]
    assert sorted(both[0] + both[1], key=str) == sorted(curve(straight.log), key=str)


def test_a_regimen_that_is_stopped_goes_on_in_its_stage(variants: dict[str, Path], tmp_path: Path):
    stages = _stages(variants)
    straight = train_regimen(_config(variants, tmp_path / "straight"), stages)
    config = _config(variants, tmp_path / "stopped")
    stopped = train_regimen(
        config, stages, lambda stage: [Listener(stop_after=2)] if stage == 1 else []
    )
    assert stopped.stopped_by == "SIGTERM"
    saved = stopped.stages[-1].checkpoint
    again = train_regimen(
        replace(config, checkpoint=replace(config.checkpoint, resume=saved)), stages
    )
    assert len(again.stages) == 1
    assert curve(again.stages[0].log) == curve(straight.stages[1].log)
    log = json.loads(again.log.read_text())
    assert set(log) == {"stage_0", "stage_1", "total_time"}


def test_run_epochs_are_those_of_the_process(variants: dict[str, Path], tmp_path: Path):
    stages = [*_stages(variants), Stage(3, variants["raw"] / "train", None)]
    config = replace(_config(variants, tmp_path), epochs=4, run_epochs=2)
    first = train_regimen(config, stages)
    assert [stage.epochs_done for stage in first.stages] == [1, 2]
    resume = replace(config.checkpoint, resume=first.stages[-1].checkpoint)
    second = train_regimen(replace(config, checkpoint=resume), stages)
    assert [stage.epochs_done for stage in second.stages] == [3, 4]


def test_a_time_budget_is_that_of_all_stages(variants: dict[str, Path], tmp_path: Path):
    # The first stage takes all of it, and ends on its own in the very step that is too late.
    class Late(Listener):
        def epoch_ended(self, report):
            time.sleep(max(0, begun + budget_s - time.monotonic()))

    budget_s, begun = 10.0, time.monotonic()
    config = replace(_config(variants, tmp_path), time_budget_s=budget_s)
    result = train_regimen(config, _stages(variants), lambda stage: [Late()] if not stage else [])
    assert [stage.stopped_by for stage in result.stages] == [None, "time budget"]
    assert load_checkpoint(tmp_path / "checkpoint_1.pth.tar")["iteration"] == 1


def test_the_time_of_a_stage_outlives_its_first_epoch(variants: dict[str, Path], tmp_path: Path):
    config = _config(variants, tmp_path)
    stopped = train_regimen(config, _stages(variants), lambda _: [Listener(stop_after=2)])
    saved = stopped.stages[0].checkpoint
    before_s = load_checkpoint(saved)["observers"][0]["RunLog"]["elapsed_s"]
    stopped.log.unlink()  # as a run that was killed, which had no time to write it
    again = train_regimen(
        replace(config, checkpoint=replace(config.checkpoint, resume=saved)), _stages(variants)
    )
    log = json.loads(again.log.read_text())
    assert log["stage_0"]["time"] > before_s + again.stages[0].wall_s


@pytest.mark.parametrize("firsts", [[], [1], [0, 0], [0, 5]])
def test_stages_that_make_no_sense(variants: dict[str, Path], tmp_path: Path, firsts: list[int]):
    stages = [Stage(first, variants["raw"], None) for first in firsts]
    with pytest.raises(UsageError, match="tage"):
        train_regimen(_config(variants, tmp_path), stages)
