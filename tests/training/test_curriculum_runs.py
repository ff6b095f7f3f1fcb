"""Trainings whose images change in scans, size and decoding, with every loader."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from test_trainer import Listener
from train_runs import curve, records, small_config

from dl2cli.errors import UsageError
from dl2cli.loaders.registry import LOADERS
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.fidelity.autotune import AutotuneConfig
from dl2cli.training.fidelity.curriculum import Curriculum, Fidelity
from dl2cli.training.log.events import NoticeKind
from dl2cli.training.trainer import train

SIZES = Curriculum.of(sizes=((0, 16), (1, 32)))
STEPS = Curriculum(((0, Fidelity(2, 16, True)), (1, Fidelity())), "mine")
CPU_LOADERS = [name for name in LOADERS if not name.endswith("-gpu")]


@pytest.mark.parametrize("loader", CPU_LOADERS)
def test_every_loader_changes_the_size(
    sample_set: Path, sample_pcr: Path, tmp_path: Path, loader: str
):
    if "dali" in loader:
        pytest.importorskip("nvidia.dali", reason="DALI is not installed")
    reads = LOADERS[loader].reads
    data = sample_pcr if reads is None or "pcr" in loader else sample_set
    listener = Listener()
    options = {"data_persistent_workers": True} if loader == "pytorch" else {}
    config = small_config(
        data, tmp_path, data_loader=loader, data_workers=1, fidelity=SIZES, **options
    )
    result = train(config, [listener])
    assert [report.train.fidelity.size_px for report in listener.epochs] == [16, 32]
    assert [report.validation.fidelity.size_px for report in listener.epochs] == [32, 32]
    epochs = records(result.log, "E")
    assert [epoch["e.size"] for epoch in epochs] == [16, 32]
    text = "After 1 epoch, the schedule changes to 32 pixels."
    assert text in [notice.text for notice in listener.notices]
    with (tmp_path / "train_data_0.csv").open() as file:
        sizes = [row["value"] for row in csv.DictReader(file) if row["type"] == "epoch.e.size"]
    assert sizes == ["16", "32"]


def test_steps_change_everything_and_are_told(sample_pcr: Path, tmp_path: Path):
    listener = Listener()
    result = train(small_config(sample_pcr, tmp_path, fidelity=STEPS), [listener])
    fidelities = [report.train.fidelity for report in listener.epochs]
    assert fidelities == [Fidelity(2, 16, True), Fidelity(10, 32, False)]
    told = [n for n in listener.notices if n.kind is NoticeKind.FIDELITY]
    assert [n.text for n in told] == ["After 1 epoch, the schedule changes to 10 scans, 32 pixels."]
    assert told[0].values == {"scans": 10, "size_px": 32, "scaled_decode": False}
    assert records(result.log, "P")[0]["curriculum"] == "mine"
    assert listener.epochs[1].train.bytes_read > listener.epochs[0].train.bytes_read


@pytest.mark.parametrize("after", [2, 4, 6])
def test_a_curriculum_is_resumed_where_it_stopped(sample_pcr: Path, tmp_path: Path, after: int):
    straight = train(small_config(sample_pcr, tmp_path / "straight", fidelity=STEPS))
    config = small_config(sample_pcr, tmp_path / "stopped", fidelity=STEPS)
    stopped = train(config, [Listener(stop_after=after)])
    again = replace(config.checkpoint, resume=stopped.checkpoint)
    resumed = train(replace(config, checkpoint=again))
    assert curve(resumed.log) == curve(straight.log)
    one, other = (load_checkpoint(tmp_path / name) for name in ("straight", "stopped"))
    assert all(bool((one["model"][k] == other["model"][k]).all()) for k in one["model"])


@pytest.mark.parametrize("after", [2, 4])
def test_another_size_is_applied_to_a_run_that_goes_on(
    sample_pcr: Path, tmp_path: Path, after: int
):
    config = small_config(sample_pcr, tmp_path)
    stopped = train(config, [Listener(stop_after=after)])
    data = config.data
    larger = replace(data.train, transform=replace(data.train.transform, size=40))
    again = replace(config.checkpoint, resume=stopped.checkpoint)
    config = replace(config, data=replace(data, train=larger), checkpoint=again)
    resumed = train(config)
    assert {epoch.train.fidelity.size_px for epoch in resumed.history} == {40}
    smaller = train(replace(config, fidelity=SIZES, epochs=3))
    assert [epoch.train.fidelity.size_px for epoch in smaller.history][-1] == 32


@pytest.mark.parametrize(("threshold", "chosen"), [(-1.0, (2, 16)), (1.0, (10, 32))])
def test_the_tuner_takes_the_cheapest_step_that_agrees(
    sample_pcr: Path, tmp_path: Path, threshold: float, chosen: tuple[int, int]
):
    listener = Listener()
    ladder = (Fidelity(2, 16, True), Fidelity(5, 24), Fidelity(5))
    tuner = AutotuneConfig(batches=1, threshold=threshold, ladder=ladder)
    train(small_config(sample_pcr, tmp_path, fidelity=tuner, run_epochs=1), [listener])
    notice = listener.notices[0]
    assert (notice.values["scans"], notice.values["size_px"]) == chosen
    assert list(notice.values["scores"]) == [
        "2 scans, 16 pixels, scaled decoding", "5 scans, 24 pixels", "5 scans, 32 pixels",
        "10 scans, 32 pixels",
    ]  # fmt: skip
    assert listener.epochs[0].train.fidelity.size_px == chosen[1]


def test_what_cannot_be_is_one_sentence(sample_set: Path, sample_pcr: Path, tmp_path: Path):
    def refused(data: Path, fidelity: Curriculum, loader: str) -> str:
        config = small_config(data, tmp_path / "x", data_loader=loader, fidelity=fidelity)
        with pytest.raises(UsageError) as error:
            train(config)
        return str(error.value)

    assert "always decodes images at their full size" in refused(
        sample_set, Curriculum(((0, Fidelity(None, 16, True)),)), "pytorch"
    )
    assert "reads whole images" in refused(sample_set, STEPS, "jpeg")
    assert "more than --image-size 32" in refused(
        sample_pcr, Curriculum.of(sizes=((0, 16), (1, 64))), "pcr"
    )
    assert "the dataset has 10" in refused(sample_pcr, Curriculum.constant(11), "pcr")
