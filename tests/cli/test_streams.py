"""Streams that are closed, full, or no UTF-8; names that would steer a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

LOCALES = (
    {"PYTHONIOENCODING": "latin-1"},
    {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
)
COMMANDS = (("--help",), ("train", "--help"), ("--version",), ("env",), ("env", "--json"))


def dl2(*arguments: object, stdout: int = subprocess.PIPE, **variables: str) -> tuple[int, str]:
    """Run the program; return its exit code and what it said, on stdout and on stderr."""
    run = subprocess.run(
        [sys.executable, "-m", "dl2cli", *map(os.fsdecode, map(os.fspath, map(str, arguments)))],
        env={**os.environ, **variables},
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )
    return run.returncode, ((run.stdout or b"") + run.stderr).decode("latin-1")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An ImageFolder with an image in a class that no Latin alphabet can spell."""
    folder = tmp_path / "src" / "日本"
    folder.mkdir(parents=True)
    Image.radial_gradient("L").save(folder / "a.jpg")
    return folder.parent


@pytest.mark.parametrize("locale", LOCALES)
def test_a_locale_that_is_no_utf8(source: Path, tmp_path: Path, locale: dict[str, str]) -> None:
    out = tmp_path / "out"
    for command in (
        ("convert", source, out),
        ("inspect", out, "--against", source),
        ("inspect", out, "--json"),
        ("extract", out, tmp_path / "back"),
        ("analyze-images", source),
        ("train", "--help"),
    ):
        code, text = dl2(*command, **locale)
        assert code == 0, (command, text)
        assert "unexpected" not in text
    assert (tmp_path / "back" / "日本" / "a.jpg").is_file()
    _, text = dl2("inspect", out, "--json")
    assert "日本" in text.encode("latin-1").decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_leaves_is_no_error(command: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    assert dl2(*command, stdout=write) == (0, "")
    os.close(write)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_stdout_is_one_sentence(command: tuple[str, ...]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    code, text = dl2(*command, stdout=full)
    os.close(full)
    sentence = "dl2: Standard output cannot be written: No space left on device.\n"
    assert (code, text) == (1, sentence)


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_streams_that_are_closed(source: Path, tmp_path: Path, redirection: str) -> None:
    line = f"'{sys.executable}' -m dl2cli convert '{source}' '{tmp_path}/out' {redirection}"
    run = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert b"unexpected" not in run.stderr
    assert dl2("inspect", tmp_path / "out", "--verify")[0] == 0


NAMES = (
    "\x1b[2J\x1b[31mx.jpg",
    "photo[old].jpg",
    "a:smile:b.jpg",
    "new\nline.jpg",
    "\u202egpj.exe",
)


def test_names_of_files_are_shown_as_they_are(source: Path, tmp_path: Path) -> None:
    for name in NAMES:
        (source / "日本" / name).with_suffix(".jpg").write_bytes(b"no image")
    (source / "x[").mkdir()
    (source / "x[" / "b].jpg").write_bytes(b"no image")
    for command in (
        ("convert", source, tmp_path / "out"),
        ("analyze-images", source),
        ("convert", source, tmp_path / "[red]out"),
        ("inspect", tmp_path / "[/red]:smile:\x1b[2J"),
    ):
        _, text = dl2(*command, COLUMNS="200")
        assert "unexpected" not in text
        assert "\x1b" not in text
        shown = text.encode("latin-1").decode()
        assert "\u202e" not in shown
        if command[0] == "inspect":
            assert r"[/red]:smile:\x1b[2J" in shown
        else:
            for part in (r"\x1b[2J\x1b[31mx.jpg", "[old]", ":smile:", r"new\nline", r"\u202e"):
                assert part in shown, (command, part)
            assert "x[/b].jpg" in shown
