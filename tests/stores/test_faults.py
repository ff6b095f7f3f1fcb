"""A store that fails in every way: nothing wrong is decoded, nothing hangs, reasons are named."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_servers import (
    Fault,
    FaultProxy,
    cut,
    drip,
    garble,
    silent,
    stall,
    status,
    truncate,
    whole_object,
)

from dl2cli import pcr
from dl2cli.errors import DataError, StorageError
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath, dataset_path
from dl2cli.stores.reader import StoreReader

PASSING = {
    "cut": cut,
    "truncate": truncate,
    "stall": stall,
    "silent": silent,
    "500": status(500),
    "503": status(503, ("Retry-After", "1")),
    "429": status(429, ("Retry-After", "1")),
}


def same(left: pcr.Dataset, right: pcr.Dataset) -> bool:
    return all(
        [bytes(jpeg) for jpeg in left.read(n, k).images]
        == [bytes(jpeg) for jpeg in right.read(n, k).images]
        and np.array_equal(left.read(n, k).labels, right.read(n, k).labels)
        for n in range(len(left.records))
        for k in (1, 5, 10)
    )


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_got_over(
    name: str, proxy: FaultProxy, dataset: Path, quick: StoreOptions
) -> None:
    proxy.fault(r"PCR_?\d*\.db", PASSING[name], times=2)
    opened = pcr.open(f"{proxy.url}/pcr", quick)
    assert same(opened, pcr.open(dataset))
    assert isinstance(opened.place, StoreReader)
    assert opened.place.stats().retries >= 2


def test_wrong_bytes_are_read_again(proxy: FaultProxy, dataset: Path, quick: StoreOptions) -> None:
    proxy.fault(r"PCR_\d+\.db", garble, times=2)
    proxy.fault(r"PCR\.db", garble, times=1)
    assert same(pcr.open(f"{proxy.url}/pcr", quick), pcr.open(dataset))


def test_wrong_bytes_are_never_decoded(proxy: FaultProxy, quick: StoreOptions) -> None:
    opened = pcr.open(f"{proxy.url}/pcr", quick)
    proxy.fault(r"PCR_1\.db", garble)
    with pytest.raises(DataError, match=r"PCR_1\.db: scan group \d+: wrong checksum"):
        opened.read(1)
    assert proxy.count("/pcr/PCR_1.db") == 3  # once, and twice again
    opened.read(0)


LASTING: dict[str, tuple[Fault, str]] = {
    "503": (status(503), "attempt 5, the last of 5, the server answered 503"),
    "403": (status(403), "attempt 1, the server answered 403"),
    "400": (status(400), "attempt 1, the server answered 400"),
    "silent": (silent, "there was no answer"),
    "stall": (stall, "the answer broke off"),
    "drip": (drip, "the answer broke off"),
    "whole": (whole_object, "does not serve parts of files"),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_named(name: str, proxy: FaultProxy, quick: StoreOptions) -> None:
    fault, words = LASTING[name]
    opened = pcr.open(f"{proxy.url}/pcr", replace(quick, retries=4 if name == "503" else 1))
    proxy.fault(r"PCR_1\.db", fault)
    with pytest.raises(StorageError) as failed:
        opened.read(1)
    message = str(failed.value)
    assert f"{proxy.url}/pcr/PCR_1.db" in message
    assert words in message
    assert "says nothing about the data" in message


def test_a_record_that_is_missing_or_short(
    served_copy: tuple[Path, str], quick: StoreOptions
) -> None:
    copy, url = served_copy
    opened = pcr.open(url, quick)
    (copy / "PCR_1.db").unlink()
    with pytest.raises(DataError, match="file is missing"):
        opened.read(1)
    content = (copy / "PCR_2.db").read_bytes()
    (copy / "PCR_2.db").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="too short"):
        opened.read(2)
    opened.read(2, 1)  # what is there


def test_an_object_that_is_replaced(served_copy: tuple[Path, str], quick: StoreOptions) -> None:
    """Another record of the same length, in place of the one that the index means."""
    copy, url = served_copy
    opened = pcr.open(url, quick)
    length = (copy / "PCR_1.db").stat().st_size
    (copy / "PCR_1.db").write_bytes((copy / "PCR_0.db").read_bytes().ljust(length, b"\0")[:length])
    with pytest.raises(DataError, match="the record of another dataset"):
        opened.read(1)


def test_parts_of_two_versions_are_never_mixed(
    served_copy: tuple[Path, str], quick: StoreOptions
) -> None:
    """Also where a dataset has no checksums: the server's version must be one."""
    copy, url = served_copy
    reader = StoreReader(StorePath(str(dataset_path(url))), replace(quick, part_bytes=1000))
    length = (copy / "PCR_1.db").stat().st_size
    pieces = reader.read("PCR_1.db", 0, length)
    assert len(pieces) == length // 1000
    assert b"".join(map(bytes, pieces)) == (copy / "PCR_1.db").read_bytes()


