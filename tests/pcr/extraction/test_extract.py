import errno
import io
import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from failing_calls import fail, run_dl2
from jpegs import contents, jpeg_bytes, photo
from PIL import Image

from dl2cli import pcr
from dl2cli.durability import try_lock
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.extraction.extract import extract
from dl2cli_native import _core


def test_the_images_come_back_under_their_names(config: ConvertConfig, tmp_path: Path) -> None:
    photo().save(config.source / "ant" / "other.png")
    convert(config)
    result = extract(pcr.open(config.out), tmp_path / "back")
    back = contents(tmp_path / "back")
    assert result.images == len(back) == 22
    assert result.bytes_written == sum(map(len, back.values()))
    assert "ant/other.png.jpg" in back
    for name, original in contents(config.source).items():
        if name.endswith(".jpg"):
            ours, theirs = (np.asarray(Image.open(io.BytesIO(b))) for b in (back[name], original))
            assert np.array_equal(ours, theirs)


def test_at_a_fidelity_the_files_hold_the_prefix(config: ConvertConfig, tmp_path: Path) -> None:
    convert(config)
    dataset = pcr.open(config.out)
    extract(dataset, tmp_path / "back", scans=2, most=6)
    back = contents(tmp_path / "back")
    assert len(back) == 6
    names = [source.path for source in dataset.sources()][:6]
    images = [bytes(image) for n in (0, 1) for image in dataset.read(n, 2).images]
    assert [back[name] for name in names] == images[:6]


