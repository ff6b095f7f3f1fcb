"""The container's entry point, run here as it is, and what run_docker.sh asks of an engine."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCKER = Path(__file__).parents[2] / "docker"
INSTALLED = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def entrypoint(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(DOCKER / "entrypoint.sh"), *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": INSTALLED},
    )


def test_subcommands_go_to_dl2() -> None:
    for words in ((), ("--help",), ("help", "convert"), ("dl2", "--version")):
        ended = entrypoint(*words)
        assert ended.returncode == 0, ended.stderr
        assert "dl2" in ended.stdout
    # ImageMagick has a program of that name; the subcommand is meant.
    assert "dl2 convert" in entrypoint("convert", "--help").stdout


def test_any_other_command_runs_as_it_is() -> None:
    assert entrypoint("sh", "-c", "echo $((6 * 7))").stdout == "42\n"
    assert entrypoint(sys.executable, "-c", "print(1)").stdout == "1\n"
    assert entrypoint("no-such-command").returncode == 127


@pytest.mark.skipif(os.path.ismount("/work"), reason="something is mounted at /work here")
def test_no_run_is_lost_with_the_container(tmp_path: Path) -> None:
    for words in (("train",), ("dl2", "train", "--epochs", "1")):
        ended = entrypoint(*words)
        assert ended.returncode == 2
        assert "no folder is mounted at /work" in ended.stderr
    assert entrypoint("train", "--help").returncode == 0


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """An engine that has no images and prints the arguments it is given, one a line."""
    path = tmp_path / "engine"
    path.write_text('#!/bin/sh\n[ "$1" != image ] || exit 1\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return path


def run_docker(engine: Path, folder: Path, *words: str, **variables: str) -> list[str]:
    ended = subprocess.run(
        ["bash", str(DOCKER / "run_docker.sh"), *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "ENGINE": str(engine), **variables},
    )
    return ended.stdout.splitlines()


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="a GPU changes the options")
def test_a_command_is_passed_through(engine: Path, tmp_path: Path) -> None:
    given = run_docker(engine, tmp_path, "dl2", "convert", "my photos", "out")
    assert given[-5:] == ["dl2:cpu", "dl2", "convert", "my photos", "out"]
    assert given[given.index("--volume") + 1] == f"{tmp_path}:/work"
    assert given[given.index("--user") + 1] == f"{os.getuid()}:{os.getgid()}"
    assert given[given.index("--shm-size") + 1] == "8g"
    assert not {"--tty", "--gpus"} & set(given)


def test_without_a_command_there_is_a_shell(engine: Path, tmp_path: Path) -> None:
    assert run_docker(engine, tmp_path)[-1] == "bash"


def test_other_folders_and_images(engine: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    given = run_docker(
        engine, tmp_path, "true",
        DL2_DATA="elsewhere", DL2_LOGS="runs/all", DL2_IMAGE="mine", DL2_SHM="1g",
    )  # fmt: skip
    assert f"{tmp_path}/elsewhere:/work/data" in given
    assert f"{tmp_path}/runs/all:/work/logs" in given
    assert (tmp_path / "runs" / "all").is_dir()
    assert given[-2:] == ["mine", "true"]
    assert given[given.index("--shm-size") + 1] == "1g"
