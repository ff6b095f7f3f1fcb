"""How options are declared: conversion, bounds, words, the help, completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options, argument, flag, no, option
from dl2cli.cli.framework.program import build
from dl2cli.cli.main import COMMANDS
from dl2cli.cli.reference import reference
from dl2cli.errors import UsageError


class _First(Options):
    panel = "First"

    count: int = option("Count.", "--count", "-c", default=3, least=1, most=9)
    ratio: float | None = option("Ratio.", least=0)
    kind: Literal["one", "two"] = option("Kind.", default="one")
    some: tuple[int, ...] = option("Some.", default=(), least=1)
    words: tuple[Literal["red", "green"], ...] = option("Words.", default=())
    each: list[float] | None = option("Each.")
    pair: tuple[str, str] | None = option("Pair.")
    fast: bool = flag("Be fast.")
    safe: bool = no("Do not be safe.", aliases=("--unsafe",))
    name: str | None = option("Name.", aliases=("--title",), completes=lambda: ("ann", "bob"))


class _All(_First):
    source: Path = argument("SOURCE", "Source.")
    rest: list[Path] | None = argument("REST", "Rest.")


def parse(*arguments: str) -> Any:
    seen: list[_All] = []
    command = Command("try", _All, seen.append, "Try.", "", ("x",), "Group")
    build(command).main(list(arguments), standalone_mode=False)
    return seen[0]


def test_defaults() -> None:
    given = parse("a")
    assert (given.source, given.rest, given.count, given.ratio) == (Path("a"), None, 3, None)
    assert (given.kind, given.some, given.words, given.each) == ("one", (), (), None)
    assert (given.pair, given.fast, given.safe, given.name) == (None, False, True, None)


def test_values() -> None:
    line = (
        "a b c -c 9 --ratio 0.5 --kind TWO --some 1,2 --some 2,5 --words red --each 1 --each 2.5 "
        "--pair x y --fast --no-safe --title t"
    )
    given = parse(*line.split())
    assert given.rest == [Path("b"), Path("c")]
    assert (given.count, given.ratio, given.kind, given.some) == (9, 0.5, "two", (1, 2, 5))
    assert (given.words, given.each, given.pair) == (("red",), [1.0, 2.5], ("x", "y"))
    assert (given.fast, given.safe, given.name) == (True, False, "t")
    assert parse("a", "--unsafe").safe is False
    assert parse("a", "--no-safe", "--safe").safe is True


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("", "SOURCE is missing. Usage: dl2 try [OPTIONS] SOURCE [REST...]"),
        ("a -c 0", "--count must be at least 1, not 0."),
        ("a -c 10", "--count must be at most 9, not 10."),
        ("a -c x", "--count must be a whole number, not 'x'."),
        ("a -c 1.5", "--count must be a whole number, not '1.5'."),
        ("a --ratio nan", "--ratio must be at least 0, not nan."),
        ("a --ratio much", "--ratio must be a number, not 'much'."),
        ("a --some 1,0", "--some must be at least 1, not 0."),
        ("a --kind tow", "--kind must be one or two, not 'tow'. Did you mean two?"),
        ("a --words red,gren", "--words must be red or green, not 'gren'. Did you mean green?"),
    ],
)
def test_a_wrong_value_is_refused_in_one_sentence(line: str, sentence: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(*line.split())
    assert str(error.value) == sentence


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("convrt", "There is no command 'convrt'. Did you mean convert? See dl2 --help."),
        ("env --jsn", "There is no option --jsn. Did you mean --json? See dl2 env --help."),
        ("env x", "There is no place for 'x' on this command line. See dl2 env --help."),
        ("extract --scans", "--scans needs a value. See dl2 extract --help."),
        ("env --json=1", "--json takes no value. See dl2 env --help."),
        ("extract", "DATASET is missing. Usage: dl2 extract [OPTIONS] DATASET DIR"),
        ("train -l prc", "--loader must be pcr, "),
        ("convert a b --workers 0", "--workers must be at least 1, not 0."),
        ("report logs --table sped", "disk_io, parameters or warnings, not 'sped'."),
        ("nothing --help", "There is no command 'nothing'. See dl2 --help."),
        ("--wrong", "There is no option --wrong. See dl2 --help."),
    ],
)
def test_all_usage_errors_have_one_style(line: str, sentence: str) -> None:
    run = dl2(*line.split())
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("dl2: ")
    assert sentence in run.stderr
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("width", [80, 60])
def test_the_help_is_whole_at_any_width(command: Command, width: int) -> None:
    shown = dl2(command.name, "--help", COLUMNS=str(width)).stdout
    assert "…" not in shown
    lines = [line for line in shown.splitlines() if not line.startswith("  Example: ")]
    assert max(map(len, lines)) <= width
    words = " ".join(re.sub("[│╭╮╰╯─]", " ", shown).split())
    for parameter in command.options.parameters():
        assert f"{parameter.names[0]} " in words
    for example in command.examples:
        assert f"Example: dl2 {command.name} {example}".rstrip() in words
    assert shown == dl2("help", command.name, COLUMNS=str(width)).stdout


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_and_the_reference_name_all_words_to_choose_from(command: Command) -> None:
    shown = re.sub(r"[│\s]+", " ", dl2(command.name, "--help", COLUMNS="80").stdout)
    for parameter in command.options.parameters():
        if words := parameter.known():
            assert f"[{' | '.join(words)}]" in shown
            assert f"One of {', '.join(f'`{word}`' for word in words)}." in reference([command])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_help_text_is_a_sentence(command: Command) -> None:
    texts = [each.declared.text for each in command.options.parameters()]
    for text in (command.about, *texts):
        assert re.match(r"[A-Z\"-]", text), text
        assert text.endswith((".", ".)")), text
        assert not re.match(r"(Of|Its|Also of|Likewise)\b", text), text
    assert command.examples


def test_the_shell_completes_values() -> None:
    assert complete("dl2 train -l pcr-", 3) == ["pcr-dali", "pcr-dali-gpu"]
    assert complete("dl2 bench-io -l pcr,pyt", 3) == ["pcr,pytorch"]
    assert complete("dl2 train -a alex", 3) == ["alexnet"]
    assert complete("dl2 report --table thr", 3) == ["throughput"]
    assert complete("dl2 report --format c", 3) == ["csv"]
    assert complete("dl2 help con", 2) == ["convert"]
    assert complete("dl2 extract --sc", 2) == ["--scans"]


def complete(line: str, index: int) -> list[str]:
    environment = {"_DL2_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(index)}
    run = subprocess.run(
        ["dl2"],
        executable=Path(sys.executable).parent / "dl2",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.split()


def dl2(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dl2cli", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
