"""`--resume` as a user gives it: a folder, whatever its checkpoint is called."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
from train_commands import QUICK, dl2, epochs

from dl2cli.cli.train import folder as train_folder
from dl2cli.errors import UsageError

pytestmark = pytest.mark.usefixtures("work", "one_thread")


def test_the_folder_of_a_regimen_goes_on_in_its_last_stage(pcr_set: Path) -> None:
    stages = ("--stage", f"{pcr_set}@0", "--stage", f"{pcr_set}@1")
    run = (*stages, *QUICK, "-e", 3, "-n", "regimen", "--skip-validation")
    dl2(*run)
    folder = Path("logs/regimen")
    refused = dl2(*run, code=1)
    assert "--resume logs/regimen," in str(refused.exception)  # what it says must work
    dl2(*stages, *QUICK, "-e", 4, "--skip-validation", "--resume", folder)
    assert epochs(folder / "experiment_report_stage_0.json") == [0]
    assert epochs(folder / "experiment_report_stage_1.json") == [1, 2, 3]
    assert json.loads((folder / "regimen_log.json").read_text())["stage_1"]["epochs"] == 3


def test_a_folder_knows_its_checkpoint_by_another_name(pcr_set: Path) -> None:
    name = ("--checkpoint-filename", "last.pth.tar")
    dl2("-d", pcr_set, *QUICK, "-e", 2, "--run-epochs", 1, "-n", "run", *name)
    dl2("-d", pcr_set, *QUICK, "-e", 2, "--resume", "logs/run", *name)
    assert epochs(Path("logs/run/experiment_report.json")) == [0, 1]
    refused = dl2("-d", pcr_set, *QUICK, "-e", 2, "--resume", "logs/run", code=1)
    assert isinstance(refused.exception, UsageError)
    for part in ("logs/run holds no checkpoint.pth.tar", "last.pth.tar", "--overwrite"):
        assert part in str(refused.exception)


def test_validation_alone_leaves_the_run_as_it_is(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 1)
    dl2(*run, "-n", "run")
    folder = Path("logs/run")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    alone = (*run, "--skip-training", "--resume", folder)
    shown = dl2(*alone, "--json")
    assert json.loads(shown.stdout)["folder"] != str(folder)
    for name in ((), ("--overwrite",)):
        refused = dl2(*alone, "-n", "run", *name, code=1)
        assert "give this one another --name" in str(refused.exception)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_overwrite_leaves_nothing_that_reads_as_the_new_run(pcr_set: Path) -> None:
    pytest.importorskip("tensorboard")
    run = ("-d", pcr_set, *QUICK, "-e", 1, "-n", "run", "--overwrite")
    folder = Path("logs/run")
    dl2(*run, "--track", "tensorboard", "--profile-n", 1)
    (old,) = (folder / "tensorboard").iterdir()
    (folder / "tensorboard" / "notes.txt").write_text("mine")
    (folder / "experiment_report_old_1.json").write_bytes(
        (folder / "experiment_report.json").read_bytes()
    )
    dl2(*run)
    assert not old.exists()
    assert not (folder / "profile_trace.json").exists()
    assert not (folder / "experiment_report_old_1.json").exists()
    assert (folder / "tensorboard" / "notes.txt").exists()


def test_other_options_than_those_of_the_run_are_told(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-n", "run")
    same = ("--lr", 0.5, "-e", 4)
    dl2(*run, *same, "--run-epochs", 1)
    as_before = dl2(*run, *same, "--run-epochs", 1, "--resume", "logs/run")
    assert "Changed since" not in as_before.stderr
    other = dl2(*run, "-e", 3, "--lr", 0.1, "--resume", "logs/run")
    told = " ".join(other.stderr.split())
    assert "Changed since the run was interrupted: epochs 3 (was 4), lr 0.1 (was 0.5)." in told
    done = dl2(*run, "-e", 3, "--resume", "logs/run")
    assert "Nothing is left to train: 3 epochs of 3 are done." in " ".join(done.stderr.split())


@pytest.mark.parametrize("wrong", [("--scans", 50), ("--val-scans", 50), ("-b", 4000)])
def test_a_run_is_not_replaced_by_one_that_cannot_be(pcr_set: Path, wrong: tuple[str, int]) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 1, "-n", "run")
    dl2(*run)
    folder = Path("logs/run")
    before = {path: path.read_bytes() for path in folder.iterdir()}
    refused = dl2(*run, "--overwrite", *wrong, code=1)
    assert isinstance(refused.exception, UsageError)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


def test_the_stages_of_a_regimen_replace_the_earlier_run_once(pcr_set: Path) -> None:
    stages = ("--stage", f"{pcr_set}@0", "--stage", f"{pcr_set}@1")
    run = (*stages, *QUICK, "-e", 2, "-n", "regimen", "--skip-validation", "--overwrite")
    dl2(*run)
    dl2(*run)
    folder = Path("logs/regimen")
    assert [epochs(folder / f"experiment_report_stage_{n}.json") for n in (0, 1)] == [[0], [1]]
    assert (folder / "checkpoint_0.pth.tar").exists()
    assert not list(folder.glob("*_old_*"))


def test_other_data_than_that_of_the_run_is_refused(pcr_set: Path, sample_set: Path) -> None:
    run = (*QUICK, "-e", 2, "-n", "run")
    dl2("-d", pcr_set, *run, "--run-epochs", 1)
    other = Path("other")
    for kind in ("train", "val"):
        for label, folder in enumerate(sorted((sample_set / kind).iterdir())):
            (other / kind).mkdir(parents=True, exist_ok=True)
            (other / kind / f"class{label}").symlink_to(folder)
    refused = dl2("-d", other, "-l", "pytorch", *run, "--resume", "logs/run", code=1)
    assert isinstance(refused.exception, UsageError)
    assert "6 other classes (class0, class1, class2, ...)" in str(refused.exception)
    assert "--data" in str(refused.exception)


def test_a_plain_resume_takes_the_options_of_the_run(
    pcr_set: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pcr_set.parent)
    workspace = work / "logs"
    run = ("-d", pcr_set.name, *QUICK, "-e", 3, "--lr", 0.5, "--nesterov", "--scans", 3)
    dl2(*run, "--run-epochs", 1, "-n", "run", "--workspace", workspace, "--time-budget", "2h")
    monkeypatch.chdir(work)  # the path of the data was relative
    resumed = dl2("--resume", "logs/run", "--run-epochs", 1)
    told = " ".join(resumed.stderr.split())
    assert "Options taken from the run:" in told
    for option in ("--lr 0.5", "--nesterov", "--scans 3", f"--data {pcr_set}", "--epochs 3"):
        assert option in told
    assert "--time-budget" not in told
    assert "Changed since" not in told
    assert "2 of 3" in resumed.stdout
    other = dl2("--resume", "logs/run", "--scan-schedule", "2@0,4@2", "--wd", 0.1)
    told = " ".join(other.stderr.split())
    assert "--scans 3" not in told  # one choice of the fidelity replaces the other
    assert (
        "Changed since the run was interrupted: "
        "weight_decay 0.1 (was 0.0001), scans 2@0,4@2 (was 3)." in told
    )
    assert epochs(workspace / "run" / "experiment_report.json") == [0, 1, 2]


def sizes_px(log: Path) -> list[int]:
    lines = (json.loads(line.removeprefix("DLLL ")) for line in log.read_text().splitlines())
    found = (line["data"].get("e.size") for line in lines if line["type"] == "LOG")
    return [size_px for size_px in found if size_px is not None]


def test_a_curriculum_goes_on_and_is_replaced_by_another_choice(
    pcr_set: Path, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = work / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.toml").write_text(
        "[[step]]\nfrom = 0\nscans = 2\nsize = 16\n[[step]]\nfrom = 1\nsize = 24\n"
    )
    monkeypatch.chdir(elsewhere)
    run = ("-d", pcr_set, *QUICK, "--image-size", 32, "-e", 4, "--curriculum", "mine.toml")
    dl2(*run, "--run-epochs", 1, "-n", "run", "--workspace", work / "logs")
    monkeypatch.chdir(work)
    told = " ".join(dl2("--resume", "logs/run", "--run-epochs", 1).stderr.split())
    assert f"--curriculum {elsewhere / 'mine.toml'}" in told
    assert "the schedule changes to 10 scans, 24 pixels" in told
    told = " ".join(dl2("--resume", "logs/run", "--size-schedule", "16@0,32@2").stderr.split())
    assert "--curriculum" not in told
    assert "curriculum None (was mine)" in told
    assert sizes_px(Path("logs/run/experiment_report.json")) == [16, 24, 32, 32]


def test_a_regimen_follows_a_size_schedule(pcr_set: Path) -> None:
    stages = ("--stage", f"{pcr_set}@0", "--stage", f"{pcr_set}@2", "--skip-validation")
    dl2(*stages, *QUICK, "--image-size", 32, "-e", 3, "-n", "r", "--size-schedule", "16@0,32@1")
    logs = [Path(f"logs/r/experiment_report_stage_{n}.json") for n in (0, 1)]
    assert [sizes_px(log) for log in logs] == [[16, 32], [32]]


def test_a_regimen_needs_no_options_to_go_on(pcr_set: Path) -> None:
    stages = ("--stage", f"{pcr_set}@0", "--stage", f"{pcr_set}@1")
    dl2(*stages, *QUICK, "-e", 3, "-n", "regimen", "--skip-validation", "--run-epochs", 2)
    dl2("--resume", "logs/regimen")
    assert epochs(Path("logs/regimen/experiment_report_stage_1.json")) == [1, 2]


def test_resume_auto_begins_and_goes_on(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 2, "-n", "job", "--resume", "auto")
    refused = dl2(*run[:-4], "--resume", "auto", code=1)
    assert "--resume auto needs --name" in str(refused.exception)
    dl2(*run, "--run-epochs", 1)
    assert epochs(Path("logs/job/experiment_report.json")) == [0]
    dl2(*run)
    assert epochs(Path("logs/job/experiment_report.json")) == [0, 1]
    Path("logs/job/checkpoint.pth.tar").unlink()
    dl2(*run)  # what saved nothing is begun anew
    assert epochs(Path("logs/job/experiment_report.json")) == [0, 1]


def test_two_trainings_do_not_share_a_folder(pcr_set: Path) -> None:
    run = ("-d", pcr_set, *QUICK, "-e", 1, "-n", "run")
    Path("logs/run").mkdir(parents=True)
    holder = os.open("logs/run", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        refused = dl2(*run, code=1)
        assert "Another process trains in logs/run" in str(refused.exception)
    finally:
        os.close(holder)
    dl2(*run)


def test_automatic_names_are_made_exclusively(tmp_path: Path) -> None:
    made = [train_folder.make_new(tmp_path / "logs" / "run") for _ in range(3)]
    assert [folder.name for folder in made] == ["run", "run-2", "run-3"]
    assert all(folder.is_dir() for folder in made)


def test_a_run_that_cannot_begin_leaves_no_folder(pcr_set: Path) -> None:
    dl2("-d", pcr_set, *QUICK, "-e", 1, "--scans", 50, code=1)
    assert not list(Path("logs").iterdir())
