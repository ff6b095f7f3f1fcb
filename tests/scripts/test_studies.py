"""The studies as commands: every command is one that dl2 takes; the small one runs to its page."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dl2cli.cli.main import COMMANDS

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(*command: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*map(str, command)],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["command_list.sh", "reproduce_small.sh"])
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    found = run("shellcheck", "-x", SCRIPTS / name)
    assert found.stdout == ""


def test_every_command_of_the_list_has_the_options_that_it_names() -> None:
    listed = run("bash", SCRIPTS / "command_list.sh")
    assert listed.returncode == 0
    lines = listed.stdout.splitlines()
    assert len(lines) > 100
    known = {command.name: command.options for command in COMMANDS}
    for line in lines:
        words = shlex.split(line, comments=True)
        if words[0] == "rsync":
            continue
        if words[0] == "torchrun":
            words = words[words.index("dl2cli") :]
        name, *rest = words[1:]
        names = {n for p in known[name].parameters() for n in (*p.names, *p.declared.aliases)}
        given = {word for word in rest if re.match(r"-{1,2}[a-z]", word)}
        assert given <= names | {"&&"}, line


def test_an_experiment_that_is_not_there_gets_the_usage() -> None:
    found = run("bash", SCRIPTS / "command_list.sh", "h9")
    assert found.returncode == 2
    assert "command_list.sh [EXPERIMENT...]" in found.stderr


def test_the_textures_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        made = run(
            sys.executable, SCRIPTS / "make_textures.py", tmp_path / name, "--images", 20,
            "--side", 24,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
    files = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in tmp_path.glob("a/*/*/*.jpg")}
    assert len(files) == 20
    assert all((tmp_path / "b" / name).read_bytes() == files[name] for name in files)


# One step of each kind is enough here: what only repeats it counts as done.
REPEATED = (
    *(f"accuracy-textures-{name}-seed1" for name in ("pcr-2", "pcr-1", "raw", "schedule")),
    *(f"accuracy-textures-{name}-seed1" for name in ("jpeg-10", "jpeg-25", "regimen")),
    *(f"rates-photos-{name}-mem" for name in ("jpeg10", "webp10", "pcr-k10", "pcr-k1", "raw-w1")),
    *(f"rates-photos-{name}-1MBs" for name in ("jpeg10", "webp10", "pcr-k10", "pcr-k1", "raw")),
    *("rates-photos-raw-w2-mem", "rates-photos-pcr-k5-mem", "cache-photos-minio35"),
    *("cache-photos-minio65", "accuracy-textures-autotune-0.98-seed1"),
)


@pytest.mark.slow
def test_the_small_study_goes_through_and_ends_with_a_page(
    sample_set: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("jinja2")
    (tmp_path / "out" / "steps").mkdir(parents=True)
    for name in REPEATED:
        (tmp_path / "out" / "steps" / f"{name}.done").touch()
    command = ("bash", SCRIPTS / "reproduce_small.sh", "--quick", tmp_path / "out", sample_set)
    found = run(*command, OMP_NUM_THREADS="1")
    assert found.returncode == 0, found.stderr
    page = (tmp_path / "out" / "report.html").read_text()
    for title in ("Rate and distortion", "Accuracy for bytes", "MinIO"):
        assert title in page, title
    again = run(*command)
    assert again.returncode == 0
    assert not re.search(r"^\d\d:\d\d:\d\d ", again.stdout, re.MULTILINE)  # no step again
