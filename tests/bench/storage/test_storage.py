import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jpegs import contents, jpeg_bytes, photo

from dl2cli import pcr
from dl2cli.bench.storage import measurement as storage
from dl2cli.bench.storage.measurement import measure_storage
from dl2cli.bench.storage.page_cache import PAGE
from dl2cli.bench.storage.read_plan import AccessPattern
from dl2cli.bench.storage.report import (
    COLD_SHARE,
    Access,
    Cache,
    StorageConfig,
    StorageInterrupted,
    StorageProgress,
    cache_verdict,
)
from dl2cli.block_device import find_device
from dl2cli.cli.framework.output import jsonable
from dl2cli.dataset.location import DatasetKind
from dl2cli.errors import DataError, UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of 2 x 5 photos; never written to."""
    root = tmp_path_factory.mktemp("storage") / "photos"
    for label, name in enumerate(("ant", "bee")):
        (root / name).mkdir(parents=True)
        for i in range(5):
            image = photo(120 + i, 90, seed=10 * label + i)
            (root / name / f"{i}.jpg").write_bytes(jpeg_bytes(image))
    return root


@pytest.fixture(scope="module")
def dataset(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PCR dataset of `photos`, four records; never written to."""
    out = tmp_path_factory.mktemp("storage") / "pcr"
    convert(ConvertConfig(photos, out, images_per_record=3, workers=1))
    return out


@pytest.fixture(autouse=True)
def _short_warm_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MIN_WARM_S", 0.005)


def config(path: Path, **changes: object) -> StorageConfig:
    """No run of these reaches its limit of time, so what they read does not depend on it."""
    return replace(StorageConfig(path, repeat=2, seconds=3600.0), **changes)


def test_an_image_folder(photos):
    before = contents(photos)
    report = measure_storage(config(photos, threads=2))
    size = sum(len(content) for content in before.values())
    assert (report.kind, report.files, report.images) == (DatasetKind.IMAGE_FOLDER, 10, 10)
    assert (report.sampled_files, report.sampled_bytes) == (10, size)
    assert report.complete
    assert not report.skipped_count
    kinds = [(result.order, result.access) for result in report.results]
    assert kinds == [
        (order, access) for order in AccessPattern for access in (Access.COLD, Access.WARM)
    ]
    for result in report.results:
        assert result.scans is None
        assert len(result.rate_bytes_s.runs) == len(result.rate_img_s.runs) == 2
        assert result.latency_s is not None
        assert list(result.latency_s) == sorted(result.latency_s)
        if result.access is Access.COLD:
            assert (result.reads, result.images, result.bytes_read) == (20, 20, 2 * size)
        else:
            assert result.reads == result.images >= 20
    assert contents(photos) == before


def test_what_is_called_cold_came_from_the_device(photos):
    report = measure_storage(config(photos))
    assert (report.device is None) == (report.device_missing is not None)
    for result in report.results:
        verdict = result.verdict
        if verdict.cache is Cache.COLD:
            assert verdict.process_read_bytes >= (1 - COLD_SHARE) * result.bytes_read
        if verdict.cache is Cache.WARM and not find_device(photos).in_memory:
            assert verdict.cache_share >= 1 - COLD_SHARE
        assert result.served_from_cache == (
            result.access is Access.COLD and verdict.cache in {Cache.WARM, Cache.MIXED}
        )
    if any(result.served_from_cache for result in report.results):
        assert any("page cache" in note for note in report.notes)


def test_a_memory_file_system_is_never_cold(photos):
    shared = Path("/dev/shm")
    if not find_device(shared).in_memory:
        pytest.skip("/dev/shm is no tmpfs here")
    folder = shared / f"dl2-test-{photos.parent.name}"
    try:
        shutil.copytree(photos, folder)
        report = measure_storage(config(folder))
    finally:
        shutil.rmtree(folder)
    assert {result.verdict.cache for result in report.results} == {Cache.WARM}
    assert report.find(Access.COLD).served_from_cache
    assert any("Served from the page cache" in note for note in report.notes)


def test_prefixes_of_a_pcr_dataset(dataset):
    report = measure_storage(config(dataset, ks=(1, 5, 10)))
    opened = pcr.open(dataset)
    assert (report.kind, report.files, report.images) == (DatasetKind.PCR, 4, 10)
    assert report.sampled_bytes == opened.prefix_bytes(10)
    assert [result.scans for result in report.results] == [1] * 4 + [5] * 4 + [10] * 4
    for k in (1, 5, 10):
        for order in AccessPattern:
            cold = report.find(Access.COLD, order, k)
            assert cold.bytes_read == 2 * opened.prefix_bytes(k)
            assert cold.images == 2 * 10
    assert report.find(Access.DIRECT) is None


def test_the_default_fidelities(dataset):
    report = measure_storage(config(dataset, cold=False, repeat=1))
    assert {result.scans for result in report.results} == {1, 2, 5, 10}
    assert {result.access for result in report.results} == {Access.WARM}


def test_direct_reads_are_measured_or_declined(photos):
    report = measure_storage(config(photos, direct=True))
    direct = report.find(Access.DIRECT)
    if direct is None:
        assert any("O_DIRECT" in note for note in report.notes)
    else:
        assert direct.verdict.cache is not Cache.WARM


