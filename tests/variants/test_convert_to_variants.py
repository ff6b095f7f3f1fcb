"""Variants of an ImageFolder: what is written, resumed, copied, refused."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jpegs import contents, jpeg_bytes, photo
from PIL import Image

from dl2cli.dataset.location import locate
from dl2cli.errors import DataError, Interrupted, UsageError
from dl2cli.report.read.discover import Finder
from dl2cli.variants import convert as module
from dl2cli.variants.config import VariantsConfig, VariantsProgress
from dl2cli.variants.convert import convert, plan
from dl2cli.variants.formats import Target
from dl2cli.variants.state import STATE


def images_of(folder: Path) -> dict[str, bytes]:
    return {n: b for n, b in contents(folder).items() if not Path(n).name.startswith(".")}


def test_one_pass_makes_each_quality_in_the_folders_of_the_source(config: VariantsConfig) -> None:
    before = contents(config.source)
    result = convert(config)
    assert contents(config.source) == before
    assert [each.name for each in result.variants] == ["jpeg-10", "jpeg-50"]
    for each, quality in zip(result.variants, (10, 50), strict=True):
        made = images_of(config.out / each.name)
        # Names stay where the ending is one of a JPEG already.
        assert set(made) == {n.replace(".png", ".jpg") for n in before}
        assert each.output_bytes == sum(map(len, made.values()))
        assert [split.name for split in locate(each.out).splits] == ["train", "val"]
        for name, content in before.items():
            # Pillow alone gives the same bytes, of the pixels that libjpeg decodes.
            with Image.open(config.source / name) as opened:
                image = opened.convert("L" if "gray" in name else "RGB")
            colour = {} if image.mode == "L" else {"subsampling": "4:2:0"}
            expected = jpeg_bytes(image, quality=quality, optimize=True, **colour)
            assert made[name.replace(".png", ".jpg")] == expected, (name, len(content))
    assert result.variants[0].output_bytes < result.variants[1].output_bytes
    assert (result.variants[0].measured, result.source_images) == (4, 17)
    assert result.variants[0].ms_ssim is not None
    assert result.variants[0].ms_ssim < (result.variants[1].ms_ssim or 0)


def test_the_log_is_one_that_the_report_reads(config: VariantsConfig) -> None:
    result = convert(config)
    runs = Finder([config.out / "logs"]).load().runs
    assert {run.setup.variant for run in runs} == {"jpeg-10", "jpeg-50"}
    assert {run.source.run for run in runs} == {"enc-mp-jpeg-10", "enc-mp-jpeg-50"}
    log = result.variants[0].log
    document = json.loads(log.read_text())
    assert len(document["enc_times"]) == len(document["bpp"]) == 17
    assert len(document["ms_ssim"]) == len(document["psnr_db"]) == 4
    sizes = sum(b * p for b, p in zip(document["bpp"], _pixels(config), strict=True)) / 8
    assert round(sizes) == document["bytes"] == result.variants[0].output_bytes


def _pixels(config: VariantsConfig) -> list[int]:
    sizes = []
    for path in sorted(p for p in config.source.rglob("*") if p.is_file()):
        with Image.open(path) as image:
            sizes.append(image.width * image.height)
    return sizes


def test_formats_keep_pixels_as_far_as_they_promise(config: VariantsConfig) -> None:
    targets = (
        Target("webp", 50), Target("webp"), Target("jpeg2000", 35), Target("jpeg2000")
    )  # fmt: skip
    result = convert(replace(config, targets=targets))
    names = ["webp-50", "webp-lossless", "jpeg2000-35", "jpeg2000-lossless"]
    assert [each.name for each in result.variants] == names
    for name in ("train/ant/0", "train/ant/gray"):
        old = next(config.source.glob(f"{name}.*"))
        with Image.open(old) as image:
            mode, pixels = image.mode, np.asarray(image)
        for variant in ("webp-lossless", "jpeg2000-lossless"):
            with Image.open(next((config.out / variant).glob(f"{name}.*"))) as new:
                assert np.array_equal(np.asarray(new.convert(mode)), pixels)
    by_name = {each.name: each for each in result.variants}
    assert (by_name["webp-lossless"].ms_ssim, by_name["webp-lossless"].psnr_db) == (1.0, None)
    assert by_name["jpeg2000-35"].psnr_db == pytest.approx(35, abs=2)
    assert locate(config.out / "jpeg2000-35").train.path.name == "train"
    assert not by_name["webp-50"].rejected


def test_stopped_anywhere_it_ends_with_the_same_bytes(
    config: VariantsConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = replace(config, out=tmp_path / "fresh")
    convert(fresh)
    monkeypatch.setattr(module, "_CHUNK", 1)
    monkeypatch.setattr(module, "_COMMIT_S", 0.0)
    for stop in (1, 5, 16):

        def interrupt(state: VariantsProgress, stop: int = stop) -> None:
            if state.done >= stop:
                raise KeyboardInterrupt

        with pytest.raises(Interrupted, match="the same command resumes"):
            convert(config, interrupt)
        assert not (config.out / "jpeg-10").exists()  # no part of it passes for the whole
    result = convert(config)
    assert result.variants[0].resumed_images >= 15
    for name in ("jpeg-10", "jpeg-50"):
        assert images_of(config.out / name) == images_of(fresh.out / name)
    assert convert(config).converted_images == 0


def test_a_further_quality_is_made_beside_the_others(config: VariantsConfig) -> None:
    convert(replace(config, targets=(Target("jpeg", 10),)))
    result = convert(config)
    assert [each.resumed_images for each in result.variants] == [17, 0]


def test_other_options_other_sources_and_other_files_are_refused(config: VariantsConfig) -> None:
    convert(config)
    with pytest.raises(UsageError, match=r"jpeg-10 is finished and was made with other options"):
        convert(replace(config, max_side=20))
    (config.source / "train" / "ant" / "new.jpg").write_bytes(jpeg_bytes(photo()))
    with pytest.raises(UsageError, match="from other files: its source has changed"):
        convert(config)
    (config.out / "jpeg-10" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match=r"files that dl2 convert did not make .*mine\.txt"):
        convert(replace(config, force=True))
    assert (config.out / "jpeg-10" / "mine.txt").read_text() == "precious"
    (config.out / "jpeg-10" / "mine.txt").unlink()
    assert convert(replace(config, force=True)).variants[0].images == 18
    other = config.out.parent / "other"
    (other / "jpeg-10").mkdir(parents=True)
    for force in (False, True):
        with pytest.raises(UsageError, match="not made by dl2 convert"):
            convert(replace(config, out=other, force=force))
    with pytest.raises(UsageError, match="lies inside"):
        convert(replace(config, out=config.source / "out"))


def test_a_lost_file_of_a_finished_variant_is_told(config: VariantsConfig) -> None:
    convert(config)
    (config.out / "jpeg-10" / "val" / "bee" / "0.JPEG").unlink()
    with pytest.raises(DataError, match=r"val/bee/0.JPEG is missing.*--force"):
        convert(config)


def test_bad_files_are_rejected_by_the_one_verdict(config: VariantsConfig) -> None:
    whole = jpeg_bytes(photo())
    (config.source / "train" / "bee" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (config.source / "train" / "bee" / "text.png").write_text("no image")
    (config.source / "train" / "bee" / "float.tiff").write_bytes(b"")
    result = convert(config)
    for each in result.variants:
        assert [file.path for file in each.rejected] == [
            f"train/bee/{name}" for name in ("cut.jpg", "float.tiff", "text.png")
        ]
        assert each.images == 17
    with pytest.raises(DataError, match=r"train/bee/.*--on-error skip"):
        convert(replace(config, force=True, on_error="fail"))
    for path in config.source.rglob("*.*"):
        path.write_bytes(b"no")
    with pytest.raises(DataError, match="every image was rejected"):
        convert(replace(config, force=True))


def test_the_quality_list_copies_exactly_the_right_files(
    config: VariantsConfig, tmp_path: Path
) -> None:
    rows = ["file,quality,size"]
    for path in sorted(config.source.rglob("*.JPEG")):
        quality = 40 if int(path.stem) % 2 else 90
        rows.append(f"{path.relative_to(config.source)},{quality},{path.stat().st_size}")
    rows[1] = rows[1].rsplit(",", 1)[0] + ",1"  # train/ant/0.JPEG has changed since
    rows[2] = rows[2].replace(",40,", ",50,")  # at the limit
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(rows) + "\n")
    notes: list[str] = []
    targets = (Target("jpeg", 50), Target("jpeg", 95))
    result = convert(replace(config, targets=targets, quality_list=listed), on_note=notes.append)
    assert [each.copied for each in result.variants] == [8, 15]
    for name, content in images_of(config.source).items():
        same = [images_of(config.out / each.name).get(name) == content for each in result.variants]
        odd = Path(name).suffix == ".JPEG" and int(Path(name).stem) % 2 == 1
        changed = name == "train/ant/0.JPEG" or name.endswith(".png")
        assert same == [odd, not changed], name
    assert any("1 files are not as long" in note for note in notes)
    with pytest.raises(UsageError, match="goes with --to jpeg"):
        replace(config, targets=(Target("webp", 50),), quality_list=listed)
    listed.write_text("file,quality\nelsewhere/x.jpg,50\n")
    with pytest.raises(UsageError, match="lists none of the files"):
        convert(replace(config, quality_list=listed))
    listed.write_text("name\nx\n")
    with pytest.raises(DataError, match="needs the columns file and quality"):
        plan(replace(config, quality_list=listed))


def test_large_images_are_scaled_and_never_copied(config: VariantsConfig, tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    names = [str(p.relative_to(config.source)) for p in config.source.rglob("*.JPEG")]
    listed.write_text("file,quality\n" + "".join(f"{name},10\n" for name in names))
    result = convert(replace(config, max_side=61, quality_list=listed))
    assert result.variants[0].copied == 8  # those of 60 and 61 pixels
    for path in (config.out / "jpeg-10").rglob("*.JPEG"):
        source = config.source / path.relative_to(config.out / "jpeg-10")
        with Image.open(path) as new, Image.open(source) as old:
            assert max(new.size) == min(61, max(old.size))
    with Image.open(config.out / "jpeg-10" / "train" / "ant" / "gray.jpg") as gray:
        assert gray.size == (61, 38)  # of 97 x 61


def test_the_orientation_is_kept_where_the_format_can(config: VariantsConfig) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    path = config.source / "val" / "ant" / "0.JPEG"
    path.write_bytes(jpeg_bytes(photo(), exif=exif.tobytes(), icc_profile=b"x" * 200))
    notes: list[str] = []
    targets = (Target("jpeg", 50), Target("webp", 50), Target("jpeg2000", 40))
    convert(replace(config, targets=targets), on_note=notes.append)
    for name in ("jpeg-50/val/ant/0.JPEG", "webp-50/val/ant/0.webp"):
        with Image.open(config.out / name) as image:
            assert dict(image.getexif()) == {0x0112: 6}
            assert "icc_profile" not in image.info
    assert any("1 images have an EXIF orientation, which JPEG 2000" in note for note in notes)
    convert(replace(config, targets=targets[:2], keep_metadata="all", force=True))
    for name in ("jpeg-50/val/ant/0.JPEG", "webp-50/val/ant/0.webp"):
        with Image.open(config.out / name) as image:
            assert image.getexif()[0x010F] == "camera"
            assert image.info["icc_profile"] == b"x" * 200


def test_a_subset_has_the_first_files_of_each_class(config: VariantsConfig) -> None:
    result = convert(replace(config, targets=(Target("raw"),), fraction=0.5))
    assert result.variants[0].name == "raw-50"
    made = images_of(config.out / "raw-50")
    train = [f"train/{c}/{i}.JPEG" for c in ("ant", "bee") for i in range(3)]
    val = [f"val/{c}/{i}.JPEG" for c in ("ant", "bee") for i in range(2)]  # stays whole
    assert sorted(made) == sorted(train + val)
    assert all(made[name] == (config.source / name).read_bytes() for name in made)
    seeded = [
        set(images_of(convert(c).variants[0].out))
        for seed in (1, 2)
        for c in [replace(config, targets=(Target("jpeg", 10),), fraction=0.5, fraction_seed=seed,
                          out=config.out / str(seed))]
    ]  # fmt: skip
    assert seeded[0] != seeded[1]
    assert (config.out / "1" / "jpeg-10-sub50").is_dir()
    with pytest.raises(UsageError, match="whole number of percents"):
        replace(config, fraction=0.125)
    with pytest.raises(UsageError, match="give --fraction"):
        replace(config, targets=(Target("raw"),))


def test_empty_classes_and_colliding_names_survive(config: VariantsConfig) -> None:
    (config.source / "val" / "empty").mkdir()
    ant = config.source / "train" / "ant"
    (ant / "gray.jpg").write_bytes(jpeg_bytes(photo()))
    convert(config)
    made = images_of(config.out / "jpeg-10")
    assert {"train/ant/gray.jpg", "train/ant/gray.png.jpg"} <= set(made)
    assert (config.out / "jpeg-10" / "train" / "empty").is_dir()  # labels stay the same


def test_names_are_bytes(config: VariantsConfig) -> None:
    odd = os.fsdecode(b"caf\xe9.jpg")
    (config.source / "val" / "ant" / odd).write_bytes(jpeg_bytes(photo()))
    convert(config)
    assert (config.out / "jpeg-10" / "val" / "ant" / odd).is_file()
    assert convert(config).converted_images == 0


def test_two_conversions_do_not_meet(config: VariantsConfig) -> None:
    def second(_: VariantsProgress) -> None:
        with pytest.raises(UsageError, match="Another conversion is writing"):
            convert(config)

    convert(config, second)


def test_a_damaged_state_is_one_sentence(config: VariantsConfig) -> None:
    convert(config)
    (config.out / "jpeg-10" / STATE).write_bytes(b"no database, but long enough to be read" * 9)
    with pytest.raises(DataError, match="is damaged"):
        convert(config)
