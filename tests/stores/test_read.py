"""Datasets in a store are read as those on disk are, from nginx and from S3."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_servers import S3_SERVERS, FaultProxy, WebServer, garble, nginx, silent, status

from dl2cli import pcr
from dl2cli.dataset.location import DatasetKind, locate
from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.pcr.extraction.extract import extract
from dl2cli.pcr.verify import verify
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import dataset_path
from dl2cli.stores.reader import StoreReader

torch = pytest.importorskip("torch")

from dl2cli.loaders import LoaderConfig, TransformConfig  # noqa: E402
from dl2cli.loaders.native.pcr import PcrLoader  # noqa: E402


@pytest.fixture(params=["nginx", *S3_SERVERS])
def url(request: pytest.FixtureRequest, web: WebServer, s3_url: Callable[[str], str]) -> str:
    return f"{web.url}/pcr" if request.param == "nginx" else s3_url(request.param)


@pytest.fixture
def config(dataset: Path) -> LoaderConfig:
    return LoaderConfig(dataset, batch_size=4, transform=TransformConfig(size=40), tail="pad")


def batches(config: LoaderConfig) -> list[tuple[object, ...]]:
    loader = PcrLoader(config)
    return [(b.images.numpy(), b.labels.numpy(), b.ids, b.bytes_read) for b in loader]


def test_all_is_as_on_disk(url: str, dataset: Path, folder: Path, tmp_path: Path) -> None:
    opened, local = pcr.open(url), pcr.open(dataset)
    assert (opened.records, opened.classes, opened.properties) == (
        local.records,
        local.classes,
        local.properties,
    )
    assert list(opened.sources()) == list(local.sources())
    result = verify(opened, folder)
    assert result == verify(local, folder)
    assert result.proved_lossless == 33
    extract(opened, tmp_path / "far", 3)
    extract(local, tmp_path / "near", 3)
    files = sorted(path for path in (tmp_path / "near").rglob("*.jpg"))
    assert len(files) == 33
    for file in files:
        assert (tmp_path / "far" / file.relative_to(tmp_path / "near")).read_bytes() == (
            file.read_bytes()
        )


@pytest.mark.parametrize("scans", [1, 5, None])
def test_a_loader_gives_the_same_batches(url: str, config: LoaderConfig, scans: int | None) -> None:
    config = replace(config, scans=scans)
    far = batches(replace(config, data=dataset_path(url)))
    near = batches(config)
    assert len(far) == len(near)
    for left, right in zip(far, near, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


def test_only_prefixes_are_asked_for(web: WebServer, config: LoaderConfig, dataset: Path) -> None:
    local = pcr.open(dataset)
    loader = PcrLoader(replace(config, data=dataset_path(f"{web.url}/pcr"), scans=2))
    before = len(web.requests())
    list(loader)
    made = web.requests()[before:]
    assert {(method, code) for method, _, code, _ in made} == {("GET", 206)}
    assert sum(size for *_, size in made) == local.prefix_bytes(2) == loader.stats().bytes_read
    assert len(made) == len(local.records)


def test_what_lies_at_a_url(web: WebServer, s3: str) -> None:
    for url in (f"{web.url}/pcr", s3):
        split = locate(dataset_path(url)).train
        assert (split.kind, str(split.path)) == (DatasetKind.PCR, url)
    with pytest.raises(UsageError, match=r"nothing holds no PCR dataset.*train/"):
        locate(dataset_path(f"{web.url}/nothing"))
    with pytest.raises(UsageError, match="holds no PCR dataset"):
        pcr.open(f"{web.url}/nothing")
    with pytest.raises(UsageError, match=r"holds no PCR dataset|NoSuchBucket"):
        pcr.open("s3://photos/nothing")


def test_names_with_spaces(dataset: Path, tmp_path: Path) -> None:
    root, work = tmp_path / "www", tmp_path / "nginx"
    root.mkdir()
    work.mkdir()
    (root / "my photos é%41").symlink_to(dataset)
    with nginx(root, work) as server:
        opened = pcr.open(f"{server.url}/my photos é%41")
        assert bytes(opened.read(0).image(0)) == bytes(pcr.open(dataset).read(0).image(0))


def test_who_is_refused_is_told(proxy: FaultProxy) -> None:
    proxy.fault("", status(403))
    with pytest.raises(StorageError, match=r"403 Forbidden.*may not list the bucket"):
        locate(dataset_path(f"{proxy.url}/pcr"))


def test_splits_are_found_by_their_indexes(served_copy: tuple[Path, str], tmp_path: Path) -> None:
    copy, url = served_copy
    for name in ("train", "val"):
        (copy.parent / "both").mkdir(exist_ok=True)
        (copy.parent / "both" / name).symlink_to(copy)
    location = locate(dataset_path(url).parent / "both")
    assert [split.name for split in location.splits] == ["train", "val"]
    assert location.validation is not None


@pytest.fixture
def far(proxy: FaultProxy, config: LoaderConfig, quick: StoreOptions) -> Iterator[LoaderConfig]:
    yield replace(config, data=dataset_path(f"{proxy.url}/pcr"), store=quick)


@pytest.mark.parametrize("policy", ["fail", "degrade", "skip"])
def test_a_store_that_fails_is_no_damage(proxy: FaultProxy, far: LoaderConfig, policy: str) -> None:
    """Whatever the policy: images are never left out because a server or a password failed."""
    for fault in (status(403), status(503)):
        loader = PcrLoader(replace(far, on_damage=policy))
        proxy.fault(r"PCR_3\.db", fault)
        with pytest.raises(StorageError, match=r"PCR_3\.db.*the server answered"):
            list(loader)
        proxy.clear()


def test_damage_follows_the_policy(proxy: FaultProxy, far: LoaderConfig) -> None:
    proxy.fault(r"PCR_3\.db", garble)
    with pytest.raises(DataError, match=r"PCR_3.db: scan group \d+: wrong checksum"):
        list(PcrLoader(far))
    loader = PcrLoader(replace(far, on_damage="degrade"))
    assert sum(len(batch) - batch.padding for batch in loader) == 33
    assert loader.stats().degraded >= 7
    loader = PcrLoader(replace(far, on_damage="skip"))
    assert sum(len(batch) - batch.padding for batch in loader) == 33 - 7


def test_a_loader_closes_while_its_store_is_silent(proxy: FaultProxy, far: LoaderConfig) -> None:
    patient = StoreOptions(read_timeout_s=3600, request_timeout_s=3600)
    loader = PcrLoader(replace(far, store=patient, shuffle=False, prefetch=1))
    proxy.fault(r"PCR_4\.db", silent)
    taken = iter(loader)
    next(taken)
    while proxy.count("/pcr/PCR_4.db") == 0:
        next(taken)
    taken.close()  # type: ignore[attr-defined]  # would wait for an hour


def test_a_dataset_goes_to_another_process(web: WebServer, dataset: Path) -> None:
    opened = pcr.open(f"{web.url}/pcr")
    assert bytes(pickle.loads(pickle.dumps(opened)).read(0).image(0)) == bytes(
        pcr.open(dataset).read(0).image(0)
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(opened.read, (1, 2)).bytes_read == opened.read(1, 2).bytes_read


def _read_after_fork(opened: pcr.Dataset) -> str:
    try:
        opened.read(0)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_fork_is_refused_with_a_sentence(web: WebServer) -> None:
    opened = pcr.open(f"{web.url}/pcr")
    opened.read(0)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert "'spawn'" in pool.apply(_read_after_fork, (opened,))


def test_long_ranges_come_in_parts(web: WebServer, dataset: Path) -> None:
    reader = StoreReader(dataset_path(f"{web.url}/pcr"), StoreOptions(part_bytes=700))  # type: ignore[arg-type]
    content = (dataset / "PCR_0.db").read_bytes()
    for begin, length in ((0, len(content)), (5, 1400), (100, 1), (7, 0)):
        pieces = reader.read("PCR_0.db", begin, length)
        assert b"".join(map(bytes, pieces)) == content[begin : begin + length]
        assert len(pieces) == max(1, length // 700) if length else not pieces
