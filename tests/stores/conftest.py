"""A PCR dataset, and servers that have it: nginx, an S3, and proxies with faults in front."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from loader_photos import make_folder
from store_servers import FaultProxy, WebServer, fault_proxy, nginx, s3_server

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.stores.options import StoreOptions

pytest.importorskip("obstore", reason="obstore is needed: pip install 'dl2cli[stores]'")

BUCKET = "photos"


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of 33 JPEGs of many kinds; never written to."""
    return make_folder(tmp_path_factory.mktemp("stores") / "photos")


@pytest.fixture(scope="session")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PCR dataset of `folder`, five records, in a folder that nginx serves."""
    out = tmp_path_factory.mktemp("stores") / "www" / "pcr"
    out.parent.mkdir()
    convert(ConvertConfig(folder, out, images_per_record=7, workers=2))
    return out


@pytest.fixture(scope="session")
def web(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    with nginx(dataset.parent, tmp_path_factory.mktemp("nginx")) as server:
        yield server


@pytest.fixture(scope="session")
def s3_endpoint(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An S3 with the bucket BUCKET, which holds `dataset` as `pcr/`."""
    with s3_server(tmp_path_factory.mktemp("moto")) as endpoint:
        import boto3

        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys)
        client.create_bucket(Bucket=BUCKET)
        for file in dataset.iterdir():
            client.put_object(Bucket=BUCKET, Key=f"pcr/{file.name}", Body=file.read_bytes())
        client.close()
        yield endpoint


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of the dataset in S3, with the environment that leads there."""
    for name, value in {
        "AWS_ENDPOINT_URL": s3_endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/pcr"


@pytest.fixture
def proxy(web: WebServer) -> Iterator[FaultProxy]:
    with fault_proxy(web.url) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    monkeypatch.delenv("DL2_HOME", raising=False)
    return folder


@pytest.fixture
def served_copy(dataset: Path, tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A copy of the dataset that a test may change, and its URL."""
    root = tmp_path / "www"
    copy = shutil.copytree(dataset, root / "pcr")
    work = tmp_path / "nginx"
    work.mkdir()
    with nginx(root, work) as server:
        yield copy, f"{server.url}/pcr"


@pytest.fixture
def quick() -> StoreOptions:
    """Timeouts and waits that suit loopback."""
    return StoreOptions(
        connect_timeout_s=2,
        read_timeout_s=0.5,
        request_timeout_s=2,
        first_backoff_s=0.01,
        longest_backoff_s=0.05,
        retries=4,
    )
