"""Validation alone, of weights or of a checkpoint."""

from __future__ import annotations

from pathlib import Path

from test_trainer import Listener
from train_runs import small_config, train


def test_validation_alone(sample_pcr: Path, tmp_path: Path):
    trained = train(small_config(sample_pcr, tmp_path / "trained"))
    result = train(
        small_config(
            sample_pcr,
            tmp_path / "validated",
            skip_training=True,
            model_pretrained_weights=tmp_path / "trained" / "model_best.pth.tar",
        )
    )
    assert result.final is not None
    assert result.final.train is None
    assert result.final.validation.top1_pct == trained.best_top1_pct
    assert result.final.validation.images == 12
    assert not (tmp_path / "validated" / "checkpoint.pth.tar").exists()


def test_validation_of_a_checkpoint_is_of_the_epoch_that_it_ended(sample_pcr: Path, tmp_path: Path):
    trained = train(small_config(sample_pcr, tmp_path / "trained"))
    changes = {"skip_training": True, "checkpoint_resume": tmp_path / "trained"}
    result = train(small_config(sample_pcr, tmp_path / "validated", **changes))
    assert result.final.epoch == 1  # of two; not a third
    assert result.final.validation.top1_pct == trained.final.validation.top1_pct
    assert (result.best_top1_pct, result.best_epoch) == (result.final.validation.top1_pct, 1)
    assert result.epochs_done == 2


def test_validation_in_the_middle_of_an_epoch_needs_no_order(sample_pcr: Path, tmp_path: Path):
    train(small_config(sample_pcr, tmp_path / "cut"), [Listener(stop_after=2)])
    changes = {"skip_training": True, "checkpoint_resume": tmp_path / "cut", "data_batch_size": 4}
    result = train(small_config(sample_pcr, tmp_path / "validated", **changes))
    assert result.final.validation.images == 12
