"""The published format, both ways, against SqliteDict and the protobuf runtime."""

import contextlib
import io
import itertools
import pickle
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jpegs import jpeg_bytes, jpegtran, photo
from PIL import Image
from published_messages import MetadataRecord, ScanGroup
from sqlitedict import SqliteDict

from dl2cli import pcr
from dl2cli.errors import DataError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.published import read_integers
from dl2cli_native import _core


def write_published(folder: Path, batches: list[list[tuple[bytes, int]]]) -> None:
    """Write a dataset as the PCR_Release converter does: progressive JPEGs, SqliteDict, pickles."""
    folder.mkdir()
    with SqliteDict(str(folder / "PCR.db"), autocommit=True) as db:
        db["m_dataset_size"] = sum(map(len, batches))
        db["m_classes"] = np.unique([label for batch in batches for _, label in batch])
        db["m_batch_size"] = len(batches[0])
        for number, batch in enumerate(batches):
            parts = [[j[a:b] for a, b in itertools.pairwise(_core.find_scans(j))] for j, _ in batch]
            levels = max(map(len, parts))
            metadata = MetadataRecord(
                labels=[label for _, label in batch], progressive_levels=levels
            )
            groups = [
                ScanGroup(image_bytes=[p[g] if g < len(p) else b"" for p in parts])
                for g in range(levels)
            ]
            pieces = [message.SerializeToString() for message in (metadata, *groups)]
            (folder / f"PCR_{number}.pcr").write_bytes(b"".join(pieces))
            db[f"/PCR_{number}.pcr"] = [len(piece) for piece in pieces]
            db[f"m_PCR_full_index_PCR_{number}.pcr_0"] = np.array([1, 2, 3])


def test_published_datasets_open_here(tmp_path: Path) -> None:
    jpegs = [jpegtran(jpeg_bytes(photo(seed=i)), "-progressive") for i in range(5)]
    jpegs[3] = jpegtran(jpeg_bytes(photo(mode="L")), "-progressive")
    batches = [[(jpegs[0], 4), (jpegs[1], 0)], [(jpegs[2], 1), (jpegs[3], 2)], [(jpegs[3], 2)]]
    write_published(tmp_path / "theirs", batches)
    dataset = pcr.open(tmp_path / "theirs")
    assert dataset.is_published_format
    assert (dataset.image_count, dataset.groups, len(dataset.classes)) == (5, 10, 5)
    for number, batch in enumerate(batches):
        record = dataset.read(number)
        assert record.labels.tolist() == [label for _, label in batch]
        assert [bytes(image) for image in record.images] == [jpeg for jpeg, _ in batch]
    for scans in range(1, 11):
        for number in range(3):
            for image_bytes in dataset.read(number, scans).images:
                with Image.open(io.BytesIO(image_bytes)) as image:
                    image.load()


def test_our_datasets_are_read_by_the_published_rules(config: ConvertConfig) -> None:
    convert(config)
    dataset = pcr.open(config.out)
    with SqliteDict(str(config.out / "PCR.db"), flag="r") as db:
        assert db["m_dataset_size"] == 21
        assert db["m_batch_size"] == 4
        assert db["m_classes"] == [0, 1, 2]
        names = [key for key in db if not key.startswith("m_")]
        assert names == [record.file for record in dataset.records]
        for number, name in enumerate(names):
            content = (config.out / name).read_bytes()
            offsets = [0, *itertools.accumulate(db[name])]
            assert offsets[-1] == len(content)
            metadata = MetadataRecord.FromString(content[: offsets[1]])
            assert metadata.progressive_levels == len(offsets) - 2 == 10
            record = dataset.read(number)
            assert list(metadata.labels) == record.labels.tolist()
            groups = [
                ScanGroup.FromString(content[a:b]).image_bytes
                for a, b in itertools.pairwise(offsets[1:])
            ]
            for slot, image in enumerate(record.images):
                theirs = b"".join(group[slot] for group in groups) + b"\xff\xd9"
                assert theirs == bytes(image)


@given(values=st.lists(st.integers(0, 2**70), max_size=30), protocol=st.integers(0, 5))
def test_lists_of_integers_are_read_without_unpickling(values: list[int], protocol: int) -> None:
    assert read_integers(pickle.dumps(values, protocol)) == values


class Exploit:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/dl2-exploited"),))


@pytest.mark.parametrize(
    "value",
    [Exploit(), {"a": 1}, ["text"], [1.5], np.array([1]), [[None]]],
    ids=["call", "dict", "text", "float", "array", "none"],
)
def test_any_other_pickle_is_refused_unread(value: object) -> None:
    with pytest.raises(DataError, match="pickle uses"):
        read_integers(pickle.dumps(value))
    assert not Path("/tmp/dl2-exploited").exists()


@given(data=st.binary(max_size=100))
def test_any_bytes_are_integers_or_an_error(data: bytes) -> None:
    with contextlib.suppress(DataError):
        assert all(isinstance(value, int) for value in read_integers(data))


def test_a_huge_memo_index_takes_no_memory() -> None:
    assert read_integers(b"\x80\x02]r\xff\xff\xff\x7f.") == []
    with pytest.raises(DataError, match="more than a list of lengths needs"):
        read_integers(bytes(100_000))


@pytest.mark.parametrize(
    ("key", "lengths", "reason"),
    [
        ("/../../etc/passwd", [10, 10], "not a plain file name"),
        ("/PCR_0.pcr", [10], "scan groups"),
        ("/PCR_0.pcr", [10, 2**60], "out of range"),
        ("/PCR_0.pcr", [10**6, 10**6], "too few"),
        ("/missing.pcr", [10, 10], "missing"),
    ],
)
def test_a_lying_index_is_refused(
    tmp_path: Path, key: str, lengths: list[int], reason: str
) -> None:
    write_published(tmp_path / "theirs", [[(jpegtran(jpeg_bytes(photo()), "-progressive"), 0)]])
    connection = sqlite3.connect(tmp_path / "theirs" / "PCR.db")
    with connection:
        connection.execute("DELETE FROM unnamed WHERE key = '/PCR_0.pcr'")
        row = (key, pickle.dumps(lengths))
        connection.execute("INSERT INTO unnamed VALUES (?, ?)", row)
    connection.close()
    with pytest.raises(DataError, match=reason):
        pcr.open(tmp_path / "theirs").read(0)
