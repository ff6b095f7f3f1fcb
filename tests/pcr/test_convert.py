import errno
import os
import resource
import sqlite3
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jpegs import contents, jpeg_bytes, photo

from dl2cli import pcr
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.config import ConvertConfig, ConvertProgress, ScanFidelity
from dl2cli.pcr.convert import convert
from dl2cli.pcr.plan import plan, split_configs
from dl2cli.pcr.scan_script import SPECTRAL
from dl2cli_native import _core


def test_every_image_is_there_once_with_its_label(config: ConvertConfig) -> None:
    result = convert(config)
    assert (result.images, result.classes, result.records) == (21, 3, 6)
    dataset = pcr.open(config.out)
    assert dataset.classes == ("ant", "bee", "cat")
    seen = Counter()
    for number, info in enumerate(dataset.records):
        record = dataset.read(number)
        assert len(record) == info.images == (1 if number == 5 else 4)
        for source in dataset.sources(info.id):
            seen[source.path] += 1
            assert dataset.classes[record.labels[source.slot]] == source.path.split("/")[0]
            original = (config.source / source.path).read_bytes()
            assert source.bytes == len(original)
            assert source.crc32c == _core.crc32c(original)
            assert _core.compare_coefficients(original, record.image(source.slot)) == ""
            header = _core.read_jpeg_header(original)
            assert record.widths[source.slot] == header.width
            assert record.heights[source.slot] == header.height
    assert len(seen) == 21
    assert set(seen.values()) == {1}


def test_the_same_input_gives_the_same_bytes_whatever_the_threads(
    config: ConvertConfig, tmp_path: Path
) -> None:
    convert(config)
    other = replace(config, out=tmp_path / "other", workers=5)
    convert(other)
    assert contents(config.out) == contents(other.out)


def test_seed_and_shuffle_decide_the_order_only(config: ConvertConfig, tmp_path: Path) -> None:
    def paths(name: str, **changes: object) -> list[str]:
        changed = replace(config, out=tmp_path / name, **changes)
        convert(changed)
        return [source.path for source in pcr.open(changed.out).sources()]

    first, second, plain = paths("a", seed=1), paths("b", seed=2), paths("c", shuffle=False)
    assert plain == sorted(plain)
    assert len({tuple(first), tuple(second), tuple(plain)}) == 3
    assert sorted(first) == sorted(second) == plain


def test_sources_are_never_written(config: ConvertConfig) -> None:
    before = contents(config.source)
    stats = {p: (p.stat().st_mtime_ns, p.stat().st_atime_ns) for p in config.source.rglob("*.jpg")}
    convert(config)
    assert contents(config.source) == before
    assert stats == {p: (p.stat().st_mtime_ns, p.stat().st_atime_ns) for p in stats}


def test_bytes_at_each_fidelity_are_what_a_reader_takes(config: ConvertConfig) -> None:
    result = convert(config)
    dataset = pcr.open(config.out)
    for scans, promised in enumerate(result.bytes_at_scans, start=1):
        taken = sum(dataset.read(i, scans).bytes_read for i in range(len(dataset.records)))
        assert taken == promised
    assert result.output_bytes == sum(p.stat().st_size for p in config.out.glob("PCR_[0-9]*.db"))


