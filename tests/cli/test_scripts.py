"""Searching for a scan script on the command line, and converting with what was found."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from jpegs import jpeg_bytes, photo

from dl2cli import pcr
from dl2cli.analysis.scripts import search as search_module
from dl2cli.cli.main import main
from dl2cli.pcr.script_choice import auto_goal, measured_levels, recorded_choice


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at fewer scripts than a user's search does."""
    monkeypatch.setattr(search_module, "ROUNDS", 1)
    monkeypatch.setattr(search_module, "STEPS", 200)
    monkeypatch.setattr(search_module, "POLISH_ROUNDS", 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """An ImageFolder in splits."""
    for i in range(8):
        folder = tmp_path / "photos" / ("val" if i > 5 else "train") / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.jpg").write_bytes(jpeg_bytes(photo(120, 100, seed=i), quality=90))
    return tmp_path / "photos"


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "argv", ["dl2", *arguments])
            main()
    finally:
        signal.signal(signal.SIGINT, before)
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_what_is_found_is_written_and_taken_by_convert(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "photos.scans"
    search = ("analyze-images", str(photos), "-a", "scripts", "--script-file", str(file))
    small = ("--train-size", "64", "--groups", "6", "--compare", "jpeg:50")
    code, out, err = run(capsys, *search, *small, "--json", "--plots", str(tmp_path / "plots"))
    assert code == 0, err
    report = json.loads(out)
    assert report["analysis"] is None
    assert report["plots"] == [str(tmp_path / "plots" / "scan_scripts.png")]
    assert len(report["scripts"]["found"]["levels"]) <= 6
    assert [each["setting"] for each in report["scripts"]["lossy"]] == ["jpeg:50"]
    code, out, err = run(capsys, *search, *small)
    assert code == 0, err
    assert "found k=1" in out and "dl2 convert --scan-script" in out
    code, _, err = run(
        capsys, "convert", str(photos), str(tmp_path / "out"), "--scan-script", str(file)
    )
    assert code == 0, err
    assert pcr.open(tmp_path / "out" / "train").properties["scan_script_name"] == "photos.scans"


def test_auto_searches_once_and_records_why(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    convert = ("convert", str(photos), str(out), "--scan-script", "auto")
    assert run(capsys, *convert)[0] == 0
    train, val = pcr.open(out / "train"), pcr.open(out / "val")
    assert train.properties["scan_script"] == val.properties["scan_script"]
    assert train.properties["scan_script_name"] == "auto:bytes"
    assert train.properties["scan_script_choice"]["goal"] == "bytes"
    size, levels = measured_levels(train.properties)
    assert size == 224 and [level.scans for level in levels] == list(range(1, train.groups + 1))
    code, text, _ = run(capsys, "inspect", str(out / "train"))
    assert code == 0 and "chosen because" in text and "MS-SSIM" in text and "identical" in text


def test_an_interrupted_conversion_goes_on_with_the_script_it_recorded(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"
    convert = ("convert", str(photos / "train"), str(out), "--scan-script", "auto:decode")
    assert run(capsys, *convert, "--images-per-record", "2")[0] == 0
    whole = {path.name: path.read_bytes() for path in out.iterdir()}
    recorded = recorded_choice(out)
    assert recorded is not None and recorded.script.name == "auto:decode"
    with sqlite3.connect(out / "PCR.db") as database:  # as an older reader sees it
        keys = {key for (key,) in database.execute("SELECT key FROM dataset")}
    assert {"scan_script", "scan_script_choice"} <= keys

    def never(*_: object, **__: object) -> None:
        raise AssertionError("searched again")

    monkeypatch.setattr("dl2cli.analysis.scripts.run.search_scripts", never)
    code, _, err = run(capsys, *convert, "--images-per-record", "2")
    assert code == 0 and "was begun with" in err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == whole
    code, _, err = run(capsys, "convert", str(photos / "train"), str(out), "--scan-script", "auto")
    assert code == 2 and "auto:decode" in err and "--force" in err
    code, _, err = run(capsys, "convert", str(photos / "train"), str(out))
    assert code == 2 and "--force" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("convert", "{photos}", "{out}", "--scan-script", "auto:speed"), "bytes, decode or both"),
        (("convert", "{photos}", "{out}", "--scan-script", "auto", "--dry-run"), "does not search"),
        (("convert", "{photos}", "{out}", "--scan-script", "auto", "--part", "1/2"), "same scan"),
        (("analyze-images", "{photos}", "--groups", "5"), "-a scripts"),
        (("analyze-images", "{photos}", "-a", "scripts", "--price", "5"), "--objective both"),
        (("analyze-images", "{photos}", "-a", "scripts", "--groups", "2"), "3 to 64"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: tuple[str, ...],
    reason: str,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [each.format(photos=photos, out=tmp_path / "out") for each in arguments]
    code, out, err = run(capsys, *filled)
    assert (code, out) == (2, "")
    assert reason in " ".join(err.split())
    assert not (tmp_path / "out").exists()


def test_hostile_choices_are_left_out() -> None:
    assert auto_goal("auto") == "bytes" and auto_goal("rate") is None
    for why in (None, 5, {}, {"levels": [{}], "size": 3}, {"levels": 7, "size": "x"}):
        assert measured_levels({"scan_script_choice": why}) == (0, ())
