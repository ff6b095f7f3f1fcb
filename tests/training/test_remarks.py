"""What a dataset warns of is told to the user, by every loader of ImageFolders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_trainer import Listener
from train_runs import small_config

from dl2cli.training.trainer import train


@pytest.mark.parametrize("loader", ["pytorch", "jpeg", "dali-cpu"])
def test_a_class_without_images_is_told(sample_set: Path, tmp_path: Path, loader: str):
    if loader == "dali-cpu":
        pytest.importorskip("nvidia.dali", reason="DALI is not installed")
    data = tmp_path / "photos"
    shutil.copytree(sample_set, data)
    for split in ("train", "val"):
        (data / split / "zebra").mkdir()
    listener = Listener()
    config = small_config(data, tmp_path / "run", data_loader=loader, data_workers=1, run_epochs=1)
    train(config, [listener])
    told = [notice.text for notice in listener.notices if "zebra" in notice.text]
    assert [str(data / split) in text for split, text in zip(("train", "val"), told, strict=True)]