def test_a_server_that_is_not_there(quick: StoreOptions) -> None:
    with pytest.raises(StorageError, match=r"127\.0\.0\.1:1/pcr/PCR.db, attempt 4, .*no answer"):
        pcr.open("http://127.0.0.1:1/pcr", quick)


def test_retries_keep_to_their_share(proxy: FaultProxy, quick: StoreOptions) -> None:
    options = replace(quick, extra_share=0.0, extra_burst=3, retries=100)
    opened = pcr.open(f"{proxy.url}/pcr", options)
    proxy.fault(r"PCR_1\.db", status(503))
    with pytest.raises(StorageError, match="no more, 0% of all requests were retries"):
        opened.read(1)
    assert proxy.count("/pcr/PCR_1.db") == 4


def test_a_cancelled_read_ends_at_once(proxy: FaultProxy) -> None:
    opened = pcr.open(f"{proxy.url}/pcr", StoreOptions(read_timeout_s=600, request_timeout_s=600))
    proxy.fault(r"PCR_1\.db", silent)
    reader = opened.place
    assert isinstance(reader, StoreReader)
    failed: list[Exception] = []

    def read() -> None:
        try:
            opened.read(1)
        except StorageError as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while proxy.count("/pcr/PCR_1.db") == 0:
        thread.join(0.01)
    deadline = time.monotonic() + 60
    while thread.is_alive() and time.monotonic() < deadline:
        reader.cancel()  # as its callers do: a request that has just been sent may be missed
        thread.join(0.1)
    assert not thread.is_alive()
    assert "not wanted any more" in str(failed[0])


def test_a_slow_request_is_made_twice_if_asked_for(
    proxy: FaultProxy, dataset: Path, quick: StoreOptions
) -> None:
    options = replace(quick, hedge=True, read_timeout_s=600, request_timeout_s=600)
    opened = pcr.open(f"{proxy.url}/pcr", options)
    for _ in range(25):
        for number in range(len(opened.records)):
            opened.read(number, 1)
    first = proxy.count("/pcr/PCR_1.db") + 1
    proxy.fault(r"PCR_1\.db", silent, times=first)
    assert bytes(opened.read(1).image(0)) == bytes(pcr.open(dataset).read(1).image(0))
    assert isinstance(opened.place, StoreReader)
    assert opened.place.stats().hedges >= 1


def test_an_index_that_changes_is_fetched_anew(
    served_copy: tuple[Path, str], folder: Path, quick: StoreOptions, tmp_path: Path
) -> None:
    from dl2cli.pcr.config import ConvertConfig
    from dl2cli.pcr.convert import convert

    copy, url = served_copy
    assert len(pcr.open(url, quick).records) == 5
    other = tmp_path / "other"
    convert(ConvertConfig(folder, other, images_per_record=11, workers=1))
    for file in other.iterdir():
        shutil.copy(file, copy)
    opened = pcr.open(url, quick)
    assert len(opened.records) == 3
    assert same(opened, pcr.open(other))


def test_a_damaged_copy_of_an_index_is_fetched_anew(
    proxy: FaultProxy, cache: Path, quick: StoreOptions
) -> None:
    url = f"{proxy.url}/pcr"
    pcr.open(url, quick)
    before = proxy.count("/pcr/PCR.db")
    pcr.open(url, quick)
    assert proxy.count("/pcr/PCR.db") == before + 1  # its etag is still the same
    (copy,) = cache.rglob("*.db")
    content = bytearray(copy.read_bytes())
    content[len(content) // 2] ^= 1
    copy.write_bytes(content)
    assert pcr.open(url, quick).image_count == 33
    assert copy.read_bytes() != content
