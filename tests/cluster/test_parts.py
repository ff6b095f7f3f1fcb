"""A conversion in parts gives the bytes of a conversion on one machine."""

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from failing_calls import kill, run_dl2
from hypothesis import given
from hypothesis import strategies as st
from jpegs import contents, photo
from PIL import Image

from dl2cli import pcr
from dl2cli.cluster.merge import merge
from dl2cli.cluster.part import Part, parts_in
from dl2cli.cluster.parts import convert_part
from dl2cli.errors import DataError, Interrupted, UsageError
from dl2cli.pcr.config import ConvertConfig, ConvertProgress
from dl2cli.pcr.convert import convert


@pytest.fixture
def whole(config: ConvertConfig, tmp_path: Path) -> dict[str, bytes]:
    undisturbed = replace(config, out=tmp_path / "undisturbed")
    convert(undisturbed)
    return contents(undisturbed.out)


@given(st.integers(1, 50), st.integers(0, 400))
def test_each_record_belongs_to_one_part(count: int, record: int) -> None:
    owners = [Part(i, count) for i in range(1, count + 1) if Part(i, count).has(record)]
    assert len(owners) == 1
    assert Part.parse(str(owners[0])) == owners[0]


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/2/3", "1/9999999"])
def test_a_part_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="part must be I/N"):
        Part.parse(text)


@pytest.mark.parametrize("count", [1, 3, 40])  # more parts than records, too
def test_parts_in_any_order_give_the_same_bytes(
    config: ConvertConfig, whole: dict[str, bytes], count: int
) -> None:
    numbers = list(range(1, count + 1))
    random.Random(count).shuffle(numbers)
    for i, number in enumerate(numbers):
        result = convert_part(config, Part(number, count))
        assert result.waiting_for == tuple(sorted(numbers[i + 1 :]))
        assert not (config.out / "PCR.db").exists()
    (result,) = merge(config.out)
    assert contents(config.out) == whole
    assert (result.images, result.reencoded, len(result.rejected)) == (61, 1, 1)
    assert result.ignored == {"not in a class folder": 1}
    assert result.source == config.source


def test_parts_that_run_at_the_same_time_give_the_same_bytes(
    config: ConvertConfig, whole: dict[str, bytes]
) -> None:
    commands = [
        [sys.executable, "-m", "dl2cli", "convert", config.source, config.out, "--part", f"{i}/3"]
        for i in (1, 2, 3)
    ]
    options = ["--images-per-record", "4", "--workers", "1"]
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda c: subprocess.run([*c, *options], check=False), commands))
    assert [run.returncode for run in runs] == [0, 0, 0]
    run = run_dl2("convert", config.out, "--merge", rules=[])
    assert run.returncode == 0, run.stderr
    assert contents(config.out) == whole


def test_a_part_goes_on_where_it_was_interrupted(
    config: ConvertConfig, whole: dict[str, bytes]
) -> None:
    def stop(progress: ConvertProgress) -> None:
        if progress.done >= 16:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="the same command resumes"):
        convert_part(config, Part(1, 2), stop)
    with pytest.raises(UsageError, match="cannot be merged yet: part 2/2 has not begun"):
        merge(config.out)
    convert_part(config, Part(2, 2))
    with pytest.raises(UsageError, match="cannot be merged yet: part 1/2 is not done"):
        merge(config.out)
    assert convert_part(config, Part(1, 2)).resumed_records > 0
    merge(config.out)
    assert contents(config.out) == whole


@pytest.mark.parametrize("seed", range(2))
def test_parts_and_merges_killed_at_random_end_with_the_same_bytes(
    config: ConvertConfig, whole: dict[str, bytes], seed: int
) -> None:
    chance = random.Random(seed)
    part = ("convert", config.source, config.out, "--images-per-record", 4, "-w", 1, "--part")
    kills = 0
    for command in ((*part, "1/2"), (*part, "2/2"), ("convert", config.out, "--merge")):
        most = 8
        while True:
            rules = [kill("change", f"{config.out}", after=chance.randrange(most))]
            run = run_dl2(*command, rules=rules)
            if run.returncode == 0:
                break
            assert run.returncode == -9, run.stderr
            kills += 1
            most *= 2
    assert kills >= 3
    assert contents(config.out) == whole


