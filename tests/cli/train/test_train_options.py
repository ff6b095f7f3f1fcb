"""The options of `dl2 train`: what they mean, what they refuse, what is logged of them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from train_commands import first_record, logged, parse, prepare
from typer.testing import CliRunner

from dl2cli.cli.main import app
from dl2cli.cli.train import folder as train_folder
from dl2cli.cli.train import resume as train_resume
from dl2cli.cli.train import settings
from dl2cli.cores import usable_cores
from dl2cli.errors import UsageError
from dl2cli.training.checkpoint.write import FORMAT, VERSION
from dl2cli.training.fidelity.autotune import AutotuneConfig
from dl2cli.training.fidelity.curriculum import Curriculum, Fidelity
from dl2cli.training.launch import Launch, read_launch

pytestmark = pytest.mark.usefixtures("work", "one_thread")

# The command line of the published tutorial, without the path.
PUBLISHED = (
    "-a resnet50 -l dali-cpu -w 8 -b 256 -e 50 -p 100 --label-smoothing 0.1 --lr 0.256 "
    "--lr-policy cosine --mom 0.875 --wd 3.0517578125e-05 --amp --static-loss-scale 128 "
    "--memory-format nhwc -n native-test"
)
# The first record of a published log, in its order.
_KEYS = """
arch batch_size data epochs data_loader experiment_name print_freq workers amp augmentation
backup_checkpoints bn_weight_decay cache_size checkpoint_filename dataset_class data_mean data_std
dynamic_loss_scale end_lr freeze_inner_layers image_size interpolation label_smoothing lr lr_policy
memory_format mixup model_config momentum nesterov save_checkpoints persistent_workers num_classes
optimizer optimizer_batch_size pretrained_weights profile_n report_file resume rmsprop_alpha
rmsprop_eps run_epochs seed skip_training skip_validation static_loss_scale synth_train_samples
synth_val_samples warmup weight_decay workspace distributed world_size gpu local_rank
"""
PUBLISHED_KEYS = _KEYS.split()


def test_the_published_command_line_word_for_word(
    sample_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = prepare("-d", sample_set, *PUBLISHED.split())
    told = capsys.readouterr().err
    assert f"Data: the ImageFolder {sample_set}/train; loader dali-cpu." in told.replace("\n", " ")
    assert ("--amp makes a CPU slower" in told) != torch.cuda.is_available()
    assert (config.model.arch, config.model.num_classes) == ("resnet50", 6)
    assert (config.data.loader, config.data.train.workers, config.data.train.batch_size) == (
        "dali-cpu",
        8,
        256,
    )
    assert (config.epochs, config.print_freq, config.lr.epochs) == (50, 100, 50)
    assert (config.loss.label_smoothing, config.loss.mixup) == (0.1, 0)
    assert (config.lr.lr, config.lr.policy, config.lr.warmup_epochs) == (0.256, "cosine", 0)
    assert config.optimizer.momentum == 0.875
    assert config.optimizer.weight_decay == 2**-15
    assert (config.precision.amp, config.precision.static_loss_scale) == (True, 128)
    assert config.channels_last
    assert config.folder == Path("logs/native-test")
    assert config.data.val == sample_set / "val"
    assert (config.run_epochs, config.optimizer_batch_size, config.profile_steps) == (None, None, 0)
    assert config.checkpoint.save
    assert config.fidelity is None


def test_parameters_are_the_published_ones_in_their_order(sample_set: Path) -> None:
    parameters = logged(prepare("-d", sample_set, *PUBLISHED.split()))
    assert list(parameters)[: len(PUBLISHED_KEYS)] == PUBLISHED_KEYS
    assert set(parameters) - set(PUBLISHED_KEYS) >= {"scans", "dataset", "variant"}
    assert json.loads(json.dumps(parameters)) == parameters
    assert parameters["data_mean"] == [122.655, 116.535, 104.04]
    assert (parameters["run_epochs"], parameters["resume"]) == (-1, None)
    assert parameters["variant"] == "raw"
    assert parameters["workspace"] == "logs/native-test"


def test_parameters_agree_in_type_with_every_published_log(
    test_data: Path, sample_set: Path
) -> None:
    ours = logged(prepare("-d", sample_set, *PUBLISHED.split()))
    decided = {"data", "experiment_name", "workspace", "arch"}
    logs = [
        log for log in (test_data / "dl2-logs").rglob("*.json") if log.read_bytes()[:6] == b"DLLL {"
    ]
    assert logs
    for log in logs:
        for name, value in first_record(log).items():
            if value is not None and ours[name] is not None and name not in decided:
                assert type(ours[name]) is type(value), (log, name)


def test_every_published_parameter_is_an_option_with_the_published_value(sample_set: Path) -> None:
    """Given back as options, a run's parameters give the same parameters."""
    given = {
        "cache_size": 43486543872, "checkpoint_filename": "checkpoint_1.pth.tar", "end_lr": 0.001,
        "image_size": 64, "mixup": 0.2, "optimizer": "rmsprop", "optimizer_batch_size": 768,
        "print_freq": 7, "report_file": "report.json", "rmsprop_alpha": 0.5, "rmsprop_eps": 0.25,
        "run_epochs": 45, "seed": 3,
        "warmup": 8, "profile_n": 2, "num_classes": 365, "lr": 0.0512, "lr_policy": "linear",
        "epochs": 6, "momentum": 0.5, "weight_decay": 0.25, "static_loss_scale": 32.0,
        "memory_format": "nhwc", "label_smoothing": 0.25, "interpolation": "bilinear",
        "model_config": "classic", "workers": 3, "arch": "alexnet", "batch_size": 512,
        "experiment_name": "x", "data_loader": "pytorch", "dataset_class": "MinIOFolder",
        "augmentation": "autoaugment", "pretrained_weights": "w.pth",
    }  # fmt: skip
    flags = [
        "amp", "backup_checkpoints", "bn_weight_decay", "freeze_inner_layers",
        "save_checkpoints", "persistent_workers", "skip_training", "skip_validation",
    ]  # fmt: skip
    options = [
        word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)
    ]
    names = [f"--{name.replace('_', '-')}" for name in flags]
    parameters = logged(prepare("-d", sample_set, *options, *names))
    assert {name: parameters[name] for name in given} == given
    assert all(parameters[name] is True for name in flags)
    others = ["--nesterov", "--dynamic-loss-scale"]  # not with rmsprop, nor with a static one
    parameters = logged(prepare("-d", sample_set, *others))
    assert parameters["nesterov"] is parameters["dynamic_loss_scale"] is True
    decided = {"data", "data_mean", "data_std", "workspace", "resume", "distributed", "nesterov"}
    decided.add("dynamic_loss_scale")
    machine = {"world_size", "gpu", "local_rank"}
    synthetic = {"synth_train_samples": 100, "synth_val_samples": 50}
    words = ("--synth-train-samples", 100, "--synth-val-samples", 50)
    parameters = logged(prepare("-d", sample_set, "-l", "synthetic", *words))
    assert {name: parameters[name] for name in synthetic} == synthetic
    rest = set(PUBLISHED_KEYS) - decided - machine
    assert rest == set(given) | set(flags) | set(synthetic)


