import gc
import pickle
import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from jpegs import contents

from dl2cli import pcr
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert


@pytest.fixture
def dataset(config: ConvertConfig) -> pcr.Dataset:
    convert(config)
    return pcr.open(config.out)


def test_images_are_views_of_one_buffer_that_outlive_the_record(dataset: pcr.Dataset) -> None:
    record = dataset.read(0, scans=3)
    images = record.images
    assert all(image.obj is images[0].obj for image in images)
    assert all(image.readonly for image in images)
    copies = [bytes(image) for image in images]
    del record
    gc.collect()
    for number in range(len(dataset.records)):  # other reads must not take the memory
        dataset.read(number)
    assert [bytes(image) for image in images] == copies


def test_reading_takes_no_byte_more_than_the_prefix(dataset: pcr.Dataset) -> None:
    """What lies behind the prefix may be missing: a reader at fidelity k never notices."""
    info = dataset.records[0]
    path = dataset.path / info.file
    whole = path.read_bytes()
    for scans in range(1, 11):
        path.write_bytes(whole[: sum(info.lengths[: scans + 1])])
        assert dataset.read(0, scans).bytes_read == sum(info.lengths[: scans + 1])
        if scans < 10:
            with pytest.raises(DataError, match="too few"):
                dataset.read(0, scans + 1)


def test_damage_is_named_by_dataset_record_and_group(dataset: pcr.Dataset) -> None:
    info = dataset.records[2]
    path = dataset.path / info.file
    damaged = bytearray(path.read_bytes())
    damaged[sum(info.lengths[:4]) + 5] ^= 1
    path.write_bytes(damaged)
    assert len(dataset.read(2, scans=3)) == 4
    with pytest.raises(DataError, match=r"out, record PCR_2\.db: scan group 4: wrong checksum"):
        dataset.read(2, scans=4)


def test_a_record_of_another_dataset_is_noticed(dataset: pcr.Dataset) -> None:
    first, second = (dataset.path / dataset.records[i].file for i in (0, 1))
    first.write_bytes(second.read_bytes() + bytes(100_000))
    with pytest.raises(DataError, match="record of another dataset"):
        dataset.read(0)
    first.unlink()
    with pytest.raises(DataError, match="the file is missing"):
        dataset.read(0)


def test_there_is_no_fidelity_beyond_the_groups(dataset: pcr.Dataset) -> None:
    for scans in (0, 11, -1):
        with pytest.raises(UsageError, match="fidelities 1 to 10"):
            dataset.read(0, scans)


def test_threads_read_the_same(dataset: pcr.Dataset) -> None:
    expected = [[bytes(i) for i in dataset.read(n).images] for n in range(len(dataset.records))]
    wrong: list[int] = []

    def read(offset: int) -> None:
        for step in range(30):
            number = (offset + step) % len(expected)
            if [bytes(i) for i in dataset.read(number).images] != expected[number]:
                wrong.append(number)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_what_is_no_dataset_is_said_so(tmp_path: Path, config: ConvertConfig) -> None:
    with pytest.raises(UsageError, match=r"PCR\.db is missing"):
        pcr.open(tmp_path / "nowhere")
    (tmp_path / "PCR.db").write_text("no database")
    with pytest.raises(DataError, match="not a PCR index"):
        pcr.open(tmp_path)
    (tmp_path / "PCR.db").unlink()
    sqlite3.connect(tmp_path / "PCR.db").execute("CREATE TABLE x (y)").connection.close()
    with pytest.raises(DataError, match="the tables of an index are missing"):
        pcr.open(tmp_path)


def test_a_newer_format_is_refused(dataset: pcr.Dataset) -> None:
    connection = sqlite3.connect(dataset.path / "PCR.db")
    with connection:
        connection.execute("UPDATE dataset SET value = '2' WHERE key = 'format_version'")
    connection.close()
    with pytest.raises(DataError, match="use a newer dl2"):
        pcr.open(dataset.path)


def test_reading_changes_nothing_and_needs_no_provenance(dataset: pcr.Dataset) -> None:
    before = contents(dataset.path)
    dataset.read(0)
    assert contents(dataset.path) == before
    (dataset.path / "PCR_sources.db").unlink()
    assert list(pcr.open(dataset.path).sources()) == []
    assert len(dataset.read(0)) == 4


def test_a_dataset_may_be_moved_and_be_read_only(dataset: pcr.Dataset, tmp_path: Path) -> None:
    moved = dataset.path.rename(tmp_path / "moved #1? 100%")
    for path in moved.iterdir():
        path.chmod(0o444)
    moved.chmod(0o555)
    try:
        assert pcr.open(moved).read(0).labels.size == 4
    finally:
        moved.chmod(0o755)


def test_a_path_that_the_system_refuses_is_one_sentence() -> None:
    with pytest.raises(StorageError, match="File name too long"):
        pcr.open("a" * 300)


def test_datasets_and_records_go_to_other_processes(dataset: pcr.Dataset) -> None:
    copy = pickle.loads(pickle.dumps(dataset))
    assert (copy.records, copy.classes) == (dataset.records, dataset.classes)
    record = dataset.read(1, 3)
    again = pickle.loads(pickle.dumps(record))
    assert [bytes(i) for i in again.images] == [bytes(i) for i in copy.read(1, 3).images]
    assert np.array_equal(again.labels, record.labels)
    assert (again.scans, again.bytes_read) == (3, record.bytes_read)


def test_slots_count_from_either_end(dataset: pcr.Dataset) -> None:
    record = dataset.read(0)
    assert record.image(-1) == record.images[-1]
    for slot in (len(record), -len(record) - 1):
        with pytest.raises(IndexError):
            record.image(slot)


def test_record_files_that_are_missing_or_cut_are_told(dataset: pcr.Dataset) -> None:
    assert dataset.missing_records() == []
    first, second = (dataset.path / dataset.records[n].file for n in (0, 1))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    gone, cut = dataset.missing_records()
    assert gone.endswith(f"{first.name}: the file is missing.")
    assert f"{second.name}: it has {second.stat().st_size:,} bytes, but the index says" in cut