def test_a_record_that_is_lost_is_converted_again(
    config: ConvertConfig, whole: dict[str, bytes]
) -> None:
    for number in (1, 2):
        convert_part(config, Part(number, 2))
    (config.out / "PCR_3.db").unlink()
    with pytest.raises(DataError, match=r"PCR_3.db is missing .* run part 2/2 again"):
        merge(config.out)
    convert_part(config, Part(2, 2))
    merge(config.out)
    assert contents(config.out) == whole


def test_the_merge_tells_of_images_that_lie_on_their_side(config: ConvertConfig) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("ant/0.jpg", "cat/3.jpg"):
        photo(50, 40).save(config.source / name, exif=exif)
    for number in (1, 2):
        convert_part(config, Part(number, 2))
    (note,) = merge(config.out)[0].notes
    assert note.startswith(f"2 of 61 images in {config.out} have an EXIF orientation")


def test_a_part_after_the_merge_changes_nothing(
    config: ConvertConfig, whole: dict[str, bytes]
) -> None:
    convert_part(config, Part(1, 1))
    merge(config.out)
    assert convert_part(config, Part(1, 1)).images == 0
    assert contents(config.out).keys() - whole.keys() == {"PCR_part_1_of_1.lock"}
    with pytest.raises(UsageError, match="with other options"):
        convert_part(replace(config, seed=5), Part(1, 1))


def test_parts_with_other_options_are_not_joined(config: ConvertConfig) -> None:
    convert_part(config, Part(1, 2))
    convert_part(replace(config, quality=50), Part(2, 2))
    with pytest.raises(UsageError, match=r"Parts 1/2 and 2/2 .* \(quality differ\)"):
        merge(config.out)
    convert_part(replace(config, force=True), Part(2, 2))
    assert merge(config.out)[0].images == 61


def test_other_conversions_keep_away_from_parts(config: ConvertConfig) -> None:
    with pytest.raises(UsageError, match="holds no parts of a conversion"):
        merge(config.out)
    convert_part(config, Part(1, 2))
    with pytest.raises(UsageError, match="--merge` joins them"):
        convert(config)
    assert [str(part) for part in parts_in(config.out)] == ["1/2"]
    assert convert(replace(config, force=True)).images == 61
    assert parts_in(config.out) == ()
    with pytest.raises(UsageError, match="not made in parts"):
        convert_part(replace(config, force=True), Part(1, 2))
    assert pcr.open(config.out).image_count == 61


@pytest.mark.parametrize("extra", [("elsewhere",), ("--seed", 3), ("--part", "1/2")])
def test_a_merge_takes_no_other_options(config: ConvertConfig, extra: tuple[object, ...]) -> None:
    run = run_dl2("convert", config.out, "--merge", *extra, rules=[])
    assert run.returncode == 2
    assert "dl2 convert OUT --merge" in run.stderr


def test_splits_are_converted_and_merged_together(config: ConvertConfig, tmp_path: Path) -> None:
    splits = tmp_path / "splits"
    splits.mkdir()
    config.source.rename(splits / "train")
    (splits / "val" / "ant").mkdir(parents=True)
    (splits / "val" / "ant" / "1.jpg").write_bytes((splits / "train/ant/1.jpg").read_bytes())
    for number in (1, 2):
        run = run_dl2("convert", splits, config.out, "--part", f"{number}/2", rules=[])
        assert run.returncode == 0, run.stderr
    run = run_dl2("convert", config.out, "--merge", rules=[])
    assert run.returncode == 0, run.stderr
    assert pcr.open(config.out / "train").image_count == 61
    assert pcr.open(config.out / "val").classes == ("ant", "bee", "cat")
