"""Files that want to hurt: each is a rejected file, never a crash, a hang or much memory."""

import shlex
import sqlite3
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import jpeg_bytes, jpegtran, photo

from dl2cli import pcr
from dl2cli.errors import DataError, Dl2Error
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.extraction.extract import extract
from dl2cli.pcr.scan_script import DEFAULT
from dl2cli.pcr.verify import verify
from dl2cli_native import _core

SOF0 = b"\xff\xc0"


def with_size(jpeg: bytes, width: int, height: int) -> bytes:
    at = jpeg.index(SOF0) + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]


def ten_thousand_scans() -> bytes:
    """A progressive file whose last refinement scan is there ten thousand times."""
    jpeg = jpegtran(jpeg_bytes(photo()), "-progressive")
    offsets = _core.find_scans(jpeg)
    last = jpeg[offsets[-2] : offsets[-1]]
    return jpeg[: offsets[-1]] + last * 10_000 + b"\xff\xd9"


def png_bomb() -> bytes:
    """A PNG that promises 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(100_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def hostile_files() -> dict[str, bytes]:
    jpeg = jpeg_bytes(photo())
    dqt = jpeg.index(b"\xff\xdb")
    return {
        "huge.jpg": with_size(jpeg, 65_535, 65_535),
        "large.jpg": with_size(jpeg, 9_900, 9_900),
        "zero.jpg": with_size(jpeg, 0, 61),
        "scans.jpg": ten_thousand_scans(),
        "lying_length.jpg": jpeg[: dqt + 2] + b"\xff\xff" + jpeg[dqt + 4 :],
        "short_length.jpg": jpeg[: dqt + 2] + b"\x00\x01" + jpeg[dqt + 4 :],
        "only_start.jpg": b"\xff\xd8\xff",
        "no_scan.jpg": jpeg[: jpeg.index(b"\xff\xda")] + b"\xff\xd9",
        "fill_bytes.jpg": b"\xff\xd8" + b"\xff" * 100_000,
        "no_tables.jpg": jpeg[:2] + jpeg[jpeg.index(SOF0) :],
        "bomb.png": png_bomb(),
    }


def test_hostile_files_are_rejected_and_the_rest_is_converted(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "a"
    folder.mkdir(parents=True)
    for name, content in hostile_files().items():
        (folder / name).write_bytes(content)
    (folder / "good.jpg").write_bytes(jpeg_bytes(photo()))
    result = convert(ConvertConfig(tmp_path / "in", tmp_path / "out", workers=2))
    assert result.images == 1
    reasons = {each.path.removeprefix("a/"): each.reason for each in result.rejected}
    assert reasons.keys() == hostile_files().keys()
    assert "more than the limit" in reasons["huge.jpg"]
    assert "pixels promised" in reasons["large.jpg"]
    assert reasons["scans.jpg"] == "too many scans"
    assert "promises 65535 bytes" in reasons["lying_length.jpg"]
    assert "more pixels than the limit" in reasons["bomb.png"]


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_to_a_jpeg_is_an_error_or_a_valid_image(data: st.DataObject) -> None:
    jpeg = bytearray(jpeg_bytes(photo(40, 30), progressive=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 6))):
        jpeg[data.draw(st.integers(0, len(jpeg) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(jpeg)))
    damaged = bytes(jpeg[:cut]) if data.draw(st.booleans()) else bytes(jpeg)
    limits = _core.Limits(max_pixels=1_000_000)
    for keep_damaged in (False, True):
        try:
            image = _core.transcode(
                damaged, DEFAULT.native, keep_damaged=keep_damaged, limits=limits
            )
        except _core.DataError as error:
            assert str(error)
            continue
        _core.decode(image.fragments, limits=limits)


@given(data=st.binary(max_size=200))
def test_any_bytes_behind_a_start_marker(data: bytes) -> None:
    for function in (_core.read_jpeg_header, _core.find_scans):
        with pytest.raises(_core.DataError):
            function(b"\xff\xd8" + data)


@settings(max_examples=150)
@given(data=st.data())
def test_no_damage_to_a_dataset_does_more_than_raise(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = _small_dataset(tmp_path_factory)
    path = folder / data.draw(st.sampled_from(["PCR_0.db", "PCR.db"]))
    original = path.read_bytes()
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(damaged[: data.draw(st.integers(1, len(damaged)))]))
    try:
        dataset = pcr.open(folder)
        for scans in range(1, dataset.groups + 1):
            dataset.read(0, scans)
    except Dl2Error:
        pass
    finally:
        path.write_bytes(original)


def _small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.getbasetemp() / "hostile"
    if not folder.exists():
        (folder / "in" / "a").mkdir(parents=True)
        for i in range(3):
            (folder / "in" / "a" / f"{i}.jpg").write_bytes(jpeg_bytes(photo(20, 20, seed=i)))
        convert(ConvertConfig(folder / "in", folder / "out"))
    return folder / "out"


def change_index(path: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement, values in statements:
            connection.execute(statement, values)
    connection.close()


@pytest.mark.parametrize(
    ("statement", "value"),
    [
        ("UPDATE records SET crc32c = ?", -1),
        ("UPDATE records SET crc32c = ?", 1 << 40),
        ("UPDATE records SET images = ?", -1),
        ("UPDATE records SET images = ?", 1 << 62),
        ("UPDATE records SET images = ?", "many"),
        ("UPDATE records SET lengths = ?", "long"),
        ("UPDATE records SET file = ?", "../PCR_0.db"),
        ("UPDATE records SET file = ?", "PCR_0.db\0x"),
        ("UPDATE records SET file = ?", b"PCR_0.db"),
        ("UPDATE dataset SET value = ? WHERE key = 'seed'", "[" * 100_000),
        ("UPDATE dataset SET value = ? WHERE key = 'seed'", "no JSON"),
        ("UPDATE dataset SET value = ? WHERE key = 'format_version'", "-1"),
        ("UPDATE dataset SET value = ? WHERE key = 'format_version'", '"1"'),
    ],
)
def test_an_index_that_lies_is_an_error_that_names_it(
    config: ConvertConfig, statement: str, value: object
) -> None:
    convert(config)
    change_index(config.out / "PCR.db", (statement, (value,)))
    with pytest.raises(DataError, match=str(config.out)):
        pcr.open(config.out)  # before a loader plans for all of these images


@pytest.mark.parametrize("value", ['["x"]', "[-1]", "[1e30]", "{}", "[1267650600228229401496703]"])
def test_limits_that_are_none_are_the_usual_ones(config: ConvertConfig, value: str) -> None:
    convert(config)
    statement = "UPDATE dataset SET value = ? WHERE key = 'limits'"
    change_index(config.out / "PCR.db", (statement, (value,)))
    assert 0 < pcr.open(config.out).limits.max_pixels < 1 << 32
    assert verify(pcr.open(config.out)).damage == ()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("path", "a/0\0.jpg"),
        ("path", "/dev/zero"),
        ("path", "a/../../../../../../../dev/zero"),
        ("bytes", "many"),
        ("crc32c", "x"),
        ("note", b"re-encoded"),
    ],
)
def test_provenance_that_lies_is_an_error_that_names_it(
    config: ConvertConfig, tmp_path: Path, column: str, value: object
) -> None:
    convert(config)
    change_index(config.out / "PCR_sources.db", (f"UPDATE sources SET {column} = ?", (value,)))
    dataset = pcr.open(config.out)
    with pytest.raises(DataError, match="PCR_sources"):
        verify(dataset, config.source)
    with pytest.raises(DataError, match="PCR_sources"):
        extract(dataset, tmp_path / "back")
    assert all("PCR_sources.db" in each.reason for each in verify(dataset).damage)


def test_provenance_of_another_schema_is_an_error(config: ConvertConfig) -> None:
    convert(config)
    path = config.out / "PCR_sources.db"
    change_index(path, ("DROP TABLE sources", ()), ("CREATE TABLE sources (record, slot)", ()))
    with pytest.raises(DataError, match="PCR_sources"):
        list(pcr.open(config.out).sources())


@pytest.mark.parametrize("name", ["{outside}", "../evil", "nul\0"])
def test_class_names_cannot_leave_the_folder(
    config: ConvertConfig, tmp_path: Path, name: str
) -> None:
    convert(config)
    (config.out / "PCR_sources.db").unlink()  # without it, files are named after their class
    outside = tmp_path / "evil"
    name = name.format(outside=outside)
    change_index(config.out / "PCR.db", ("UPDATE classes SET name = ?", (name,)))
    with pytest.raises(DataError, match="leaves the folder"):
        extract(pcr.open(config.out), tmp_path / "back")
    assert not outside.exists()


def test_a_label_without_a_class_is_an_error(config: ConvertConfig, tmp_path: Path) -> None:
    convert(config)
    (config.out / "PCR_sources.db").unlink()
    change_index(config.out / "PCR.db", ("DELETE FROM classes", ()))
    with pytest.raises(DataError, match=r"PCR_0\.db: label \d has no class"):
        extract(pcr.open(config.out), tmp_path / "back")


def test_a_sparse_record_beyond_all_memory_is_an_error(config: ConvertConfig) -> None:
    """Nothing on disk, a terabyte by the index: the length of a file is no proof of its bytes."""
    convert(config)
    length = 1 << 40
    with (config.out / "PCR_0.db").open("r+b") as file:
        file.truncate(length)
    lengths = struct.pack("<11Q", length - 10, *[1] * 10)
    statement = "UPDATE records SET lengths = ? WHERE id = 0"
    change_index(config.out / "PCR.db", (statement, (lengths,)))
    # Where the system promises memory that it has not, only a limit keeps this from being tried.
    program = f"from dl2cli import pcr; pcr.open({str(config.out)!r}).read(0)"
    line = f"ulimit -v 8000000; exec {sys.executable} -c {shlex.quote(program)}"
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert "DataError" in run.stderr
    assert "bytes of metadata for 4 images, which need far less" in run.stderr


@pytest.mark.parametrize("name", ["PCR.db", "PCR_sources.db"])
def test_a_damaged_schema_is_an_error(config: ConvertConfig, name: str) -> None:
    """SQLite quotes it, and Python cannot decode what SQLite says."""
    convert(config)
    path = config.out / name
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE", b"CR\xffATE TABLE"))
    with pytest.raises(DataError, match="schema is damaged"):
        list(pcr.open(config.out).sources())
    with pytest.raises(DataError, match="schema is damaged"):
        convert(config)
