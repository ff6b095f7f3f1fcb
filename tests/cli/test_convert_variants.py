"""`dl2 convert --to` as a user types it."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from failing_calls import fail, run_dl2
from jpegs import contents, jpeg_bytes, photo
from PIL import Image
from test_convert_command import as_json, dl2


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for name in ("ant", "bee"):
        (root / name).mkdir(parents=True)
        for i in range(6):
            (root / name / f"{i}.jpg").write_bytes(jpeg_bytes(photo(seed=i)))
    return root


def test_it_says_in_json_what_it_shows(photos: Path, tmp_path: Path) -> None:
    (photos / "ant" / "bad.jpg").write_bytes(b"no")
    arguments = ("convert", photos, tmp_path / "out", "--to", "webp", "--quality", "5,50")
    planned = as_json(dl2(*arguments, "--dry-run", "--json"))
    assert (planned["variants"], planned["images"]) == (["webp-05", "webp-50"], 13)
    assert not (tmp_path / "out").exists()
    document = as_json(dl2(*arguments, "--json"))
    assert [v["images"] for v in document["variants"]] == [12, 12]
    shown = dl2(*arguments).stdout
    for text in ("webp-05", "MS-SSIM", "ant/bad.jpg", "dl2 report"):
        assert text in shown
    assert max(map(len, shown.splitlines())) <= 80 or "report" in shown
    dl2("report", tmp_path / "out" / "logs")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--to", "jpeg"), "needs --quality"),
        (("--quality", "10,50"), "give --to jpeg"),
        (("--lossless",), "needs --to jpeg"),
        (("--fraction", "0.5"), "needs --to jpeg"),
        (("--to", "jpeg", "--lossless"), "JPEG needs a quality"),
        (("--to", "jpeg", "--quality", "10", "--scan-script", "rate"), "is for PCR datasets"),
        (("--to", "jpeg", "--quality", "10", "--keep-damaged"), "is for PCR datasets"),
        (("--to", "raw"), "give --fraction"),
        (("--to", "raw", "--quality", "10"), "takes no quality"),
        (("--to", "jpeg", "--quality", "101"), "at most 100"),
        (("--keep-damaged", "--max-side", "20"), "does not go with --max-side"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    photos: Path, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    run = dl2("convert", photos, tmp_path / "out", *options, code=2)
    assert says in " ".join(run.stderr.split())


def test_a_full_disk_keeps_what_is_done(photos: Path, tmp_path: Path) -> None:
    command = ("convert", photos, tmp_path / "out", "--to", "jpeg", "--quality", "10", "-w", "1")
    run = run_dl2(*command, rules=[fail("write", "/bee/", 28, after=2)])
    assert run.returncode == 1
    assert "No space left on device" in run.stderr
    assert "the same command resumes" in run.stderr
    assert not (tmp_path / "out" / "jpeg-10").exists()
    dl2(*command)
    assert len(list((tmp_path / "out" / "jpeg-10").rglob("*.jpg"))) == 12


def test_ctrl_c_and_kill_lose_nothing(photos: Path, tmp_path: Path) -> None:
    for i in range(150):
        (photos / "bee" / f"x{i}.jpg").write_bytes(jpeg_bytes(photo(300, 300, seed=i)))
    command = ("convert", photos, tmp_path / "out", "--to", "jpeg", "--quality", "10,50")
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(
            [sys.executable, "-m", "dl2cli", *map(str, command)],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        before = len(list((tmp_path / "out").rglob("*.jpg")))
        while len(list((tmp_path / "out").rglob("*.jpg"))) <= before and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
        if number == signal.SIGINT and process.returncode:
            assert process.returncode == 130
            assert "the same command resumes" in stderr
    dl2(*command)
    dl2(*map(str, command[:2]), tmp_path / "fresh", *command[3:])
    for name in ("jpeg-10", "jpeg-50"):
        made, fresh = (
            {n: b for n, b in contents(tmp_path / out / name).items() if n.endswith(".jpg")}
            for out in ("out", "fresh")
        )
        assert made == fresh
        assert len(made) == 162


def test_pcr_takes_lossy_steps_and_says_so(photos: Path, tmp_path: Path) -> None:
    from dl2cli import pcr

    (photos / "ant" / "low.jpg").write_bytes(jpeg_bytes(photo(40, 40), quality=30))
    Image.new("L", (90, 30), 7).save(photos / "bee" / "gray.png")
    out = tmp_path / "out"
    command = ("convert", photos, out, "--max-side", "50", "--quality-cap", "60", "--json")
    (report,) = as_json(dl2(*command))["datasets"]
    assert (report["images"], report["reencoded"]) == (14, 13)
    dataset = pcr.open(out)
    assert (dataset.properties["max_side"], dataset.properties["quality_cap"]) == (50, 60)
    notes = {source.path: source.note for source in dataset.sources()}
    assert notes["ant/low.jpg"] == ""
    assert notes["ant/0.jpg"] == "re-encoded at quality 60; scaled from 97 x 61 to 50 x 31"
    assert notes["bee/gray.png"].startswith("re-encoded at quality 60")
    run = dl2("convert", photos, out, "--max-side", "60", code=2)
    assert "max_side 50, now 60" in " ".join(run.stderr.split())


def test_the_list_of_analyze_images_names_what_is_copied(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "clothing" / "val"
    dl2("analyze-images", source, "-o", tmp_path / "list.csv")
    with (tmp_path / "list.csv").open(newline="") as file:
        quality = {row["file"]: int(row["quality"]) for row in csv.DictReader(file)}
    assert len(quality) == 250
    assert len(set(quality.values())) >= 1
    limit = sorted(quality.values())[len(quality) // 2]
    command = ("--to", "jpeg", "--quality", f"{limit - 1},{limit}", "--mssim-samples", "0")
    listed = ("--quality-list", tmp_path / "list.csv")
    dl2("convert", source, tmp_path / "out", *command, *listed)
    for wanted in (limit - 1, limit):
        for name, content in contents(source).items():
            made = (tmp_path / "out" / f"jpeg-{wanted:02d}" / name).read_bytes()
            assert (made == content) == (quality[name] <= wanted), (wanted, name)
