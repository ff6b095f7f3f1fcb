"""The program as a whole: help, version, completion, and the table of exit codes."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import dl2cli
from dl2cli import errors
from dl2cli.cli import main
from dl2cli.cli.main import app

HEAVY = ("torch", "torchvision", "nvidia", "matplotlib", "wand", "numpy", "PIL", "dl2cli_native")


def dl2(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dl2cli", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def help_of(*command: str) -> str:
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    return result.output


def commands() -> set[str]:
    return {command.name for command in main.COMMANDS}


def test_all_five_subcommands_are_registered() -> None:
    registered = commands()
    assert {"convert", "analyze-images", "train", "bench-io", "report"} <= registered
    assert {"env", "sample", "inspect", "extract"} <= registered


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from dl2cli.cli.main import main\n"
        "try: main()\n"
        "finally: print(sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    for arguments in (["--help"], ["--version"], ["convert", "--help"], ["env", "--help"]):
        run = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        loaded = {name for name in HEAVY if f"'{name}'" in run.stderr}
        assert loaded == set(), f"dl2 {' '.join(arguments)}"
        assert run.stdout


def test_help_lists_the_commands_that_work_each_with_an_example() -> None:
    overview = help_of()
    listed = set(re.findall(r"^│ ([a-z][a-z-]+) ", overview, re.MULTILINE))
    assert listed == commands()
    for name in listed:
        assert f"Example: dl2 {name}" in help_of(name)


def test_version() -> None:
    run = dl2("--version")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"dl2 {dl2cli.__version__}\n", "")


def test_the_installed_program_is_the_module() -> None:
    program = Path(sys.executable).parent / "dl2"
    run = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    assert run.stdout == dl2("--version").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str) -> None:
    script = subprocess.run(
        ["dl2"],
        executable=Path(sys.executable).parent / "dl2",
        env={**os.environ, "_DL2_COMPLETE": f"source_{shell}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "_DL2_COMPLETE" in script
    assert "dl2" in script


def test_bash_completes_subcommands() -> None:
    run = subprocess.run(
        ["dl2"],
        executable=Path(sys.executable).parent / "dl2",
        env={**os.environ, "_DL2_COMPLETE": "complete_bash", "COMP_WORDS": "dl2 con",
             "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert run.stdout.split() == ["convert"]


def test_no_arguments_show_the_help_and_wrong_ones_are_a_usage_error() -> None:
    run = dl2()
    assert "Usage:" in run.stdout + run.stderr
    for line in "nothing", "convert", "env --wrong", "convert a b --workers x":
        run = dl2(*line.split())
        assert (run.returncode, run.stdout) == (2, "")
        assert "Traceback" not in run.stderr


def exit_code_and_message(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    failing = typer.Typer()

    @failing.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(main, "app", failing)
    monkeypatch.setattr(sys, "argv", ["dl2"])
    with pytest.raises(SystemExit) as exit_:
        main.main()
    captured = capsys.readouterr()
    assert captured.out == ""
    assert isinstance(exit_.value.code, int)
    return exit_.value.code, captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("What, where."), 2),
        (errors.DataError("What, where."), 3),
        (errors.StorageError("What, where."), 1),
        (errors.ThresholdMissed("What, where."), 5),
        (errors.Interrupted("What, where."), 130),
        (errors.Dl2Error("[red]no markup[/red] \udcff"), 1),
    ],
)
def test_each_error_is_one_sentence_and_its_exit_code(
    error: errors.Dl2Error,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = str(error).replace("\udcff", "\\udcff")
    assert exit_code_and_message(error, monkeypatch, capsys) == (code, f"dl2: {text}\n")


def test_a_missing_part_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = errors.MissingDependency("matplotlib", "plots")
    code, message = exit_code_and_message(error, monkeypatch, capsys)
    assert code == 4
    assert "pip install 'dl2cli[plots]'" in message


def test_an_unexpected_error_has_no_traceback_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = exit_code_and_message(ZeroDivisionError("oh"), monkeypatch, capsys)
    assert code == 1
    assert message.startswith("dl2: unexpected ZeroDivisionError: oh.")
    assert "DL2_DEBUG=1" in message
    assert "Traceback" not in message
    monkeypatch.setenv("DL2_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main.main()


def test_ctrl_c_is_130(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dl2cli", "sample"],
        env={**os.environ, "DL2_HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    cache = tmp_path / "cache"
    while process.poll() is None and not list(cache.glob(".making-*/set/*/*/*.jpg")):
        pass
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert process.stderr is not None
    assert process.stderr.read() == "dl2: interrupted.\n"
    process.stderr.close()
    assert list(cache.iterdir()) == []


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        [sys.executable, "-m", "dl2cli", "env", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert run.returncode == 0
    assert run.stderr == ""


def test_a_name_that_is_not_utf8_can_be_printed(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "dl2cli", "inspect", os.fsencode(tmp_path) + b"/caf\xe9"],
        capture_output=True,
        check=False,
    )
    assert run.returncode in (2, 3)
    assert b"caf\\udce9" in run.stderr
    assert b"Traceback" not in run.stderr
