"""`dl2 train` as a user types it: options, folders, exit codes, stopping and going on."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from dl2cli.cli import train as train_command
from dl2cli.cli import train_folder
from dl2cli.cli import train_settings as settings
from dl2cli.cli.main import app
from dl2cli.cli.output import Output
from dl2cli.cli.train_options import ALIASES, TrainOptions, command
from dl2cli.errors import UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert, split_configs
from dl2cli.training.config import TrainConfig

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
QUICK = ("-a", "small_cnn", "--image-size", "32", "-b", "4", "-w", "1", "--device", "cpu")


@pytest.fixture(scope="module")
def pcr_set(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pcr") / "photos"
    for config in split_configs(ConvertConfig(sample_set, out, images_per_record=8)):
        convert(config)
    return out


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    """The nets are too small for threads, and other tests run beside these."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, without what torchrun or the user may have set."""
    monkeypatch.chdir(tmp_path)
    for name in ("DL2_HOME", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def parse(*arguments: object) -> TrainOptions:
    seen: list[TrainOptions] = []
    program = typer.Typer()
    names = {"token_normalize_func": lambda name: ALIASES.get(name, name)}
    program.command(context_settings=names)(command(seen.append, {}))
    run = CliRunner().invoke(program, [str(argument) for argument in arguments])
    if isinstance(run.exception, UsageError):
        raise run.exception
    assert run.exit_code == 0, run.output
    return seen[0]


def prepare(*arguments: object) -> TrainConfig:
    return train_command._prepare(parse(*arguments), Output())[0]


def dl2(*arguments: object, code: int = 0) -> Any:
    run = CliRunner().invoke(app, ["train", *(str(argument) for argument in arguments)])
    assert run.exit_code == code, (run.output, run.exception)
    return run


def first_record(log: Path) -> dict[str, Any]:
    record = json.loads(log.read_text().partition("\n")[0].removeprefix("DLLL "))
    assert record["step"] == ["P"]
    data: dict[str, Any] = record["data"]
    return data


def epochs(log: Path) -> list[int]:
    records = [json.loads(line[5:]) for line in log.read_text().splitlines()]
    steps = [record["step"] for record in records if record["type"] == "LOG"]
    return list(dict.fromkeys(step[1] for step in steps if step[0] == "E"))


def test_the_published_command_line_word_for_word(
    sample_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = prepare("-d", sample_set, *PUBLISHED.split())
    told = capsys.readouterr().err
    assert f"Data: the ImageFolder {sample_set}/train; loader dali-cpu." in told.replace("\n", " ")
    assert ("--amp makes a CPU slower" in told) != torch.cuda.is_available()
    assert (config.model.arch, config.model.num_classes) == ("resnet50", 6)
    assert (config.data.loader, config.data.workers, config.data.batch_size) == ("dali-cpu", 8, 256)
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
    assert config.scans is None


def test_parameters_are_the_published_ones_in_their_order(sample_set: Path) -> None:
    parameters = prepare("-d", sample_set, *PUBLISHED.split()).parameters
    assert list(parameters)[: len(PUBLISHED_KEYS)] == PUBLISHED_KEYS
    assert set(parameters) - set(PUBLISHED_KEYS) >= {"scans", "dataset", "variant"}
    assert json.loads(json.dumps(parameters)) == parameters
    assert parameters["data_mean"] == [122.655, 116.535, 104.04]
    assert (parameters["run_epochs"], parameters["resume"], parameters["seed"]) == (-1, None, None)
    assert parameters["variant"] == "raw"
    assert parameters["workspace"] == "logs/native-test"


def test_parameters_agree_in_type_with_every_published_log(
    test_data: Path, sample_set: Path
) -> None:
    ours = prepare("-d", sample_set, *PUBLISHED.split()).parameters
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
        "run_epochs": 45, "seed": 3, "synth_train_samples": 100, "synth_val_samples": 50,
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
    parameters = prepare("-d", sample_set, *options, *names).parameters
    assert {name: parameters[name] for name in given} == given
    assert all(parameters[name] is True for name in flags)
    others = ["--nesterov", "--dynamic-loss-scale"]  # not with rmsprop, nor with a static one
    parameters = prepare("-d", sample_set, *others).parameters
    assert parameters["nesterov"] is parameters["dynamic_loss_scale"] is True
    decided = {"data", "data_mean", "data_std", "workspace", "resume", "distributed", "nesterov"}
    decided.add("dynamic_loss_scale")
    machine = {"world_size", "gpu", "local_rank"}
    assert set(PUBLISHED_KEYS) - decided - machine == set(given) | set(flags)


def test_published_negatives_mean_none(sample_set: Path) -> None:
    config = prepare(
        "-d", sample_set, "-l", "pytorch", "--run-epochs", -1, "--profile-n", -1,
        "--optimizer-batch-size", -1, "--synth-train-samples", -1, "--synth-val-samples", -1,
        "--resume", "", "--augmentation", "null",
    )  # fmt: skip
    assert (config.run_epochs, config.profile_steps, config.optimizer_batch_size) == (None, 0, None)
    assert (config.data.synthetic_train, config.data.synthetic_val) == (None, None)
    assert config.checkpoint.resume is None
    assert not config.data.auto_augment
    assert config.parameters["resume"] == ""


def test_defaults_are_those_of_the_lineage(sample_set: Path) -> None:
    config = prepare("-d", sample_set, "-l", "pytorch")
    assert (config.model.arch, config.data.transform.size) == ("resnet50", 224)
    assert (config.data.batch_size, config.epochs, config.print_freq) == (256, 90, 100)
    assert (config.lr.lr, config.lr.policy, config.lr.end_lr) == (0.1, "step", 0)
    assert (config.optimizer.momentum, config.optimizer.weight_decay) == (0.9, 1e-4)
    assert config.data.workers == len(os.sched_getaffinity(0))
    assert config.data.output.mean == pytest.approx((0.481, 0.457, 0.408))
    assert config.data.output.std == pytest.approx((0.233, 0.229, 0.230))
    assert config.parameters["cache_size"] == config.data.cache_bytes == 1073742000


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
        ("-a resnet5", "resnet50"),
        ("--data-mean 1,2", "--data-mean: '1,2' is not three numbers"),
        ("--data-std 0,1,1", "more than 0"),
        ("--time-budget soon", "'soon' is no time; 2h, 90m"),
        ("--interpolation bicubic", "there is no 'bicubic'"),
        ("--num-classes 3", "fewer than the 6 classes"),
        ("-b 0", "--batch-size must be at least 1, not 0"),
        ("--mixup nan", "--mixup must be at least 0"),
        ("--autotune-threshold 2", "must be at most 1"),
        ("--scans 5 --scan-schedule 2@0", "--scans and --scan-schedule cannot both choose"),
        ("--scans 5 --autotune-scans", "cannot both choose"),
        ("--scan-schedule five", "five"),
        ("--augmentation autoaugment", "needs --loader pytorch"),
        ("--dataset-class MinIOFolder", "needs --loader pytorch"),
        ("--name ../elsewhere", "is no name"),
        ("--stage jpeg10", "is not PATH@EPOCH"),
        ("--stage a@0", "leave out --data"),
        ("-l nothing", "There is no loader 'nothing'; there are pcr"),
    ],
)
def test_what_cannot_be_is_one_sentence(pcr_set: Path, arguments: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        prepare("-d", pcr_set, *arguments.split())
    assert sentence in str(error.value)
    assert not Path("logs").exists()


def test_fidelity_options(pcr_set: Path) -> None:
    config = prepare("-d", pcr_set, "--scans", 5, "--val-scans", 7)
    assert config.scans is not None
    assert (config.scans.scans_at(0), config.scans.scans_at(80)) == (5, 5)
    assert config.data.val_scans == 7
    assert (config.parameters["scans"], config.parameters["variant"]) == (5, "pcr-5")
    config = prepare("-d", pcr_set, "--scan-schedule", "2@0,5@45,10@80")
    assert config.scans is not None
    assert [config.scans.scans_at(epoch) for epoch in (0, 44, 45, 80)] == [2, 2, 5, 10]
    assert config.parameters["scans"] == "2@0,5@45,10@80"
    assert config.parameters["dataset"] == "photos"
    config = prepare(
        "-d", pcr_set, "--autotune-scans", "--autotune-every", 3, "--autotune-batches", 2,
        "--autotune-threshold", 0.8,
    )  # fmt: skip
    assert config.autotune is not None
    assert (config.autotune.every_epochs, config.autotune.batches) == (3, 2)
    assert config.autotune.threshold == 0.8
    assert config.parameters["scans"] == "auto"


def test_the_same_command_with_the_synthetic_loader(pcr_set: Path) -> None:
    config = prepare("-d", pcr_set, "-l", "synthetic", "--scans", 5)
    assert config.scans is None
    assert config.data.synthetic_val == 12
    assert config.parameters["variant"] == "synthetic"
    config = prepare("-l", "synthetic", "--synth-train-samples", 1000)
    assert (config.data.synthetic_train, config.data.val) == (1000, None)
    assert config.model.num_classes == 1000
    assert config.parameters["dataset"] == "synthetic"


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
    assert config.parameters["experiment_name"] == config.folder.name
    assert prepare("-d", pcr_set, "-n", "a/b", "--workspace", "w").folder == Path("w/a/b")
    monkeypatch.setenv("DL2_HOME", str(work / "home"))
    assert prepare("-d", pcr_set, "-n", "run").folder == work / "home" / "logs" / "run"
    checkpoint = work / "elsewhere" / "run" / "checkpoint.pth.tar"
    with pytest.raises(UsageError, match="There is no checkpoint"):
        prepare("-d", pcr_set, "--resume", checkpoint)
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()
    assert prepare("-d", pcr_set, "--resume", checkpoint).folder == checkpoint.parent
    assert prepare("-d", pcr_set, "--resume", checkpoint.parent).folder == checkpoint.parent


def test_ranks_agree_on_a_name_and_share_the_cores(
    pcr_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    names = []
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        config = prepare("-d", pcr_set)
        names.append(config.folder)
        time.sleep(1.1)  # the clock is no name that both know
    assert names[0] == names[1]
    assert config.data.workers == max(len(os.sched_getaffinity(0)) // 2, 1)
    assert config.parameters["distributed"]
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="On several machines, --name"):
        train_folder.choose(parse(), *choice_and_basics(pcr_set))


def choice_and_basics(data: Path) -> tuple[Any, settings.Basics]:
    from dl2cli.training.data_source import find_data

    return find_data(data, None), settings.USUAL


def test_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Path("my logs/checkpoint.pth.tar")
    given = ["train", "-d", "my data", "--resume", "old.tar", "--overwrite", "-e", "3"]
    wanted = "dl2 train -d 'my data' -e 3 --resume 'my logs/checkpoint.pth.tar'"
    assert train_folder.resume_command(given, checkpoint) == wanted
    given[3:5] = ["--resume=old.tar"]
    assert train_folder.resume_command(given, checkpoint) == wanted
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert train_folder.resume_command(given, checkpoint).startswith(
        "torchrun --nproc-per-node 2 -m dl2cli train -d"
    )


def test_a_run_is_never_overwritten_unasked(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 1, "-n", "first")
    dl2(*run, "--backup-checkpoints", "--seed", 1)
    folder = Path("logs/first")
    log = folder / "experiment_report.json"
    parameters = first_record(log)
    assert parameters["train_images"] == 24
    before = {path: path.read_bytes() for path in folder.iterdir()}
    refused = dl2(*run, code=1)
    assert isinstance(refused.exception, UsageError)
    for way_out in ("--resume logs/first", "--overwrite", "--name"):
        assert way_out in str(refused.exception)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    other = dl2(*run[:-1], "second", "--resume", "logs/first", "--run-epochs", 1, code=0)
    assert "1 of 1" in other.stdout
    refused = dl2(*run[:-1], "second", "--resume", "logs/first", code=1)  # not second's own
    assert "logs/second holds a run already" in str(refused.exception)
    (folder / "notes.txt").write_text("mine")
    dl2(*run, "--overwrite", "--seed", 2, "--no-save-checkpoints")
    assert first_record(log)["seed"] == 2
    names = {path.name for path in folder.iterdir()}
    assert {"experiment_report.json", "train_data_0.csv", "notes.txt"} <= names
    assert not any(name.startswith(("checkpoint", "model_best")) for name in names)


def test_json_is_one_document_and_report_reads_the_log(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 2, "--run-epochs", 1, "-n", "first", "--scans", 3)
    shown = dl2(*run, "--json")
    document = json.loads(shown.stdout, parse_constant=pytest.fail)
    assert document["schema_version"] == 1
    assert (document["epochs_done"], document["status"]) == (1, "complete")
    assert "Data: the PCR dataset" in shown.stderr
    resumed = dl2(*run[:-4], "--resume", "logs/first", "--scans", 3)
    assert "2 of 2" in resumed.stdout
    log = Path("logs/first/experiment_report.json")
    assert epochs(log) == [0, 1]
    report = CliRunner().invoke(app, ["report", "logs", "--json"])
    (row,) = json.loads(report.stdout)["tables"]["overview"]
    assert (row["variant"], row["dataset"], row["arch"]) == ("pcr-3", "photos", "small_cnn")


def test_stages_over_variants(sample_set: Path, pcr_set: Path, work: Path) -> None:
    again = work / "photos" / "pcr-again"
    shutil.copytree(pcr_set, again)
    stages = ("--stage", f"{pcr_set}@0", "--stage", f"{again}@1")
    dl2(*stages, *QUICK, "-e", 2, "-n", "regimen", "--skip-validation")
    folder = work / "logs" / "regimen"
    assert set(json.loads((folder / "regimen_log.json").read_text())) == {
        "stage_0", "stage_1", "total_time",
    }  # fmt: skip
    for number in (0, 1):
        log = folder / f"experiment_report_stage_{number}.json"
        assert epochs(log) == [number]
        assert first_record(log)["data"] == str((pcr_set, again)[number] / "train")
    report = CliRunner().invoke(app, ["report", "logs", "--json"])
    rows = json.loads(report.stdout)["tables"]["regimens"]
    assert [row["stage"] for row in rows] == [0, 1]
    refused = dl2(*stages, *QUICK, "-e", 2, "-n", "regimen", code=1)
    assert "holds a run already" in str(refused.exception)
    mixed = ("--stage", f"{pcr_set}@0", "--stage", f"{sample_set}@1")
    refused = dl2(*mixed, *QUICK, "-e", 2, "-n", "mixed", code=1)
    assert "different kinds" in str(refused.exception)


def program(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_ctrl_c_saves_and_names_the_command_that_goes_on(pcr_set: Path, work: Path) -> None:
    process = program("dl2cli", "train", "-d", pcr_set, *QUICK, "-e", 5000, "-p", 1, "-n", "run")
    log = work / "logs" / "run" / "experiment_report.json"
    while process.poll() is None and not (log.exists() and '"E", 1' in log.read_text()):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Stopped by SIGINT. To go on:" in err
    assert "Traceback" not in err
    done = epochs(log)
    arguments = shlex.split(err.strip().splitlines()[-1])
    assert arguments[:2] == ["dl2", "train"]
    dl2(*arguments[2:], "--run-epochs", 1)
    assert epochs(log) == [*done, done[-1] + 1]


def test_sigterm_has_the_exit_code_of_its_signal(pcr_set: Path) -> None:
    over = threading.Event()

    def press() -> None:
        while not over.wait(0.2):  # again, should it have come too early
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    thread = threading.Thread(target=press)
    thread.start()
    try:
        run = dl2("-d", pcr_set, *QUICK, "-e", 5000, "-n", "run", code=143)
    finally:
        over.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)
    assert "Stopped by SIGTERM. To go on:" in run.stderr


def test_a_time_budget_is_no_failure(pcr_set: Path) -> None:
    run = dl2("-d", pcr_set, *QUICK, "-e", 5000, "--time-budget", "1s", "-n", "run")
    assert "Stopped by time budget. To go on:" in run.stderr
    assert "--resume logs/run/checkpoint.pth.tar" in run.stderr


def test_torchrun_gives_one_run_and_one_voice(pcr_set: Path, work: Path) -> None:
    process = program(
        "torch.distributed.run", "--nproc-per-node", 2, "-m", "dl2cli", "train",
        "-d", pcr_set, *QUICK, "-e", 1, "--json",
    )  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert json.loads(out)["status"] == "complete"
    assert err.count("Data: ") == 1
    (folder,) = (work / "logs").iterdir()
    assert {path.name for path in folder.glob("train_data_*")} == {
        "train_data_0.csv", "train_data_1.csv",
    }  # fmt: skip
    parameters = first_record(folder / "experiment_report.json")
    assert (parameters["world_size"], parameters["distributed"]) == (2, True)


def test_torchrun_tells_an_error_once(work: Path) -> None:
    process = program(
        "torch.distributed.run", "--nproc-per-node", 2, "-m", "dl2cli", "train", "-d", "nowhere",
    )  # fmt: skip
    _, err = process.communicate(timeout=120)
    assert process.returncode != 0
    assert err.count("dl2: There is no nowhere") == 1


def test_the_help_shows_whole_names_at_80_columns() -> None:
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(app, ["train", "--help"]).output
    assert "…" not in shown
    for name in ("--synth-train-samples", "--no-save-checkpoints", "--autotune-threshold"):
        assert name in shown
