"""Going on with other options than before: applied and told, or refused; never neither."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_runs import records, small_config, train

from dl2cli.errors import UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.checkpoint.write import save_checkpoint
from dl2cli.training.config import TrainConfig
from dl2cli.training.log.events import Observer
from dl2cli.training.optimization.lr_schedule import LrConfig
from dl2cli.training.optimization.optimizer import OptimizerConfig


class Notices(Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def noticed(self, notice):
        self.texts.append(notice.text)


@pytest.fixture
def half(sample_pcr: Path, tmp_path: Path) -> TrainConfig:
    """A run of two epochs that has done one, and goes on."""
    config = small_config(sample_pcr, tmp_path / "run", run_epochs=1)
    train(config)
    return replace(
        config, run_epochs=None, checkpoint=replace(config.checkpoint, resume=config.folder)
    )


def go_on(config: TrainConfig, folder: Path, **changes: Any) -> tuple[dict[str, Any], str]:
    """Go on in a folder of its own; return the checkpoint and what was told of changes."""
    told = Notices()
    data = changes.pop("data", {})
    train_data = replace(config.data.train, **{k: v for k, v in data.items() if k != "val"})
    data = replace(config.data, train=train_data, val=data.get("val", config.data.val))
    train(replace(config, folder=folder, data=data, **changes), [told])
    unlike = [text for text in told.texts if text.startswith("Changed since")]
    return load_checkpoint(folder), " ".join(unlike)


SGD = OptimizerConfig()
RMSPROP = OptimizerConfig(optimizer="rmsprop", momentum=0)


@pytest.mark.parametrize(
    ("before", "change", "told"),
    [
        (SGD, {"weight_decay": 0.5}, "weight_decay 0.5 (was 0.0001)"),
        (SGD, {"momentum": 0.0}, "momentum 0.0 (was 0.9)"),
        (SGD, {"nesterov": True}, "nesterov True (was False)"),
        (SGD, {"bn_weight_decay": True}, "bn_weight_decay True (was False)"),
        (RMSPROP, {"rmsprop_alpha": 0.5}, "rmsprop_alpha 0.5 (was 0.9)"),
        (RMSPROP, {"rmsprop_eps": 0.1}, "rmsprop_eps 0.1 (was 0.001)"),
        (RMSPROP, {"momentum": 0.9}, "momentum 0.9 (was 0"),
    ],
)
def test_options_of_the_optimiser_are_applied_and_told(
    sample_pcr: Path, tmp_path: Path, before: OptimizerConfig, change: dict[str, Any], told: str
):
    lr = LrConfig(lr=0.01, epochs=2)
    config = small_config(sample_pcr, tmp_path / "run", optimizer=before, run_epochs=1, lr=lr)
    train(config)
    config = replace(
        config, run_epochs=None, checkpoint=replace(config.checkpoint, resume=config.folder)
    )
    same, nothing = go_on(config, tmp_path / "same")
    other, sentence = go_on(config, tmp_path / "other", optimizer=replace(before, **change))
    assert nothing == ""
    assert told in sentence
    decayed, norms = other["optimizer"]["param_groups"]
    if change == {"bn_weight_decay": True}:  # this small net has no norms to tell it by
        assert norms["weight_decay"] == before.weight_decay
        return
    for name, value in change.items():
        assert decayed[name.removeprefix("rmsprop_")] == value
    assert any(
        not torch.equal(value, other["model"][name]) for name, value in same["model"].items()
    )


def test_another_optimiser_is_refused(half: TrainConfig):
    with pytest.raises(UsageError, match="give --optimizer sgd"):
        train(replace(half, optimizer=RMSPROP))


def test_other_trainable_parameters_are_refused(half: TrainConfig):
    with pytest.raises(UsageError, match="--freeze-inner-layers"):
        train(replace(half, model=replace(half.model, freeze_inner_layers=True)))


def test_a_state_of_the_wrong_shape_is_damage(half: TrainConfig):
    checkpoint = load_checkpoint(half.folder)
    state = next(iter(checkpoint["optimizer"]["state"].values()))
    state["momentum_buffer"] = torch.zeros(1)
    save_checkpoint(half.folder / "checkpoint.pth.tar", checkpoint)
    with pytest.raises(UsageError, match="momentum_buffer has the shape"):
        train(half)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"batch_size": 4}, "images a step on all ranks 4 (was 6)"),
        ({"tail": "pad"}, "tail pad (was drop)"),
        ({"lanes": 2}, "lanes 2 (was 1)"),
        ({"shuffle_window": 1}, "shuffle window 1 (was 2)"),
        ({"on_damage": "skip"}, "on_damage skip (was fail)"),
        ({"val": None}, "skip_validation True (was False)"),
    ],
)
def test_what_changes_steps_order_or_scores_is_told(
    half: TrainConfig, tmp_path: Path, change: dict[str, Any], told: str
):
    assert told in go_on(half, tmp_path / "other", data=change)[1]


def test_another_seed_dataset_or_validation_set_is_told(
    half: TrainConfig, sample_set: Path, tmp_path: Path
):
    assert "seed 7 (was 1)" in go_on(half, tmp_path / "seed", seed=7)[1]
    again = tmp_path / "again"
    convert(ConvertConfig(sample_set / "val", again, images_per_record=8))
    told = go_on(half, tmp_path / "data", data={"data": again})[1]
    assert f"data {again} (was" in told
    assert "train_images 12 (was 24)" in told
    told = go_on(half, tmp_path / "val", data={"val": sample_set / "val"})[1]
    assert f"val_data {sample_set / 'val'} (was" in told


@pytest.mark.parametrize(("batch_size", "tail"), [(23, "pad"), (1, "drop")])
def test_a_batch_of_one_image_is_refused_where_batch_norm_needs_two(
    sample_pcr: Path, tmp_path: Path, batch_size: int, tail: str
):
    changes = {"data_batch_size": batch_size, "data_tail": tail, "model_arch": "resnet18"}
    with pytest.raises(UsageError, match="needs two images in a batch at 32 pixels"):
        train(small_config(sample_pcr, tmp_path / "refused", **changes))
    validated = small_config(sample_pcr, tmp_path / "validated", skip_training=True, **changes)
    assert train(validated).final is not None


def test_padding_is_not_learned_from_nor_counted(sample_pcr: Path, tmp_path: Path):
    """24 images in batches of 7 on one rank, which pads nothing; see test_distributed for two."""
    result = train(small_config(sample_pcr, tmp_path, data_batch_size=7, data_tail="pad"))
    assert [record["e.images"] for record in records(result.log, "E")] == [24, 24]


def test_a_network_of_nans_is_never_the_best(half: TrainConfig, tmp_path: Path):
    told = Notices()
    broken = replace(half, folder=tmp_path / "nan", lr=LrConfig(lr=1e12, epochs=2))
    result = train(broken, [told])
    assert result.final is not None
    assert result.final.validation is not None
    assert not math.isfinite(result.final.validation.loss)
    assert (result.final.validation.top1_pct, result.final.best) == (0, False)
    assert result.best_epoch == 0
    assert not (tmp_path / "nan" / "model_best.safetensors").exists()
    assert any("cannot be the best epoch" in text for text in told.texts)