def test_bad_files_are_listed_and_do_not_stop_the_rest(config: ConvertConfig) -> None:
    bad = config.source / "ant" / "bad.jpg"
    good = (config.source / "ant" / "0.jpg").read_bytes()
    bad.write_bytes(good[: len(good) // 2])
    (config.source / "bee" / "text.jpg").write_text("not an image")
    (config.source / "bee" / "empty.jpg").write_bytes(b"")
    (config.source / "bee" / "notes.txt").write_text("ignored")
    result = convert(config)
    assert result.images == 21
    reasons = {each.path: each.reason for each in result.rejected}
    assert reasons.keys() == {"ant/bad.jpg", "bee/text.jpg", "bee/empty.jpg"}
    assert "not an image" in reasons["bee/text.jpg"]
    assert reasons["bee/empty.jpg"] == "the file is empty"
    assert result.ignored == {"not an image by its ending": 1}
    with pytest.raises(DataError, match=r"ant/bad\.jpg|bee/(text|empty)\.jpg"):
        convert(replace(config, force=True, on_error="fail"))


def test_a_bad_file_can_be_mended_after_on_error_fail(config: ConvertConfig) -> None:
    bad = config.source / "cat" / "6.jpg"
    good = bad.read_bytes()
    bad.write_bytes(good[:200])
    failing = replace(config, on_error="fail")
    with pytest.raises(DataError, match=r"cat/6\.jpg"):
        convert(failing)
    bad.write_bytes(good)
    assert convert(failing).images == 21


def test_damaged_jpegs_are_kept_on_request(config: ConvertConfig) -> None:
    path = config.source / "ant" / "big.jpg"
    path.write_bytes(jpeg_bytes(photo(200, 150))[:-900])
    assert len(convert(config).rejected) == 1
    result = convert(replace(config, keep_damaged=True, force=True))
    assert (result.images, result.kept_damaged, len(result.rejected)) == (22, 1, 0)
    notes = {s.path: s.note for s in pcr.open(config.out).sources()}
    assert notes["ant/big.jpg"].startswith("kept though damaged: ")


def test_a_record_whose_images_are_all_bad_has_no_file(config: ConvertConfig) -> None:
    for path in config.source.glob("ant/*.jpg"):
        path.write_bytes(b"x")
    unshuffled = replace(config, shuffle=False)  # records 0 is all ants
    result = convert(unshuffled)
    assert result.images == 14
    assert [r.id for r in pcr.open(config.out).records] == [1, 2, 3, 4, 5]
    assert convert(unshuffled).images == 14  # a finished conversion stays finished


def test_nothing_to_keep_at_all_is_an_error(config: ConvertConfig) -> None:
    for path in config.source.rglob("*.jpg"):
        path.write_bytes(b"x")
    with pytest.raises(DataError, match="every image was rejected"):
        convert(config)


def test_names_that_are_no_utf8_nested_folders_and_links(config: ConvertConfig) -> None:
    data = (config.source / "ant" / "0.jpg").read_bytes()
    odd = os.fsencode(config.source) + b"/ant/caf\xe9.jpg"
    with open(odd, "wb") as file:  # noqa: PTH123 - a path of bytes
        file.write(data)
    (config.source / "ant" / "deep" / "er").mkdir(parents=True)
    (config.source / "ant" / "deep" / "er" / "x.JPEG").write_bytes(data)
    (config.source / "bee" / "link.jpg").symlink_to(config.source / "ant" / "0.jpg")
    (config.source / "bee" / "broken.jpg").symlink_to("nowhere.jpg")
    result = convert(config)
    assert result.images == 24
    assert "a broken link" in result.ignored
    names = {source.path for source in pcr.open(config.out).sources()}
    assert {os.fsdecode(b"ant/caf\xe9.jpg"), "ant/deep/er/x.JPEG", "bee/link.jpg"} <= names


def test_out_must_be_ours_and_outside_the_source(config: ConvertConfig, tmp_path: Path) -> None:
    for out in (config.source, config.source / "ant" / "out"):
        with pytest.raises(UsageError, match="lies inside"):
            convert(replace(config, out=out))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("precious")
    for force in (False, True):
        with pytest.raises(UsageError, match=r"do not belong to a PCR dataset \(thesis\.tex\)"):
            convert(replace(config, out=theirs, force=force))
    assert contents(theirs) == {"thesis.tex": b"precious"}
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(Exception, match="file"):
        convert(replace(config, out=file / "out"))


def test_a_finished_conversion_is_left_alone_unless_forced(config: ConvertConfig) -> None:
    first = convert(config)
    before = contents(config.out)
    again = convert(config)
    assert (again.resumed_records, again.converted_images) == (first.records, 0)
    assert contents(config.out) == before
    with pytest.raises(UsageError, match="quality 95, now 90"):
        convert(replace(config, quality=90))
    (config.source / "ant" / "new.jpg").write_bytes(jpeg_bytes(photo()))
    with pytest.raises(UsageError, match="has changed since"):
        convert(config)
    assert convert(replace(config, force=True, script=SPECTRAL)).images == 22
    assert pcr.open(config.out).groups == SPECTRAL.groups


def test_splits_share_their_labels(config: ConvertConfig, tmp_path: Path) -> None:
    root = tmp_path / "splits"
    for split, name in (("train", "b"), ("train", "c"), ("val", "a"), ("val", "c")):
        (root / split / name).mkdir(parents=True)
        (root / split / name / "1.jpg").write_bytes(jpeg_bytes(photo()))
    configs = split_configs(replace(config, source=root))
    assert [each.out.name for each in configs] == ["train", "val"]
    for each in configs:
        convert(each)
        assert pcr.open(each.out).classes == ("a", "b", "c")
    with pytest.raises(UsageError, match="lies inside"):
        split_configs(replace(config, source=root, out=root / "out"))


def test_a_split_without_labels_is_refused_before_anything_is_done(
    config: ConvertConfig, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    config.source.rename(root / "train")
    (root / "test").mkdir()
    (root / "test" / "1.jpg").write_bytes(jpeg_bytes(photo()))
    with pytest.raises(DataError, match="root/test holds no class folders"):
        split_configs(replace(config, source=root))


def test_progress_and_plan_agree_with_the_result(config: ConvertConfig) -> None:
    planned = plan(config)
    assert not config.out.exists()
    states: list[ConvertProgress] = []
    result = convert(config, states.append)
    assert (planned.images, planned.records) == (result.images, result.records)
    assert planned.source_bytes == result.source_bytes == states[-1].source_bytes
    assert states[-1].done == states[-1].images == 21
    assert [s.done for s in states] == sorted(s.done for s in states)


def test_measured_fidelity_goes_into_the_index(config: ConvertConfig) -> None:
    given: list[int] = []

    def measure(dataset: pcr.Dataset) -> tuple[ScanFidelity, ...]:
        given.append(dataset.image_count)
        return (ScanFidelity(1, 0.5, 20.0, 3), ScanFidelity(2, 1.0, None, 3))

    result = convert(replace(config, measure_fidelity=measure))
    assert given == [21]
    assert result.fidelity[1] == ScanFidelity(2, 1.0, None, 3)
    assert pcr.open(config.out).properties["fidelity"][0]["ms_ssim"] == 0.5


def test_a_full_disk_is_one_sentence_and_the_work_goes_on(config: ConvertConfig) -> None:
    """A limit on the size of files stands for the full disk: the write fails in the same way."""
    for i in range(3):
        image = photo(900, 700, seed=i)
        (config.source / "ant" / f"large{i}.jpg").write_bytes(jpeg_bytes(image, quality=98))
    script = f"""
import sys
from dl2cli.cli.main import main
sys.argv = ["dl2", "convert", {str(config.source)!r}, {str(config.out)!r},
            "--images-per-record", "4"]
main()
"""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))

    run = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert os.strerror(errno.EFBIG) in run.stderr
    assert "the same command resumes" in run.stderr
    assert "Traceback" not in run.stderr
    with pytest.raises(DataError, match="unfinished"):
        pcr.open(config.out)
    result = convert(config)
    assert result.images == 24


def test_a_conversion_under_way_is_not_disturbed(config: ConvertConfig) -> None:
    def second(_: ConvertProgress) -> None:
        with pytest.raises(UsageError, match="Another conversion"):
            convert(config)

    assert convert(config, second).images == 21


def test_small_and_large_records_hold_the_same_images(
    config: ConvertConfig, tmp_path: Path
) -> None:
    for size in (1, 3, 1024):
        changed = replace(config, out=tmp_path / str(size), images_per_record=size)
        result = convert(changed)
        assert result.records == -(-21 // size)
        dataset = pcr.open(changed.out)
        labels = np.concatenate([dataset.read_labels(i) for i in range(result.records)])
        assert sorted(labels.tolist()) == [0] * 7 + [1] * 7 + [2] * 7


def test_provenance_is_plain_sql(config: ConvertConfig) -> None:
    convert(config)
    with sqlite3.connect(config.out / "PCR_sources.db") as connection:
        (count,) = connection.execute("SELECT count(*) FROM sources").fetchone()
    connection.close()
    assert count == 21


def test_what_cannot_become_a_folder_is_a_usage_error(
    config: ConvertConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("file", "file/below", "dangling"):
        with pytest.raises(UsageError, match="is not a folder"):
            convert(replace(config, out=tmp_path / name))
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(StorageError, match="symbolic links"):
        convert(replace(config, out=tmp_path / "loop" / "below"))


def test_a_finished_conversion_that_lost_a_record_is_not_called_done(config: ConvertConfig) -> None:
    convert(config)
    (config.out / "PCR_1.db").unlink()
    with pytest.raises(DataError, match=r"PCR_1\.db is missing.*--force"):
        convert(config)
    assert convert(replace(config, force=True)).images == 21


def test_a_finished_conversion_can_still_be_measured(config: ConvertConfig) -> None:
    convert(config)
    before = contents(config.out)
    fidelity = (ScanFidelity(1, 0.5, 20.0, 1),)
    measured = convert(replace(config, measure_fidelity=lambda _: fidelity))
    assert measured.fidelity == fidelity
    assert contents(config.out) == before


def test_a_file_that_is_no_index_is_not_taken_for_one(config: ConvertConfig) -> None:
    config.out.mkdir()
    (config.out / "PCR.db").touch()
    with pytest.raises(UsageError, match=r"PCR\.db is not a PCR index; --force"):
        convert(config)
    assert convert(replace(config, force=True)).images == 21


def test_a_mended_file_is_told_with_the_way_to_convert_it(config: ConvertConfig) -> None:
    path = config.source / "bee" / "3.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    assert convert(config).notes == ()
    (note,) = convert(config).notes
    assert "After mending them, use --force" in note
    later = (config.out / "PCR.db").stat().st_mtime + 5
    path.write_bytes(whole)
    os.utime(path, (later, later))
    told: list[str] = []
    (note,) = convert(config, on_note=told.append).notes
    assert told == [note]
    assert "1 of the 1 rejected files have changed" in note
    assert "bee/3.jpg" in note
    assert convert(replace(config, force=True)).images == 21


def test_without_provenance_the_size_of_the_sources_is_unknown(config: ConvertConfig) -> None:
    convert(config)
    (config.out / "PCR_sources.db").unlink()
    assert convert(config).source_bytes is None


def test_a_measurement_that_fails_costs_no_dataset(config: ConvertConfig) -> None:
    def fail(_dataset: object) -> tuple[ScanFidelity, ...]:
        raise DataError("no such pixels.")

    result = convert(replace(config, measure_fidelity=fail))
    assert (result.images, result.fidelity) == (21, ())
    assert "was not measured: no such pixels. The dataset is complete" in result.notes[0]


def test_large_images_are_measured_under_the_limits_they_were_converted_with(
    config: ConvertConfig,
) -> None:
    seen: list[int] = []

    def look(dataset: pcr.Dataset) -> tuple[ScanFidelity, ...]:
        seen.append(dataset.limits.max_pixels)
        return ()

    convert(replace(config, limits=_core.Limits(max_pixels=200_000_000), measure_fidelity=look))
    assert seen[0] == 200_000_000