def test_the_orientation_comes_back(config: ConvertConfig, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (config.source / "ant" / "0.jpg").write_bytes(jpeg_bytes(photo(), exif=exif.tobytes()))
    convert(config)
    extract(pcr.open(config.out), tmp_path / "back")
    with Image.open(tmp_path / "back" / "ant" / "0.jpg") as image:
        assert image.getexif()[0x0112] == 6
        assert np.array_equal(
            np.asarray(image), np.asarray(Image.open(config.source / "ant/0.jpg"))
        )


def test_nothing_of_yours_is_overwritten(config: ConvertConfig, tmp_path: Path) -> None:
    convert(config)
    folder = tmp_path / "back"
    folder.mkdir()
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(UsageError, match="not empty"):
        extract(pcr.open(config.out), folder)
    assert contents(folder) == {"thesis.tex": b"precious"}


@pytest.mark.parametrize("name", ["../../evil.jpg", "/tmp/evil.jpg", "a/../../evil.jpg"])
def test_names_cannot_leave_the_folder(config: ConvertConfig, tmp_path: Path, name: str) -> None:
    convert(config)
    connection = sqlite3.connect(config.out / "PCR_sources.db")
    with connection:
        connection.execute("UPDATE sources SET path = ? WHERE record = 0 AND slot = 0", (name,))
    connection.close()
    with pytest.raises(DataError, match="leaves the folder"):
        extract(pcr.open(config.out), tmp_path / "a" / "b" / "back")
    assert not list(tmp_path.rglob("evil.jpg"))


def test_without_provenance_files_are_named_by_record_and_slot(
    config: ConvertConfig, tmp_path: Path
) -> None:
    convert(config)
    (config.out / "PCR_sources.db").unlink()
    extract(pcr.open(config.out), tmp_path / "back")
    names = contents(tmp_path / "back")
    assert len(names) == 21
    assert {name.split("/")[0] for name in names} == {"ant", "bee", "cat"}


def test_a_large_image_that_was_asked_for_comes_back(config: ConvertConfig, tmp_path: Path) -> None:
    """Its orientation is looked up under the dataset's limits, not the usual ones."""
    exif = Image.Exif()
    exif[0x0112] = 6
    large = Image.new("L", (16_000, 6_300), 99)  # more than the usual 100 million pixels
    (config.source / "ant" / "0.jpg").write_bytes(jpeg_bytes(large, exif=exif.tobytes()))
    convert(replace(config, limits=_core.Limits(max_pixels=101_000_000)))
    extract(pcr.open(config.out), tmp_path / "back")
    jpeg = (tmp_path / "back" / "ant" / "0.jpg").read_bytes()
    assert _core.read_jpeg_header(jpeg, pcr.open(config.out).limits).orientation == 6


def test_names_that_meet_lose_no_image(config: ConvertConfig, tmp_path: Path) -> None:
    photo(30, 20).save(config.source / "ant" / "x.png")
    (config.source / "ant" / "x.png.jpg").write_bytes(jpeg_bytes(photo(31, 20)))
    convert(replace(config, shuffle=False, images_per_record=100))
    result = extract(pcr.open(config.out), tmp_path / "back")
    names = {name for name in contents(tmp_path / "back") if name.startswith("ant/x")}
    assert names == {"ant/x.png.jpg", "ant/x.png.jpg.0_8.jpg"}
    assert result.images == len(contents(tmp_path / "back")) == 23


def test_a_folder_that_cannot_be_looked_at_is_one_sentence(config: ConvertConfig) -> None:
    convert(config)
    with pytest.raises(StorageError, match="File name too long"):
        extract(pcr.open(config.out), Path("a" * 300))


def test_names_that_are_too_long_are_cut_and_the_rest_goes_on(
    config: ConvertConfig, tmp_path: Path
) -> None:
    long = "ä" * 125 + ".png"  # 254 bytes
    photo(30, 20).save(config.source / "ant" / long)
    convert(config)
    result = extract(pcr.open(config.out), tmp_path / "back")
    assert (result.images, result.renamed) == (22, 1)
    (name,) = (each.name for each in (tmp_path / "back/ant").iterdir() if "ä" in each.name)
    assert name.startswith("ä" * 60)
    assert name.endswith(".jpg")
    assert not list((tmp_path / "back").glob(".dl2*"))


def test_a_file_system_that_does_not_allow_a_name_gets_another(
    config: ConvertConfig, tmp_path: Path
) -> None:
    (config.source / "ant" / "0.jpg").rename(config.source / "ant" / "a?b.jpg")
    convert(config)
    rules = [fail("rename", "a?b.jpg", errno.EINVAL)]
    run = run_dl2("extract", config.out, tmp_path / "back", "--json", rules=rules)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["renamed"] == 1
    assert len(contents(tmp_path / "back")) == 21


@pytest.mark.parametrize("after", [0, 1, 7, 20])
def test_a_full_disk_leaves_whole_files_and_the_same_command_goes_on(
    config: ConvertConfig, tmp_path: Path, after: int
) -> None:
    convert(config)
    undisturbed, back = tmp_path / "undisturbed", tmp_path / "back"
    extract(pcr.open(config.out), undisturbed)
    rules = [fail("write", "/back/", errno.ENOSPC, after=after)]
    run = run_dl2("extract", config.out, back, rules=rules)
    assert run.returncode == 1
    assert "the same command goes on" in run.stderr or after == 0
    whole = contents(undisturbed)
    for name, content in contents(back).items():
        assert name.startswith(".dl2") or content == whole[name]
    if after > 0:
        with pytest.raises(UsageError, match="with other options"):
            extract(pcr.open(config.out), back, scans=1)
    result = extract(pcr.open(config.out), back)
    assert result.images == 21
    assert contents(back) == whole


def test_an_extraction_into_a_folder_in_use_is_refused(
    config: ConvertConfig, tmp_path: Path
) -> None:
    convert(config)
    (tmp_path / "back").mkdir()
    descriptor = os.open(tmp_path / "back", os.O_RDONLY)
    try:
        assert try_lock(descriptor)
        with pytest.raises(UsageError, match="Another extraction"):
            extract(pcr.open(config.out), tmp_path / "back")
    finally:
        os.close(descriptor)
