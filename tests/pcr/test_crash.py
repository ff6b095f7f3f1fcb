"""Kill a conversion at any moment, start it again: the result is that of an undisturbed run."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from failing_calls import kill, run_dl2
from jpegs import contents, jpeg_bytes, photo

from dl2cli import pcr
from dl2cli.errors import DataError, Interrupted, UsageError
from dl2cli.pcr.config import ConvertConfig, ConvertProgress
from dl2cli.pcr.convert import convert
from dl2cli.pcr.extraction.extract import extract


@pytest.fixture
def large(config: ConvertConfig) -> ConvertConfig:
    """A conversion that takes a while: 120 images in records of 5."""
    for i in range(99):
        image = photo(320, 240, seed=i)
        (config.source / "bee" / f"more{i}.jpg").write_bytes(jpeg_bytes(image))
    (config.source / "bee" / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    photo(60, 40).save(config.source / "bee" / "other.png")
    return replace(config, images_per_record=5)


def start(config: ConvertConfig) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dl2cli", "convert", str(config.source), str(config.out)]
    return subprocess.Popen(
        [*command, "--images-per-record", "5", "--workers", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_records(process: subprocess.Popen[str], out: Path, records: int) -> None:
    while process.poll() is None and len(list(out.glob("PCR_[0-9]*.db"))) < records:
        time.sleep(0.002)


def test_sigkill_at_any_moment_then_the_same_bytes(large: ConvertConfig, tmp_path: Path) -> None:
    undisturbed = replace(large, out=tmp_path / "undisturbed")
    convert(undisturbed)
    chance = random.Random(11)
    kills = 0
    for _ in range(8):
        process = start(large)
        done = len(list(large.out.glob("PCR_[0-9]*.db"))) if large.out.exists() else 0
        wait_for_records(process, large.out, done + chance.randrange(5))
        time.sleep(chance.random() * 0.05)
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
    assert kills >= 3
    resumed = convert(large)
    assert resumed.images == 121
    assert contents(large.out) == contents(undisturbed.out)


def kill_at_random(
    seed: int, folder: Path, *arguments: object
) -> Iterator[subprocess.CompletedProcess[str]]:
    """Start a command again and again; each is killed at a random change of the folder's files.

    The steps between two kills grow, so that the last runs come to the end.
    """
    chance = random.Random(seed)
    most = 6
    while True:
        rule = kill("change", f"{folder}", after=chance.randrange(most))
        run = run_dl2(*arguments, rules=[rule])
        if run.returncode != -signal.SIGKILL:
            assert run.returncode == 0, run.stderr
            return
        most += most // 2
        yield run


@pytest.mark.parametrize("seed", range(2))
def test_a_conversion_killed_at_random_system_calls_ends_with_the_same_bytes(
    config: ConvertConfig, tmp_path: Path, seed: int
) -> None:
    photo(60, 40).save(config.source / "bee" / "other.png")
    (config.source / "bee" / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    undisturbed = replace(config, out=tmp_path / "undisturbed")
    convert(undisturbed)
    whole = contents(undisturbed.out)
    command = ("convert", config.source, config.out, "--images-per-record", 4, "-w", 2)
    kills = 0
    for _ in kill_at_random(seed, config.out, *command):
        kills += 1
        for name, content in contents(config.out).items():
            final = name.startswith("PCR_") and not name.endswith((".tmp", "sources.db"))
            assert not final or content == whole[name]
    assert kills >= 3
    assert contents(config.out) == whole


@pytest.mark.parametrize("seed", range(2))
def test_an_extraction_killed_at_random_system_calls_ends_with_the_same_files(
    config: ConvertConfig, tmp_path: Path, seed: int
) -> None:
    convert(config)
    extract(pcr.open(config.out), tmp_path / "undisturbed")
    whole = contents(tmp_path / "undisturbed")
    kills = 0
    for _ in kill_at_random(seed, tmp_path / "back", "extract", config.out, tmp_path / "back"):
        kills += 1
        for name, content in contents(tmp_path / "back").items():
            assert name.startswith(".dl2") or content == whole[name]
    assert kills >= 3
    assert contents(tmp_path / "back") == whole


def test_ctrl_c_says_how_to_resume_and_keeps_what_is_done(large: ConvertConfig) -> None:
    process = start(large)
    wait_for_records(process, large.out, 3)
    process.send_signal(signal.SIGINT)
    output, message = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command resumes" in message
    assert output == ""
    with pytest.raises(DataError, match="unfinished"):
        pcr.open(large.out)
    result = convert(large)
    assert result.resumed_records >= 2
    assert result.images == 121


def interrupt_after(records: int, out: Path) -> Callable[[ConvertProgress], None]:
    """Return a callback that interrupts a conversion once so many records are written."""

    def stop(_state: ConvertProgress) -> None:
        if len(list(out.glob("PCR_[0-9]*.db"))) >= records:
            raise KeyboardInterrupt

    return stop


def test_an_unfinished_conversion_wants_the_same_options(large: ConvertConfig) -> None:
    with pytest.raises(Interrupted):
        convert(large, interrupt_after(3, large.out))
    with pytest.raises(UsageError, match="images_per_record 5, now 6"):
        convert(replace(large, images_per_record=6))
    with pytest.raises(UsageError, match="--resume"):
        convert(replace(large, resume=False))
    assert convert(large).resumed_records > 0


def test_a_record_lost_in_between_is_converted_again(large: ConvertConfig, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        convert(large, interrupt_after(4, large.out))
    first, second, *_ = sorted(large.out.glob("PCR_[0-9]*.db"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    convert(large)
    undisturbed = replace(large, out=tmp_path / "undisturbed")
    convert(undisturbed)
    assert contents(large.out) == contents(undisturbed.out)


def test_a_crash_between_the_two_final_files_is_mended(
    large: ConvertConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The provenance is final, the index is not yet: what a kill at that moment leaves."""
    original = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if target.name == "PCR.db" and target.exists():
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(Interrupted):
        convert(large)
    monkeypatch.undo()
    assert (large.out / "PCR_sources.db").exists()
    convert(large)
    undisturbed = replace(large, out=tmp_path / "undisturbed")
    convert(undisturbed)
    assert contents(large.out) == contents(undisturbed.out)


def test_how_to_resume_a_forced_conversion_is_said_rightly(large: ConvertConfig) -> None:
    """With --force, the same command would throw away what is done."""
    with pytest.raises(Interrupted, match="the same command without --force resumes"):
        convert(replace(large, force=True), interrupt_after(3, large.out))
    assert convert(large).resumed_records > 0