def test_splits_are_measured_by_their_training_part(photos, dataset, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "folder").mkdir(exist_ok=True)
        (tmp_path / "folder" / split).symlink_to(photos)
        (tmp_path / "pcr").mkdir(exist_ok=True)
        (tmp_path / "pcr" / split).symlink_to(dataset)
    for name in ("folder", "pcr"):
        report = measure_storage(config(tmp_path / name, repeat=1, cold=False))
        assert report.path == tmp_path / name / "train"


def test_too_little_time_for_a_record(dataset):
    report = measure_storage(config(dataset, ks=(10,), seconds=1e-8, block_bytes=4096, repeat=1))
    for order in AccessPattern:
        cold, warm = (report.find(access, order, 10) for access in (Access.COLD, Access.WARM))
        assert (cold.latency_s, cold.reads, cold.bytes_read) == (None, 0, 4096)
        assert warm.bytes_read == 4096  # no more than what the cold run has read
        assert cold.rate_img_s.median > 0
    document = json.dumps(jsonable(report), allow_nan=False)
    assert json.loads(document)["results"]


def test_a_large_dataset_is_sampled(photos):
    report = measure_storage(config(photos, limit_bytes=10_000, repeat=1))
    assert 1 <= report.sampled_files < report.files
    assert report.sampled_bytes <= 10_000


def test_bad_files_are_counted_and_do_not_stop_the_rest(photos, dataset, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    (tmp_path / "photos/ant/0.jpg").write_bytes(b"")
    (tmp_path / "photos/ant/1.jpg").unlink()
    (tmp_path / "photos/ant/1.jpg").symlink_to("nothing")
    report = measure_storage(config(tmp_path / "photos", repeat=1))
    assert report.skipped_count == 1  # what discovery leaves out is not ours
    assert report.skipped[0].reason == "empty"
    shutil.copytree(dataset, tmp_path / "pcr")
    (tmp_path / "pcr/PCR_0.db").unlink()
    with (tmp_path / "pcr/PCR_1.db").open("r+b") as record:
        record.truncate(100)
    report = measure_storage(config(tmp_path / "pcr", repeat=1))
    assert report.skipped_count == 2
    assert report.find(Access.COLD, scans=1).reads == 2


def test_nothing_to_read(tmp_path, photos):
    for path in (tmp_path, tmp_path / "gone", photos / "ant" / "0.jpg"):
        with pytest.raises(UsageError):
            measure_storage(config(path))
    (tmp_path / "cat").mkdir()
    with pytest.raises(UsageError, match="holds no images"):
        measure_storage(config(tmp_path))
    (tmp_path / "cat/1.jpg").touch()
    with pytest.raises(DataError, match=r"None of 1 files .* empty"):
        measure_storage(config(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        {"repeat": 0},
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"threads": 0},
        {"block_bytes": 100},
        {"limit_bytes": 0},
        {"ks": (0,)},
        {"ks": (1, 11)},
    ],
)
def test_options_that_make_no_sense(dataset, changes):
    with pytest.raises(UsageError):
        measure_storage(config(dataset, **changes))


def test_progress_tells_every_run(dataset):
    told: list[StorageProgress] = []
    measure_storage(config(dataset, ks=(2,)), told.append)
    assert [each.done for each in told] == list(range(9))
    assert {each.total for each in told} == {8}
    assert told[0].next_run == "pcr k=2, sequential, cold"
    assert told[-1].next_run == ""


def test_an_interruption_keeps_what_is_known(photos):
    def stop(progress: StorageProgress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(StorageInterrupted) as caught:
        measure_storage(config(photos), stop)
    report = caught.value.report
    assert not report.complete
    assert len(report.results) == 3
    assert all(len(result.rate_bytes_s.runs) == 1 for result in report.results)


def test_a_report_is_strict_json(dataset):
    report = measure_storage(config(dataset, ks=(1,), repeat=1))
    document = json.loads(json.dumps(jsonable(report), allow_nan=False))
    assert document["results"][0]["verdict"]["cache"] in set(Cache)
    assert document["path"] == str(dataset)


counts = st.none() | st.integers(0, 10**12)


@given(st.integers(1, 10**12), counts, counts, st.booleans())
def test_a_verdict_follows_from_the_counters(size, process, device, in_memory):
    pages = -(-size // PAGE) * PAGE
    verdict = cache_verdict(pages, size, process, device, in_memory=in_memory)
    known = [each for each in (process, device) if each is not None]
    if verdict.cache is Cache.COLD:
        assert min(known) >= (1 - COLD_SHARE) * pages * (1 - 1e-9)
    if verdict.cache is Cache.WARM and not in_memory:
        assert min(known) <= COLD_SHARE * pages * (1 + 1e-9)
        assert device is not None
    assert (verdict.cache_share is None) == (verdict.cache is Cache.UNKNOWN)
    assert verdict.cache_share is None or 0 <= verdict.cache_share <= 1


def test_examples_of_verdicts():
    def of(process: int | None, device: int | None) -> Cache:
        return cache_verdict(100 * PAGE, 99 * PAGE, process, device, in_memory=False).cache

    assert of(100 * PAGE, 100 * PAGE) is Cache.COLD
    assert of(130 * PAGE, 500 * PAGE) is Cache.COLD  # read ahead, and others read, too
    assert of(50 * PAGE, 500 * PAGE) is Cache.MIXED  # what others read is not ours
    assert of(0, 500 * PAGE) is Cache.WARM
    assert of(100 * PAGE, None) is Cache.COLD  # NFS counts
    assert of(0, None) is Cache.UNKNOWN  # FUSE does not
    assert of(None, None) is Cache.UNKNOWN
