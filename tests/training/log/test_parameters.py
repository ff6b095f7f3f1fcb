"""The P record of a training that Python code starts, without the command line."""

from __future__ import annotations

from pathlib import Path

from train_runs import records, small_config, train

from dl2cli.training.fidelity.curriculum import Curriculum, parse_scans
from dl2cli.training.log.events import Observer
from dl2cli.training.optimization.optimizer import OptimizerConfig


class _Notices(Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def noticed(self, notice):
        self.texts.append(notice.text)


def test_a_caller_of_train_gets_the_whole_record(sample_pcr: Path, tmp_path: Path):
    config = small_config(sample_pcr, tmp_path / "run", fidelity=Curriculum.constant(3))
    [record] = records(train(config).log, "P")
    expected = {
        "arch": "small_cnn", "batch_size": 6, "data": str(sample_pcr / "train"), "epochs": 2,
        "data_loader": "pcr", "experiment_name": "run", "seed": 1, "lr_policy": "cosine",
        "world_size": 1, "scans": 3, "variant": "pcr-3", "train_images": 24,
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected


def test_a_caller_of_train_is_told_of_changed_options(sample_pcr: Path, tmp_path: Path):
    train(small_config(sample_pcr, tmp_path, run_epochs=1))
    told = _Notices()
    other = small_config(
        sample_pcr,
        tmp_path,
        checkpoint_resume=tmp_path,
        fidelity=Curriculum.of(parse_scans("5@0,3@1")),
        optimizer=OptimizerConfig(weight_decay=0.5),
    )
    train(other, [told])
    assert told.texts[0].startswith("Changed since the run was interrupted:")
    assert "weight_decay 0.5 (was 0.0001)" in told.texts[0]
    assert "scans 5@0,3@1 (was None)" in told.texts[0]
