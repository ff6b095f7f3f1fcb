"""Copies between folders and stores: verified, resumable, and never half of a dataset."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jpegs import contents
from store_servers import FaultProxy, WebServer, garble, in_store, status

from dl2cli import pcr
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr import index
from dl2cli.pcr.dataset_files import local_file
from dl2cli.pcr.transfer.copy import copy
from dl2cli.pcr.verify import verify
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import dataset_path


@pytest.mark.parametrize("where", ["folder", "web", "s3"])
def test_a_whole_copy_is_the_same_bytes(
    where: str, dataset: Path, web: WebServer, s3: str, tmp_path: Path
) -> None:
    source = {"folder": str(dataset), "web": f"{web.url}/pcr", "s3": s3}[where]
    result = copy(pcr.open(source), tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(dataset)
    assert (result.images, result.scans, result.resumed_records) == (33, 10, 0)
    again = copy(pcr.open(source), tmp_path / "copy")
    assert (again.bytes_written, again.resumed_records) == (0, 5)


@pytest.mark.parametrize("scans", [1, 5, 9])
def test_a_copy_at_a_fidelity_is_a_dataset(
    scans: int, web: WebServer, dataset: Path, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small"
    copy(pcr.open(f"{web.url}/pcr"), out, scans)
    small, whole = pcr.open(out), pcr.open(dataset)
    assert (small.groups, small.image_count, small.classes) == (scans, 33, whole.classes)
    assert list(small.sources()) == list(whole.sources())
    for number in range(len(whole.records)):
        for k in (1, scans):
            near, far = small.read(number, k), whole.read(number, k)
            assert [bytes(jpeg) for jpeg in near.images] == [bytes(jpeg) for jpeg in far.images]
            assert near.labels.tolist() == far.labels.tolist()
            assert near.orientations.tolist() == far.orientations.tolist()
    result = verify(small, folder)
    assert result.damage == ()
    assert result.not_comparable == 33  # they are not meant to equal their sources
    copy(small, tmp_path / "smaller", 1)
    copy(whole, tmp_path / "direct", 1)
    assert contents(tmp_path / "smaller") == contents(tmp_path / "direct")
    total = sum(len(content) for content in contents(out).values())
    assert total < sum(len(content) for content in contents(dataset).values())


def test_a_copy_goes_to_s3(s3: str, dataset: Path) -> None:
    target = dataset_path(s3).parent / "copied" / "whole"
    copy(pcr.open(dataset), target)
    assert in_store(str(target), sorted(contents(dataset))) == contents(dataset)
    assert verify(pcr.open(target)).damage == ()
    again = copy(pcr.open(dataset), target)
    assert again.bytes_written == 0
    with pytest.raises(UsageError, match="another dataset"):
        copy(pcr.open(dataset), target, 3)
    half = dataset_path(s3).parent / "copied" / "half"
    copy(pcr.open(target), half, 4)
    assert pcr.open(half).groups == 4


def test_a_copy_that_was_stopped_goes_on(
    proxy: FaultProxy, dataset: Path, quick: StoreOptions, tmp_path: Path
) -> None:
    source = pcr.open(f"{proxy.url}/pcr", quick)
    proxy.fault(r"PCR_3\.db", status(403))
    with pytest.raises(StorageError, match="403"):
        copy(source, tmp_path / "copy", workers=1)
    with pytest.raises(DataError, match="unfinished"):
        pcr.open(tmp_path / "copy")
    proxy.clear()
    result = copy(source, tmp_path / "copy", workers=1)
    assert result.resumed_records >= 2
    assert contents(tmp_path / "copy") == contents(dataset)
    assert proxy.count("/pcr/PCR_0.db") == 0


def test_a_copy_to_a_store_goes_on(
    s3: str, served_copy: tuple[Path, str], dataset: Path, quick: StoreOptions
) -> None:
    near, url = served_copy
    target = dataset_path(s3).parent / "stopped"
    lost = near.parent / "PCR_3.db"
    shutil.move(near / "PCR_3.db", lost)
    with pytest.raises(DataError, match=r"PCR_3\.db: the file is missing"):
        copy(pcr.open(url, quick), target, workers=1)
    assert local_file(target / index.INDEX, None) is None  # nobody reads half of it
    shutil.move(lost, near / "PCR_3.db")
    assert copy(pcr.open(url, quick), target, workers=1).resumed_records >= 2
    assert in_store(str(target), sorted(contents(dataset))) == contents(dataset)


def test_wrong_bytes_are_not_copied(
    proxy: FaultProxy, dataset: Path, quick: StoreOptions, tmp_path: Path
) -> None:
    source = pcr.open(f"{proxy.url}/pcr", quick)
    proxy.fault(r"PCR_1\.db", garble, times=2)
    proxy.fault(r"PCR_2\.db", garble)
    with pytest.raises(DataError, match=r"PCR_2\.db: .*wrong checksum"):
        copy(source, tmp_path / "copy", workers=1)
    proxy.clear()
    copy(source, tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(dataset)


def test_what_is_there_is_not_written_over(dataset: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "letter.txt").write_text("dear")
    with pytest.raises(UsageError, match="holds something else"):
        copy(pcr.open(dataset), full)
    copy(pcr.open(dataset), tmp_path / "copy", 2)
    with pytest.raises(UsageError, match="holds something else"):
        copy(pcr.open(dataset), tmp_path / "copy", 3)
    with pytest.raises(UsageError, match="fidelities 1 to 10"):
        copy(pcr.open(dataset), tmp_path / "other", 11)
    assert list(contents(full)) == ["letter.txt"]