def test_published_negatives_mean_none(sample_set: Path) -> None:
    config = prepare(
        "-d", sample_set, "-l", "pytorch", "--run-epochs", -1, "--profile-n", -1,
        "--optimizer-batch-size", -1, "--synth-train-samples", -1, "--synth-val-samples", -1,
        "--resume", "", "--augmentation", "null",
    )  # fmt: skip
    assert (config.run_epochs, config.profile_steps, config.optimizer_batch_size) == (None, 0, None)
    assert (config.data.train.synthetic_images, config.data.val_synthetic_images) == (None, None)
    assert config.checkpoint.resume is None
    assert not config.data.train.auto_augment
    assert logged(config)["resume"] is None


def test_defaults_are_those_of_the_lineage(sample_set: Path) -> None:
    config = prepare("-d", sample_set, "-l", "pytorch")
    assert (config.model.arch, config.data.train.transform.size) == ("resnet50", 224)
    assert (config.data.train.batch_size, config.epochs, config.print_freq) == (256, 90, 100)
    assert (config.lr.lr, config.lr.policy, config.lr.end_lr) == (0.1, "step", 0)
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, 1e-4)
    assert config.data.train.workers == usable_cores()
    assert config.data.train.output.mean == pytest.approx((0.481, 0.457, 0.408))
    assert config.data.train.output.std == pytest.approx((0.233, 0.229, 0.230))
    assert logged(config)["cache_size"] == config.data.train.cache_bytes == 1073742000


