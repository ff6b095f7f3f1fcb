"""The cache that knows fidelity: what it keeps, what it saves, what it survives."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from store_servers import FaultProxy, WebServer, garble, nginx

from dl2cli import pcr
from dl2cli.stores.cache import (
    RecordCache,
    RecordExtent,
    cached_datasets,
    clear_cache,
    plan_cache,
)
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath, dataset_path
from dl2cli.stores.reader import StoreReader
from dl2cli.stores.segments import segment_bytes

RECORDS, GROUPS, GROUP_BYTES = 40, 5, 30_000


def url_path(text: str) -> StorePath:
    path = dataset_path(text)
    assert isinstance(path, StorePath)
    return path


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty records of five groups and random bytes, without checksums."""
    folder = tmp_path_factory.mktemp("objects") / "set"
    folder.mkdir()
    source = random.Random(5)
    for extent in extents():
        (folder / extent.name).write_bytes(source.randbytes(extent.ends[-1]))
    return folder


def extents() -> list[RecordExtent]:
    source = random.Random(4)
    return [
        RecordExtent(
            f"r{number}",
            (100, *(GROUP_BYTES + source.randrange(3000) for _ in range(GROUPS))),
            None,
        )
        for number in range(RECORDS)
    ]


@pytest.fixture(scope="module")
def server(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with nginx(objects.parent, tmp_path_factory.mktemp("nginx")) as running:
        yield running


def reader_of(server: WebServer, cache: Path, size: int) -> StoreReader:
    options = StoreOptions(cache_dir=cache, cache_bytes=size)
    return StoreReader(url_path(f"{server.url}/set"), options, extents())


def received(server: WebServer, since: int = 0) -> int:
    return sum(size for *_, size in server.requests()[since:])


def read_epoch(reader: StoreReader, objects: Path, order: list[int], groups: int = GROUPS) -> None:
    for number in order:
        extent = extents()[number]
        pieces = reader.read(extent.name, 0, extent.ends[groups])
        content = (objects / extent.name).read_bytes()[: extent.ends[groups]]
        assert b"".join(map(bytes, pieces)) == content


def lru_misses(trace: list[int], sizes: list[int], room: int) -> int:
    """Return the bytes that a cache of whole records reads which drops the least recently used."""
    held: OrderedDict[int, int] = OrderedDict()
    read = 0
    for number in trace:
        if number in held:
            held.move_to_end(number)
            continue
        read += sizes[number]
        held[number] = sizes[number]
        while sum(held.values()) > room:
            held.popitem(last=False)
    return read


def test_the_plan_is_the_most_groups_of_every_record() -> None:
    records = extents()
    costs = [
        sum(segment_bytes(r.ends[group] - (r.ends[group - 1] if group > 1 else 0)) for r in records)
        for group in range(1, GROUPS + 1)
    ]
    for groups in range(GROUPS + 1):
        plan = plan_cache(records, sum(costs[:groups]))
        assert (plan.groups, plan.more, plan.bytes_kept) == (groups, 0, sum(costs[:groups]))
    plan = plan_cache(records, sum(costs[:2]) + costs[2] // 2)
    assert plan.groups == 2
    assert 15 < plan.more < 25
    assert [plan.groups_of(number) for number in (0, plan.more - 1, plan.more, 39)] == [3, 3, 2, 2]
    assert (
        plan_cache(records, 0)
        == plan_cache([], 10)
        == replace(plan, groups=0, more=0, bytes_kept=0)
    )


def test_epochs_in_random_order_read_only_the_rest(
    server: WebServer, objects: Path, tmp_path: Path
) -> None:
    """A dataset of twice the cache's size, five epochs, beside an LRU of the same size."""
    records = extents()
    sizes = [record.ends[-1] for record in records]
    room = sum(sizes) // 2
    reader = reader_of(server, tmp_path, room)
    source = random.Random(7)
    trace: list[int] = []
    epochs = []
    for _ in range(5):
        order = source.sample(range(RECORDS), RECORDS)
        trace += order
        before = len(server.requests())
        read_epoch(reader, objects, order)
        epochs.append(received(server, before))
    assert epochs[0] == sum(sizes)
    assert len(set(epochs[1:])) == 1
    lru = [
        lru_misses(trace[: RECORDS * n], sizes, room)
        - lru_misses(trace[: RECORDS * (n - 1)], sizes, room)
        for n in range(1, 6)
    ]
    print("bytes an epoch from the server:", epochs, "with an LRU:", lru, "without:", sum(sizes))
    assert epochs[4] < 0.65 * sum(sizes)
    assert sum(epochs[1:]) < 0.8 * sum(lru[1:])
    (dataset,) = cached_datasets(tmp_path)
    assert dataset.size() <= room


def test_more_fidelity_reads_only_the_missing_groups(
    server: WebServer, objects: Path, tmp_path: Path
) -> None:
    records = extents()
    order = list(range(RECORDS))
    steps = [(2, 0), (4, 2), (1, 1), (5, 4), (5, 5), (3, 3)]
    reader = reader_of(server, tmp_path, 1 << 30)
    for groups, have in steps:
        before = len(server.requests())
        read_epoch(reader, objects, order, groups)
        new = sum(r.ends[groups] - (r.ends[have] if have else 0) for r in records)
        assert received(server, before) == new
    assert cached_datasets(tmp_path)[0].records() == {GROUPS: RECORDS}
    assert reader.stats().bytes_cached > 0


def test_a_smaller_cache_gives_room_back(server: WebServer, objects: Path, tmp_path: Path) -> None:
    read_epoch(reader_of(server, tmp_path, 1 << 30), objects, list(range(RECORDS)))
    room = 2_000_000
    read_epoch(reader_of(server, tmp_path, room), objects, list(range(RECORDS)))
    read_epoch(reader_of(server, tmp_path, room), objects, list(range(RECORDS)))
    assert cached_datasets(tmp_path)[0].size() <= room
    assert clear_cache(tmp_path) > 0
    assert cached_datasets(tmp_path) == []


def test_damaged_and_torn_segments_are_fetched_anew(
    server: WebServer, objects: Path, tmp_path: Path
) -> None:
    read_epoch(reader_of(server, tmp_path, 1 << 30), objects, list(range(RECORDS)))
    files = sorted(tmp_path.rglob("segments/*/*"))
    assert len(files) == RECORDS
    damages = [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data[:5] + b"x" + data[6:],
        lambda data: data[:40_000] + bytes([data[40_000] ^ 1]) + data[40_001:],
        lambda data: bytes(len(data)),
    ]
    for number, file in enumerate(files[:20]):
        file.write_bytes(damages[number % len(damages)](file.read_bytes()))
    files[20].rename(files[21])  # the segment of another record
    before = len(server.requests())
    read_epoch(reader_of(server, tmp_path, 1 << 30), objects, list(range(RECORDS)))
    assert len(server.requests()) - before == 22


def test_datasets_are_never_mixed(server: WebServer, objects: Path, tmp_path: Path) -> None:
    """Neither two datasets nor two versions of one; what an old version left goes."""
    url = f"{server.url}/set"
    first = RecordCache(tmp_path, url, extents(), 1 << 30)
    other = RecordCache(tmp_path, url + "2", extents(), 1 << 30)
    assert first.folder != other.folder
    changed = [replace(extents()[0], lengths=(101, *extents()[0].lengths[1:])), *extents()[1:]]
    newer = RecordCache(tmp_path, url, changed, 1 << 30)
    assert {each.folder for each in cached_datasets(tmp_path)} == {other.folder, newer.folder}


def _run_epoch(url: str, cache: Path, objects: Path, seed: int) -> None:
    reader = StoreReader(
        url_path(url), StoreOptions(cache_dir=cache, cache_bytes=3_000_000), extents()
    )
    order = random.Random(seed).sample(range(RECORDS), RECORDS)
    for _ in range(2):
        read_epoch(reader, objects, order)


def test_processes_share_it(server: WebServer, objects: Path, tmp_path: Path) -> None:
    before = len(server.requests())
    context = multiprocessing.get_context("spawn")
    children = [
        context.Process(target=_run_epoch, args=(f"{server.url}/set", tmp_path, objects, seed))
        for seed in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    total = sum(record.ends[-1] for record in extents())
    assert received(server, before) < 4 * total  # they profit from one another
    (dataset,) = cached_datasets(tmp_path)
    assert dataset.size() <= 3_000_000
    assert not list(tmp_path.rglob("*.tmp"))


_FILL = """
import sys, random
from pathlib import Path
sys.path[:0] = sys.argv[4:]
import test_cache
print("go", flush=True)
test_cache._run_epoch(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), 1)
"""


def test_kills_leave_a_cache_that_is_right(
    server: WebServer, objects: Path, tmp_path: Path
) -> None:
    source = random.Random(3)
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _FILL, f"{server.url}/set", tmp_path, objects, *sys.path],
            stdout=subprocess.PIPE,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"go\n"
        time.sleep(source.uniform(0.0, 0.3))
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    _run_epoch(f"{server.url}/set", tmp_path, objects, 2)
    for file in tmp_path.rglob("*.tmp"):
        os.utime(file, (0, 0))
    reader_of(server, tmp_path, 3_000_000)
    assert not list(tmp_path.rglob("segments/*/*.tmp"))
    assert cached_datasets(tmp_path)[0].size() <= 3_000_000


_FULL = """
import resource, sys
from pathlib import Path
sys.path[:0] = sys.argv[4:]
import test_cache
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
reader = test_cache.StoreReader(test_cache.url_path(sys.argv[1]),
    test_cache.StoreOptions(cache_dir=Path(sys.argv[2]), cache_bytes=1 << 30), test_cache.extents())
test_cache.read_epoch(reader, Path(sys.argv[3]), list(range(5)))
print(reader.cache.stopped)
"""


def test_a_disk_that_is_full_costs_no_training(
    server: WebServer, objects: Path, tmp_path: Path
) -> None:
    assert resource.RLIMIT_FSIZE  # a disk that takes no file of more than 20 kB
    done = subprocess.run(
        [sys.executable, "-c", _FULL, f"{server.url}/set", tmp_path, objects, *sys.path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Nothing more is cached" in done.stdout
    assert not list(tmp_path.rglob("segments/*/*"))


_FULL_TRAINING = """
import resource, sys
from pathlib import Path
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import dataset_path
store = StoreOptions(cache_dir=Path(sys.argv[2]), cache_bytes=1 << 30)
config = LoaderConfig(dataset_path(sys.argv[1]), batch_size=4, store=store, tail="pad")
loader = create_loader("pcr", config)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
print(sum(len(batch) - batch.padding for batch in loader), *loader.stats().messages)
"""


def test_a_loader_says_that_its_cache_is_full(web: WebServer, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", _FULL_TRAINING, f"{web.url}/pcr", tmp_path / "kept"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("33 Nothing more is cached in")


def test_wrong_bytes_are_not_kept(
    proxy: FaultProxy, dataset: Path, quick: StoreOptions, tmp_path: Path
) -> None:
    """A record with checksums that came garbled once: read again, and only then kept."""
    options = replace(quick, cache_dir=tmp_path / "kept", cache_bytes=1 << 30)
    opened = pcr.open(f"{proxy.url}/pcr", options)
    proxy.fault(r"PCR_1\.db", garble, times=1)
    near = bytes(pcr.open(dataset).read(1, 5).image(2))
    for _ in range(2):
        assert bytes(opened.read(1, 5).image(2)) == near
    assert proxy.count("/pcr/PCR_1.db") == 2
    proxy.fault(r"PCR_1\.db", garble, times=3)
    whole = bytes(pcr.open(dataset).read(1).image(2))
    for _ in range(2):
        assert bytes(opened.read(1).image(2)) == whole
    assert proxy.count("/pcr/PCR_1.db") == 4
