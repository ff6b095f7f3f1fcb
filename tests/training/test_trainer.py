"""The loop: what is learnt, and what is logged."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_runs import Listener, curve, records, small_config, train

from dl2cli.dataset.sample import SampleConfig, ensure_sample_set
from dl2cli.errors import DataError, UsageError
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.plan import split_configs
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.fidelity.autotune import AutotuneConfig
from dl2cli.training.fidelity.curriculum import Curriculum, Fidelity, parse_scans
from dl2cli.training.log.events import NoticeKind, Phase
from dl2cli.training.optimization.loss import LossConfig
from dl2cli.training.optimization.lr_schedule import LrConfig
from dl2cli.training.optimization.optimizer import OptimizerConfig
from dl2cli.training.optimization.precision import PrecisionConfig

LADDER = (Fidelity(1), Fidelity(5), Fidelity(10))


def test_a_run_is_told_logged_and_saved(sample_pcr: Path, tmp_path: Path):
    listener = Listener()
    result = train(small_config(sample_pcr, tmp_path), [listener])
    assert (result.status, result.epochs_done, result.stopped_by) == ("complete", 2, None)
    assert listener.info.train_images == 24
    assert listener.info.steps_per_epoch == 4
    assert [s.iteration for s in listener.steps if s.phase is Phase.TRAIN] == [1, 2, 3, 4] * 2
    assert listener.closed
    assert result.train_images == 48
    assert len(records(result.log, "T")) == 4
    assert len(records(result.log, "E")) == 2
    assert result.checkpoint == tmp_path / "checkpoint.pth.tar"
    assert load_checkpoint(tmp_path)["epoch"] == 2
    assert (tmp_path / "model_best.safetensors").is_file()
    weights = load_file(tmp_path / "model_last.safetensors")
    assert all(
        torch.equal(weights[name], value)
        for name, value in load_checkpoint(tmp_path)["model"].items()
    )
    rows = list(csv.DictReader((tmp_path / "train_data_0.csv").read_text().splitlines()))
    assert {row["epoch"] for row in rows} == {"0", "1"}


def test_the_log_agrees_with_what_was_told(sample_pcr: Path, tmp_path: Path):
    listener = Listener()
    train(small_config(sample_pcr, tmp_path), [listener])
    logged = records(tmp_path / "experiment_report.json", "E")
    for report, record in zip(listener.epochs, logged, strict=True):
        assert record["t.loss"] == report.train.loss
        assert record["v.top1"] == report.validation.top1_pct
        assert record["t.iteration_time"] == report.train.iteration_s
        times = report.train.data_s + report.train.compute_s
        assert times == pytest.approx(report.train.iteration_s, rel=1e-12)
        assert report.train.bytes_read > 0


def test_a_small_net_learns(tmp_path: Path):
    """Six classes: chance would give 17 %, and colour alone 33 %."""
    sample = SampleConfig(train_per_class=50, val_per_class=10, long_side_px=160)
    folder = ensure_sample_set(sample, cache=tmp_path / "cache", workers=2)
    for split in split_configs(ConvertConfig(folder, tmp_path / "pcr", images_per_record=32)):
        convert(split)
    config = small_config(
        tmp_path / "pcr",
        tmp_path / "run",
        data_batch_size=16,
        data_transform=TransformConfig(size=64),
        lr=LrConfig(lr=0.05, policy="cosine", epochs=20, warmup_epochs=2),
        epochs=20,
    )
    result = train(config)
    assert result.best_top1_pct > 75


def test_a_seed_reproduces_a_run(sample_pcr: Path, tmp_path: Path):
    runs = [train(small_config(sample_pcr, tmp_path / str(i))) for i in range(2)]
    assert curve(runs[0].log) == curve(runs[1].log)
    other = train(small_config(sample_pcr, tmp_path / "other", seed=2))
    assert curve(other.log) != curve(runs[0].log)


def test_workers_and_prefetch_make_no_difference(sample_pcr: Path, tmp_path: Path):
    one = train(small_config(sample_pcr, tmp_path / "1", data_workers=1, data_prefetch=1))
    more = train(small_config(sample_pcr, tmp_path / "2", data_workers=3, data_prefetch=4))
    assert curve(one.log) == curve(more.log)


def test_accumulated_gradients_are_those_of_a_larger_batch(sample_pcr: Path, tmp_path: Path):
    large = train(small_config(sample_pcr, tmp_path / "12", data_batch_size=12))
    small = train(
        small_config(sample_pcr, tmp_path / "6", data_batch_size=6, optimizer_batch_size=12)
    )
    for one, other in zip(large.history, small.history, strict=True):
        assert one.validation.loss == pytest.approx(other.validation.loss, rel=1e-4)
    with pytest.raises(UsageError, match="multiple of the 6 images"):
        train(small_config(sample_pcr, tmp_path / "x", optimizer_batch_size=8))


def test_a_schedule_changes_the_fidelity(sample_pcr: Path, tmp_path: Path):
    listener = Listener()
    schedule = Curriculum.of(parse_scans("1@0,10@1"))
    train(small_config(sample_pcr, tmp_path, fidelity=schedule), [listener])
    assert [report.train.fidelity.scans for report in listener.epochs] == [1, 10]
    assert listener.epochs[1].train.bytes_read > 2 * listener.epochs[0].train.bytes_read
    assert [n.kind for n in listener.notices] == [NoticeKind.FIDELITY]
    assert listener.notices[0].text.startswith("After 1 epoch, the schedule changes to 10 scans")


def test_a_schedule_that_is_resumed_in_the_middle_of_an_epoch(sample_pcr: Path, tmp_path: Path):
    schedule = Curriculum.of(parse_scans("1@0,10@1"))
    straight = train(small_config(sample_pcr, tmp_path / "straight", fidelity=schedule))
    config = small_config(sample_pcr, tmp_path / "stopped", fidelity=schedule)
    stopped = train(config, [Listener(stop_after=6)])
    resumed = train(
        replace(config, checkpoint=replace(config.checkpoint, resume=stopped.checkpoint))
    )
    assert curve(resumed.log) == curve(straight.log)


def test_the_tuner_chooses_and_says_why(sample_pcr: Path, tmp_path: Path):
    listener = Listener()
    tuner = AutotuneConfig(every_epochs=1, batches=2, threshold=-1.0, ladder=LADDER)
    train(small_config(sample_pcr, tmp_path, fidelity=tuner), [listener])
    decisions = [n for n in listener.notices if n.kind is NoticeKind.FIDELITY]
    assert [d.values["scans"] for d in decisions] == [1, 1]
    assert set(decisions[0].values["scores"]) == {"1", "5", "10"}
    assert [report.train.fidelity.scans for report in listener.epochs] == [1, 1]


def test_the_tuner_does_not_disturb_the_training(sample_pcr: Path, tmp_path: Path):
    plain = train(small_config(sample_pcr, tmp_path / "plain"))
    tuner = AutotuneConfig(every_epochs=1, batches=1, threshold=1.0)  # nothing but all is enough
    tuned = train(small_config(sample_pcr, tmp_path / "tuned", fidelity=tuner))
    assert curve(plain.log) == curve(tuned.log)


def test_loaders_of_whole_images_have_no_fidelity(sample_set: Path, tmp_path: Path):
    config = small_config(
        sample_set, tmp_path, data_loader="pytorch", fidelity=Curriculum.of(parse_scans("5"))
    )
    with pytest.raises(UsageError, match="reads whole images"):
        train(config)


def test_a_loss_that_is_no_number_is_reported(sample_pcr: Path, tmp_path: Path):
    listener = Listener()
    config = small_config(sample_pcr, tmp_path, lr=LrConfig(lr=1e30, epochs=2))
    result = train(config, [listener])
    notice = next(n for n in listener.notices if n.kind is NoticeKind.NAN_LOSS)
    assert f"step {notice.iteration}" in notice.text
    assert "1e+30" in notice.text
    assert not math.isfinite(records(result.log, "E")[-1]["t.loss"])


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": PrecisionConfig(amp=True, dtype="bfloat16")},
        {"precision": PrecisionConfig(amp=True, static_loss_scale=128.0)},
        {"channels_last": True},
        {"optimizer": OptimizerConfig(optimizer="rmsprop"), "lr": LrConfig(lr=1e-4, epochs=2)},
        {"loss": LossConfig(label_smoothing=0.1, mixup=0.2)},
        {"data_smoothing": True, "fidelity": Curriculum.of(parse_scans("2"))},
        {"data_tail": "pad", "data_batch_size": 7},
        {"sync_every_step": True},
        {"profile_steps": 2},
    ],
    ids=str,
)
def test_options_train(sample_pcr: Path, tmp_path: Path, changes: dict):
    result = train(small_config(sample_pcr, tmp_path, **changes))
    assert all(math.isfinite(report.train.loss) for report in result.history)
    assert (tmp_path / "profile_trace.json").exists() == ("profile_steps" in changes)


def test_without_validation(sample_pcr: Path, tmp_path: Path):
    result = train(small_config(sample_pcr, tmp_path, data_val=None))
    assert result.best_top1_pct is None
    assert "v.top1" not in records(result.log, "E")[0]


def test_every_validation_image_counts_once(sample_pcr: Path, tmp_path: Path):
    """Against the model's own answers, image by image."""
    result = train(small_config(sample_pcr, tmp_path, data_batch_size=5))
    model = _model(tmp_path)
    loader = create_loader(
        "pcr",
        LoaderConfig(
            sample_pcr / "val",
            batch_size=1,
            transform=TransformConfig(train=False, size=32),
            output=_normalized(),
            shuffle=False,
        ),
    )
    with torch.no_grad():
        right = sum(int(model(b.images).argmax() == b.labels[0]) for b in loader)
    last = records(result.log, "E")[-1]
    assert last["v.top1"] == pytest.approx(100 * right / 12)


