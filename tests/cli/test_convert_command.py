"""`dl2 convert`, `inspect` and `extract` as a user types them."""

import json
import shlex
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jpegs import contents, photo
from PIL import Image


def dl2(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(
        [sys.executable, "-m", "dl2cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == code, run.stderr
    assert "Traceback" not in run.stderr
    return run


def as_json(run: subprocess.CompletedProcess[str]) -> Any:
    document = json.loads(run.stdout, parse_constant=pytest.fail)
    assert document["schema_version"] == 1
    return document


@pytest.fixture(scope="module")
def converted(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("converted") / "out"
    dl2("convert", sample_set, out)
    return out


def test_splits_become_datasets_and_prove_lossless(sample_set: Path, converted: Path) -> None:
    for split in ("train", "val"):
        run = dl2("inspect", converted / split, "--against", sample_set / split, "--json")
        report = as_json(run)
        files = len(list((sample_set / split).rglob("*.jpg")))
        assert report["images"] == report["verification"]["proved_lossless"] == files
        assert report["verification"]["damage"] == []
        assert [f["scans"] for f in report["fidelities"]] == list(range(1, 11))
        assert report["fidelities"][-1]["share"] == 1


def test_convert_reports_in_json_what_it_shows(sample_set: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(sample_set / "val", source)
    name = next(path.name for path in source.iterdir() if path.is_dir())
    (source / name / "bad.jpg").write_bytes(b"no")
    arguments = ("convert", source, tmp_path / "out", "--mssim-samples", "4")
    (report,) = as_json(dl2(*arguments, "--json"))["datasets"]
    assert report["rejected"][0]["path"] == f"{name}/bad.jpg"
    assert len(report["fidelity"]) == len(report["bytes_at_scans"]) == 10
    assert report["fidelity"][-1] == {
        "scans": 10,
        "ms_ssim": 1.0,
        "psnr_db": None,
        "images": 4,
    }
    values = [each["ms_ssim"] for each in report["fidelity"]]
    assert values[0] < values[4] < values[9]
    shown = dl2(*arguments).stdout
    assert f"{report['images']} in" in shown
    assert "bad.jpg" in shown


def test_dry_run_writes_nothing(sample_set: Path, tmp_path: Path) -> None:
    run = dl2("convert", sample_set, tmp_path / "out", "--dry-run", "--json")
    plans = as_json(run)["datasets"]
    assert [Path(plan["out"]).name for plan in plans] == ["train", "val"]
    assert not (tmp_path / "out").exists()


def test_exit_codes_and_sentences(converted: Path, tmp_path: Path) -> None:
    cases = [
        (("convert", tmp_path / "nowhere", tmp_path / "out"), 2, "There is no"),
        (("convert", converted, tmp_path / "out"), 2, "train is a PCR dataset: dl2 extract"),
        (("convert", tmp_path, tmp_path / "out"), 2, "lies inside"),
        (("inspect", tmp_path), 2, "holds no PCR dataset"),
        (("extract", converted / "val", tmp_path / "x", "--scans", "11"), 2, "fidelities 1 to 10"),
        (("inspect", converted), 2, "its splits do: train, val"),
    ]
    for arguments, code, sentence in cases:
        run = dl2(*arguments, code=code)
        assert sentence in " ".join(run.stderr.split())
        assert run.stdout == ""


def test_verify_exits_3_and_lists_the_damage(converted: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(converted / "val", copy)
    (record,) = copy.glob("PCR_[0-9]*.db")
    damaged = bytearray(record.read_bytes())
    damaged[-5] ^= 1
    record.write_bytes(damaged)
    run = dl2("inspect", copy, "--verify", code=3)
    assert "Damage: 1 findings" in run.stdout
    dl2("inspect", copy)  # the index alone is whole


def test_extract_gives_plain_files(converted: Path, sample_set: Path, tmp_path: Path) -> None:
    report = as_json(dl2("extract", converted / "val", tmp_path / "back", "--json"))
    names = contents(tmp_path / "back").keys()
    assert names == contents(sample_set / "val").keys()
    assert report["images"] == len(names)


def test_a_scan_script_of_ones_own(sample_set: Path, tmp_path: Path) -> None:
    script = tmp_path / "three.txt"
    script.write_text("0 1 2: 0-0, 0, 0; 0: 1-63, 0, 0; 1: 1-63, 0, 0; 2: 1-63, 0, 0;")
    dl2("convert", sample_set / "val", tmp_path / "out", "--scan-script", script)
    report = as_json(dl2("inspect", tmp_path / "out", "--verify", "--json"))
    assert report["groups"] == 4
    assert report["properties"]["scan_script_name"] == "three.txt"
    script.write_text("0: 0-63, 0, 0;")
    run = dl2("convert", sample_set / "val", tmp_path / "b", "--scan-script", script, code=2)
    assert "Scan script three.txt, scan 1" in " ".join(run.stderr.split())


def test_a_limit_beyond_all_images_is_none(sample_set: Path, tmp_path: Path) -> None:
    dl2("convert", sample_set / "val", tmp_path / "out", "--max-pixels", 10**30)


def test_what_pillow_warns_of_stays_out_of_the_way(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "a camera of some length"
    photo().save(tmp_path / "in" / "a" / "x.png", exif=exif.tobytes()[:-8])
    assert dl2("convert", tmp_path / "in", tmp_path / "out").stderr == ""


def test_names_that_are_no_utf8_can_be_shown(sample_set: Path, tmp_path: Path) -> None:
    source = tmp_path / "in"
    shutil.copytree(sample_set / "val", source)
    folder = next(path for path in source.iterdir() if path.is_dir())
    bad = bytes(folder) + b"/caf\xe9.jpg"
    with open(bad, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(b"no")
    (report,) = as_json(dl2("convert", source, tmp_path / "out", "--json"))["datasets"]
    assert report["rejected"][0]["path"].endswith("caf\\udce9.jpg")
    dl2("convert", source, tmp_path / "out")
    connection = sqlite3.connect(tmp_path / "out" / "PCR_sources.db")
    ((name,),) = connection.execute("SELECT path FROM rejected").fetchall()
    connection.close()
    assert name == folder.name.encode() + b"/caf\xe9.jpg"


def test_more_workers_than_the_system_starts_is_one_sentence(
    sample_set: Path, tmp_path: Path
) -> None:
    limit = 3_000_000  # kB: room for the program, not for the stacks of a thousand threads
    command = [sys.executable, "-m", "dl2cli", "convert", sample_set, tmp_path, "-w", "1024"]
    line = f"ulimit -v {limit} -s 8192; exec {shlex.join(map(str, command))}"
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert "the system starts only" in run.stderr


def test_brackets_in_names_are_no_markup(
    sample_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")  # no name in a cell is folded

    def shown(*args: object, code: int = 0) -> str:
        """Without the line breaks of titles, which are as narrow as their tables."""
        return " ".join(dl2(*args, code=code).stdout.split())

    source, out = tmp_path / "in [red]", tmp_path / "out [bold]"
    shutil.copytree(sample_set / "val", source)
    folder = next(path for path in source.iterdir() if path.is_dir())
    (source / "x[").mkdir()
    (source / "x[" / "y].jpg").write_bytes(b"no")  # [/y] would close what was never opened
    (folder / "[red]q[bold].jpg").write_bytes(b"no")
    plan = shown("convert", source, out, "--dry-run")
    assert "in [red]" in plan
    assert "out [bold]" in plan
    report = shown("convert", source, out)
    assert "x[/y].jpg" in report
    assert "[red]q[bold].jpg" in report
    assert "out [bold]" in shown("inspect", out)
    damaged = next(out.glob("PCR_[0-9]*.db"))
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "out [bold]" in shown("inspect", out, "--verify", code=3)
    damaged.unlink()
    (out / "PCR.db").unlink()
    dl2("convert", source, out, "--force")
    assert "back [/b]" in shown("extract", out, tmp_path / "back [" / "b]")


def test_the_codec_is_a_choice_that_changes_nothing(sample_set: Path, tmp_path: Path) -> None:
    source = sample_set / "val"
    dl2("convert", source, tmp_path / "native")
    dl2("convert", source, tmp_path / "libjpeg", "--codec", "libjpeg")
    names = [name for name in contents(tmp_path / "native") if name.startswith("PCR_0")]
    assert names
    for name in names:
        native, libjpeg = (tmp_path / codec / name for codec in ("native", "libjpeg"))
        assert native.read_bytes() == libjpeg.read_bytes()


def test_an_instruction_set_that_is_none_is_said_before_the_work(
    sample_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DL2_CODEC_ISA", "avx3")
    run = dl2("convert", sample_set / "val", tmp_path / "out", code=2)
    assert "DL2_CODEC_ISA must be avx512, avx2 or portable" in " ".join(run.stderr.split())


def test_measuring_fidelity_tells_how_far_it_is(pcr_set: Path) -> None:
    from dl2cli import pcr
    from dl2cli.analysis.fidelity.dataset import measure_dataset

    told: list[tuple[int, int]] = []
    dataset = pcr.open(pcr_set / "val")
    measured = measure_dataset(dataset, 2, lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2)]
    assert [each.images for each in measured] == [2] * dataset.groups
