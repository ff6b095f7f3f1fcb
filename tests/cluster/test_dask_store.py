"""A conversion on a Dask cluster whose workers write to an object store, and share no folder."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dask_processes import Cluster
from jpegs import contents, jpeg_bytes, photo
from store_servers import fault_proxy, in_store, moto, status

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.stores.path import StorePath, dataset_path
from dl2cli.stores.reader import StoreReader

pytest.importorskip("distributed", reason="dask.distributed (the extra `dask`) is needed")
pytest.importorskip("obstore", reason="obstore is needed: pip install 'dl2cli[object-stores]'")


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StorePath]:
    """A place in an S3 that this process and its children find."""
    import boto3

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with moto(tmp_path) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=server.endpoint)
        client.create_bucket(Bucket="photos")
        client.close()
        path = dataset_path("s3://photos/pcr")
        assert isinstance(path, StorePath)
        yield path


def whole(config: ConvertConfig, tmp_path: Path) -> dict[str, bytes]:
    undisturbed = replace(config, out=tmp_path / "undisturbed")
    convert(undisturbed)
    return contents(undisturbed.out)


def start(config: ConvertConfig, target: StorePath, cluster: Cluster) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dl2cli", "convert", str(config.source), str(target)]
    command += ["--images-per-record", "4", "--scheduler", str(cluster.file), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_there(target: StorePath, record: int) -> bool:
    try:
        return StoreReader(target).size(f"PCR_{record}.db") > 0
    except FileNotFoundError:
        return False


def test_a_cluster_writes_the_bytes_of_one_machine(
    config: ConvertConfig, tmp_path: Path, target: StorePath
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    os.environ["TMPDIR"], before = str(temporary), os.environ.get("TMPDIR")
    try:
        with Cluster(tmp_path / "cluster", workers=2) as cluster:
            driver = start(config, target, cluster)
            said, errors = driver.communicate(timeout=300)
            assert driver.returncode == 0, errors
            assert not list(temporary.glob("dl2-*"))
    finally:
        del os.environ["TMPDIR"]
        if before is not None:
            os.environ["TMPDIR"] = before
    (dataset,) = json.loads(said)["datasets"]
    assert (dataset["images"], dataset["out"]) == (61, str(target))
    assert [each["path"] for each in dataset["rejected"]] == ["ant/bad.jpg"]
    expected = whole(config, tmp_path)
    assert in_store(str(target), expected) == expected


def test_workers_and_drivers_killed_at_random_cost_nothing(
    config: ConvertConfig, tmp_path: Path, target: StorePath
) -> None:
    for i in range(120):
        image = photo(320, 240, seed=1000 + i)
        (config.source / "cat" / f"more{i}.jpg").write_bytes(jpeg_bytes(image))
    expected = whole(config, tmp_path)
    chance = random.Random(3)
    kills = 0
    last = 2  # a record: once it is there, something is killed
    with Cluster(tmp_path / "cluster", workers=2) as cluster:
        while True:
            driver = start(config, target, cluster)
            while driver.poll() is None and kills < 6:
                if is_there(target, last):
                    if chance.random() < 0.4:
                        driver.kill()
                    cluster.kill_worker(chance.randrange(2))
                    cluster.add_worker()
                    last += 1 + chance.randrange(6)
                    kills += 1
                time.sleep(0.01)
            _, errors = driver.communicate(timeout=300)
            if driver.returncode == 0:
                break
            assert driver.returncode == -signal.SIGKILL, errors
    assert kills >= 3
    assert in_store(str(target), expected) == expected


def test_a_worker_that_may_not_write_is_named(
    config: ConvertConfig, tmp_path: Path, target: StorePath, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fault_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:
        proxy.fault("PCR_", status(403))
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("AWS_ENDPOINT_URL", proxy.url)
            cluster = Cluster(tmp_path / "cluster", workers=1)
        with cluster:
            driver = start(config, target, cluster)
            _, errors = driver.communicate(timeout=300)
    assert driver.returncode == 1
    said = " ".join(errors.split())
    assert re.search(rf"On \S+: {target}/PCR_\d+.db cannot be written: .* 403 Forbidden", said), (
        said
    )