def _normalized():
    from dl2cli.loaders import OutputConfig

    return OutputConfig(normalized=True)


def _model(folder: Path) -> torch.nn.Module:
    from dl2cli.training.models import ModelConfig, create_model

    model = create_model(ModelConfig(arch="small_cnn", num_classes=6))
    model.load_state_dict(load_checkpoint(folder)["model"])
    return model.eval()


def test_a_checkpoint_of_something_else_is_refused(sample_pcr: Path, tmp_path: Path):
    train(small_config(sample_pcr, tmp_path / "a", epochs=1))
    with pytest.raises(UsageError, match=r"holds a small_cnn, but --arch is resnet18"):
        train(
            small_config(
                sample_pcr, tmp_path / "b", model_arch="resnet18", checkpoint_resume=tmp_path / "a"
            )
        )
    with pytest.raises(UsageError, match="There is no checkpoint"):
        train(small_config(sample_pcr, tmp_path / "b", checkpoint_resume=tmp_path / "none"))


def test_a_resume_in_the_middle_wants_the_same_data(sample_pcr: Path, tmp_path: Path):
    config = small_config(sample_pcr, tmp_path / "a")
    train(config, [Listener(stop_after=2)])
    with pytest.raises(UsageError, match="seed 9, the saved state has 1"):
        train(small_config(sample_pcr, tmp_path / "b", seed=9, checkpoint_resume=tmp_path / "a"))
    changes = {"checkpoint_resume": tmp_path / "a", "data_batch_size": 4}
    with pytest.raises(UsageError, match=r"--batch-size for 6 images on all ranks together"):
        train(small_config(sample_pcr, tmp_path / "c", **changes))


