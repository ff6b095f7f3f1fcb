"""`dl2 analyze-images` as a user meets it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from dl2cli.cli.main import app
from dl2cli.errors import ExitCode


def dl2(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dl2cli", "analyze-images", *map(str, arguments)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_summary_fits_80_columns_and_says_what_is_there(sample_set, tmp_path):
    result = dl2(
        sample_set, "-a", "all", "--fidelity-samples", 6, "--compare", "jpeg:50,webp:50",
        "-o", tmp_path / "i.csv", "--plots", tmp_path / "plots", "--plot-format", "svg",
        COLUMNS="80",
    )  # fmt: skip
    assert result.returncode == ExitCode.DONE, result.stderr
    lines = result.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for text in (
        "36 in 6 classes (train, val), image folder",
        "--data-mean 0.",
        "Percentiles",
        "JPEG quality",
        "File size",
        "Fidelity of 6 images",
        "Recommended for a mean MS-SSIM of 0.95: k = ",
        "webp:50",
        "Written: ",
    ):
        assert text in result.stdout
    assert len((tmp_path / "i.csv").read_text().splitlines()) == 37
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        "qualities.svg", "sizes.svg", "rate_distortion.svg",
    }  # fmt: skip


def test_json_is_one_strict_document_and_damage_is_exit_code_3(sample_set, tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    good = next(sample_set.rglob("*.jpg")).read_bytes()
    (folder / "cut.jpg").write_bytes(good[:-900])
    (folder / "good.jpg").write_bytes(good)
    (folder / "text.jpg").write_text("hello")
    result = dl2(folder, "--json")
    assert result.returncode == ExitCode.BAD_DATA
    assert result.stderr == ""
    document = json.loads(result.stdout, parse_constant=pytest.fail)
    assert document["schema_version"] == 1
    summary = document["analysis"]["summary"]
    assert summary["images"] == 3
    failures = {failure["file"]: failure["reason"] for failure in summary["failures"]}
    assert set(failures) == {"cut.jpg", "text.jpg"}
    assert failures["text.jpg"].startswith("not an image that can be read")
    shown = dl2(folder, COLUMNS="80").stdout
    assert "Damaged files: 2" in shown
    assert "text.jpg" in shown


@pytest.mark.parametrize("engine", ["native", "magick"])
def test_analyses_are_chosen_by_commas_and_repetition(sample_set, tmp_path, engine):
    if engine == "magick":
        pytest.importorskip("wand.image")
    output = tmp_path / "i.csv"
    arguments = ["analyze-images", str(sample_set / "val"), "-o", str(output), "-w", "1"]
    arguments += ["-a", "quality, size", "-a", "SIZE", "--engine", engine, "--sample", "5"]
    result = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments)
    assert result.exit_code == ExitCode.DONE
    assert "5 images, which all of this is about" in result.output
    header, *rows = output.read_text().splitlines()
    assert header == "file,quality,size,mode,width,height,notes,error"
    assert len(rows) == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-a", "colour"], "jpeg, fidelity, all or scripts, not 'colour'"),
        (["--compare", "png:3"], "as in jpeg:50,75, not 'png:3'"),
        (["-o", "result.txt"], "must end with one of .csv, .jsonl, .parquet"),
        (["--scans", "3"], "--scans needs a PCR dataset"),
        (["--target-msssim", "1.5"], "--target-msssim must be above 0"),
        (["--target-msssim", "0.9"], "--target-msssim does nothing without -a fidelity"),
        (["--fidelity-samples", "9"], "--fidelity-samples does nothing without -a fidelity"),
        (["--compare", "jpeg:50", "-a", "size"], "--compare does nothing without -a fidelity"),
        (["--plot-format", "svg"], "--plot-format does nothing without --plots DIR"),
    ],
)
def test_a_usage_error_is_one_sentence(sample_set, arguments, message):
    result = dl2(sample_set, *arguments)
    assert result.returncode == ExitCode.USAGE
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_one_image_is_one_image(sample_set, tmp_path):
    (tmp_path / "one.jpg").write_bytes(next(sample_set.rglob("*.jpg")).read_bytes())
    shown = dl2(tmp_path, "-a", "all", "--compare", "none", COLUMNS="80").stdout
    assert "Fidelity of 1 image at" in shown
    assert "pixels of 1 image, to paste" in shown


def test_plots_that_cannot_be_written_do_not_cost_the_result(sample_set):
    result = dl2(sample_set / "val", "-a", "size", "--plots", "/proc/plots", "--json")
    assert result.returncode == ExitCode.UNEXPECTED
    assert "/proc/plots" in result.stderr
    document = json.loads(result.stdout)
    assert (document["analysis"]["images_found"], document["plots"]) == (12, [])


def test_ctrl_c_says_how_to_go_on_and_going_on_works(tmp_path):
    folder, output = tmp_path / "flat", tmp_path / "i.csv"
    folder.mkdir()
    picture = Image.effect_noise((900, 900), 40)
    picture.save(folder / "0000.jpg", quality=95)
    for number in range(1, 160):
        (folder / f"{number:04d}.jpg").hardlink_to(folder / "0000.jpg")
    command = [sys.executable, "-m", "dl2cli", "analyze-images", str(folder), "-o", str(output)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    part = tmp_path / "i.csv.part"
    while process.poll() is None and not (part.exists() and part.stat().st_size > 4000):
        pass
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert out == ""
    assert err.startswith("dl2: interrupted after ")
    assert "run the same command again to go on" in err
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.iterdir() if path != folder] == ["i.csv.part"]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Continuing after " in again.stderr
    assert len(output.read_text().splitlines()) == 161
    assert not part.exists()


def test_help_has_an_example():
    result = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["analyze-images", "--help"])
    assert "dl2 analyze-images training_set -o images.csv" in result.output
    assert not Path("images.csv").exists()


def test_a_link_or_a_pipe_as_output_is_written_through(sample_set: Path, tmp_path: Path) -> None:
    target, link, pipe = (tmp_path / name for name in ("real.csv", "link.csv", "pipe.csv"))
    target.write_text("old")
    link.symlink_to(target)
    os.mkfifo(pipe)
    assert dl2(sample_set / "val", "--sample", "3", "-o", link).returncode == 0
    assert link.is_symlink()
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as reader:
        assert dl2(sample_set / "val", "--sample", "3", "-o", pipe).returncode == 0
        assert reader.communicate()[0] == target.read_text()
    assert pipe.is_fifo()
    assert target.read_text().count("\n") == 4