@pytest.mark.parametrize("text", ["0.5,0.25,0.125", "127.5,63.75,31.875", "127.5 63.75 31.875"])
def test_colours_are_taken_in_both_units(text: str) -> None:
    options = parse("--data-mean", text)
    assert settings.output_config(options).mean == (0.5, 0.25, 0.125)
    assert settings.channels(text, "") == (127.5, 63.75, 31.875)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("1h30m", 5400), ("45s", 45), ("1.5h", 5400), ("60", 60)],
)
def test_times(text: str, seconds: float) -> None:
    assert settings.seconds(text) == seconds


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("-a resnet5", "Did you mean resnet50?"),
        ("--data-mean 1,2", "--data-mean must be three numbers"),
        ("--data-std 0,1,1", "more than 0"),
        ("--time-budget soon", "'soon' is not a duration; use 2h, 90m"),
        ("--interpolation bicubic", "must be bilinear or triangular, not 'bicubic'"),
        ("--num-classes 3", "fewer than the 6 classes"),
        ("-b 0", "--batch-size must be at least 1, not 0"),
        ("--mixup nan", "--mixup must be at least 0"),
        ("--autotune-threshold 2", "must be at most 1"),
        ("--scans 5 --scan-schedule 2@0", "--scans and --scan-schedule cannot both choose"),
        ("--scans 5 --autotune-scans", "cannot both choose"),
        ("--scan-schedule five", "five"),
        ("--augmentation autoaugment", "needs --loader pytorch"),
        ("--dataset-class MinIOFolder", "needs --loader pytorch"),
        ("--name ../elsewhere", "must be a name within the workspace"),
        ("--report-file ../log.json", "--report-file must be a file name in the run's folder"),
        ("--checkpoint-filename sub/c.pth.tar", "--checkpoint-filename must be a file name in"),
        ("--checkpoint-filename experiment_report.json", "would replace the run log"),
        ("--report-file checkpoint.pth.tar", "would replace the run log"),
        (
            "--checkpoint-filename model_best.pth.tar",
            "begins like another file of the run's folder",
        ),
        ("--run-epochs 0", "--run-epochs must be at least 1, or -1, not 0"),
        ("--optimizer-batch-size -2", "--optimizer-batch-size must be at least 1, or -1, not -2"),
        (
            "-l synthetic --synth-val-samples 0",
            "--synth-val-samples must be at least 1, or -1, not 0",
        ),
        ("--profile-n -2", "--profile-n must be at least -1"),
        ("--stage jpeg10", "must be PATH@EPOCH"),
        ("--stage a@0", "leave out --data"),
        ("-l prc", "not 'prc'. Did you mean pcr?"),
    ],
)
def test_what_cannot_be_is_one_sentence(pcr_set: Path, arguments: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        prepare("-d", pcr_set, *arguments.split())
    assert sentence in str(error.value)
    assert not Path("logs").exists()


def test_fidelity_options(pcr_set: Path) -> None:
    config = prepare("-d", pcr_set, "--scans", 5, "--val-scans", 7)
    assert isinstance(config.fidelity, Curriculum)
    assert [config.fidelity.at(epoch).scans for epoch in (0, 80)] == [5, 5]
    assert config.data.val_scans == 7
    assert (logged(config)["scans"], logged(config)["variant"]) == (5, "pcr-5")
    config = prepare("-d", pcr_set, "--scan-schedule", "2@0,5@45,10@80")
    assert isinstance(config.fidelity, Curriculum)
    assert [config.fidelity.at(epoch).scans for epoch in (0, 44, 45, 80)] == [2, 2, 5, 10]
    assert logged(config)["scans"] == "2@0,5@45,10@80"
    assert logged(config)["dataset"] == "photos"
    config = prepare(
        "-d", pcr_set, "--autotune-scans", "--autotune-every", 3, "--autotune-batches", 2,
        "--autotune-threshold", 0.8,
    )  # fmt: skip
    assert isinstance(config.fidelity, AutotuneConfig)
    assert (config.fidelity.every_epochs, config.fidelity.batches) == (3, 2)
    assert config.fidelity.threshold == 0.8
    assert logged(config)["scans"] == "auto"


def test_size_and_curriculum_options(pcr_set: Path, sample_set: Path, tmp_path: Path) -> None:
    sized = prepare("-d", sample_set, "--size-schedule", "32@0,64@2", "--image-size", 64)
    assert logged(sized)["variant"] == "raw-32@0,64@2px"
    config = prepare(
        "-d", pcr_set, "--scans", 5, "--size-schedule", "32@0,64@2", "--image-size", 64
    )
    assert isinstance(config.fidelity, Curriculum)
    assert config.fidelity.at(1) == Fidelity(5, 32)
    told = logged(config)
    assert (told["scans"], told["size_schedule"], told["curriculum"]) == (5, "32@0,64@2", None)
    assert told["variant"] == "pcr-5-32@0,64@2px"
    file = tmp_path / "mine.toml"
    file.write_text('[[step]]\nfrom = 0\nscans = 2\nsize = "50%"\n[[step]]\nfrom = "50%"\n')
    config = prepare("-d", pcr_set, "--curriculum", file, "--image-size", 64, "-e", 4)
    assert isinstance(config.fidelity, Curriculum)
    assert config.fidelity.points == ((0, Fidelity(2, 32)), (2, Fidelity()))
    told = logged(config)
    assert (told["scans"], told["curriculum"], told["variant"]) == ("2@0,all@2", "mine", "pcr-mine")
    config = prepare("-d", pcr_set, "--curriculum", "auto", "--image-size", 64)
    assert isinstance(config.fidelity, AutotuneConfig)
    assert config.fidelity.ladder is not None and Fidelity(2, 40, True) in config.fidelity.ladder
    told = logged(config)
    assert (told["curriculum"], told["variant"]) == ("auto", "pcr-auto-curriculum")
    with pytest.raises(UsageError, match="cannot be combined"):
        prepare("-d", pcr_set, "--curriculum", "auto", "--size-schedule", "32")
    with pytest.raises(UsageError, match="cannot both choose"):
        prepare("-d", pcr_set, "--curriculum", "auto", "--scans", 3)


def test_the_same_command_with_the_synthetic_loader(pcr_set: Path) -> None:
    config = prepare("-d", pcr_set, "-l", "synthetic", "--scans", 5)
    assert config.fidelity is None
    assert config.data.val_synthetic_images == 12
    assert logged(config)["variant"] == "synthetic"
    config = prepare("-l", "synthetic", "--synth-train-samples", 1000)
    assert (config.data.train.synthetic_images, config.data.val) == (1000, None)
    assert config.model.num_classes == 1000
    assert logged(config)["dataset"] == "synthetic"


def test_the_sample_set_decides_what_is_not_given() -> None:
    basics, sentence = settings.choose_basics(parse("-e", 3, "--lr", 0.5), sample=True)
    assert (basics.arch, basics.epochs, basics.lr) == ("small_cnn", 3, 0.5)
    assert sentence is not None
    assert "--arch small_cnn" in sentence
    assert "--epochs" not in sentence
    assert settings.choose_basics(parse(), sample=False) == (settings.USUAL, None)


def test_names_and_folders(pcr_set: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = prepare("-d", pcr_set, "--scans", 5)
    assert re.fullmatch(r"logs/resnet50-photos-pcr-5scans-\d{8}-\d{6}", str(config.folder))
    assert logged(config)["experiment_name"] == config.folder.name
    assert prepare("-d", pcr_set, "-n", "a/b", "--workspace", "w").folder == Path("w/a/b")
    monkeypatch.setenv("DL2_HOME", str(work / "home"))
    assert prepare("-d", pcr_set, "-n", "run").folder == work / "home" / "logs" / "run"
    checkpoint = work / "elsewhere" / "run" / "checkpoint.pth.tar"
    with pytest.raises(UsageError, match="There is no checkpoint"):
        prepare("-d", pcr_set, "--resume", checkpoint)
    checkpoint.parent.mkdir(parents=True)
    torch.save({"format": FORMAT, "version": VERSION}, checkpoint)
    assert prepare("-d", pcr_set, "--resume", checkpoint).folder == checkpoint.parent
    assert prepare("-d", pcr_set, "--resume", checkpoint.parent).folder == checkpoint.parent


def test_ranks_agree_on_a_name_and_share_the_cores(
    pcr_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    names = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("LOCAL_RANK", rank)
        config = prepare("-d", pcr_set)
        names.append(config.folder)
        time.sleep(1.1)  # the clock is no name that both know
    assert names[0] == names[1]
    assert config.data.train.workers == max(usable_cores() // 2, 1)
    assert logged(config)["distributed"]
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="On several machines, --name"):
        train_folder.choose(parse(), *choice_and_basics(pcr_set), None, read_launch())


def choice_and_basics(data: Path) -> tuple[Any, settings.Basics]:
    from dl2cli.training.data_source import find_data

    return find_data(data, None), settings.USUAL


def test_the_command_that_goes_on() -> None:
    checkpoint = Path("my logs/checkpoint.pth.tar")
    given = parse("-d", "my data", "--resume", "old.tar", "--overwrite", "--time-budget", "2h")
    command = train_resume.resume_command(given, Launch(), checkpoint)
    assert command == "dl2 train --resume 'my logs/checkpoint.pth.tar' --time-budget 2h"
    ranks = Launch(world_size=4, local_world_size=2)
    command = train_resume.resume_command(parse(), ranks, checkpoint)
    assert command.startswith("torchrun --nproc-per-node 2 -m dl2cli train --resume")


def test_the_help_shows_whole_names_at_80_columns() -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["train", "--help"]).output
    assert "…" not in shown
    for name in ("--synth-train-samples", "--no-save-checkpoints", "--autotune-threshold"):
        assert name in shown