def test_other_classes_in_validation_are_refused(
    sample_pcr: Path, sample_set: Path, tmp_path: Path
):
    val = tmp_path / "val"
    (val / "unknown").mkdir(parents=True)
    image = next((sample_set / "val").glob("*/*.jpg"))
    (val / "unknown" / "1.jpg").write_bytes(image.read_bytes())
    with pytest.raises(DataError, match=r"unknown|other classes"):
        train(small_config(sample_pcr, tmp_path / "run", data_val=val))


def test_damaged_images_are_left_out_and_told(sample_pcr: Path, tmp_path: Path):
    data = tmp_path / "pcr"
    _copy(sample_pcr, data)
    record = sorted((data / "train").glob("PCR_*.db"))[0]
    content = bytearray(record.read_bytes())
    content[len(content) // 2] ^= 0xFF
    record.write_bytes(content)
    with pytest.raises(DataError, match=record.name):
        train(small_config(data, tmp_path / "fail"))
    listener = Listener()
    result = train(small_config(data, tmp_path / "skip", data_on_damage="skip"), [listener])
    assert any(n.kind is NoticeKind.DAMAGE and record.name in n.text for n in listener.notices)
    assert result.final.skipped == 16  # 8 images of the record, in each of 2 epochs
    assert math.isfinite(result.final.train.loss)


def _copy(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.is_file():
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(file.read_bytes())
