"""A PCR dataset, and servers that have it: nginx, two S3s, and proxies with faults in front."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loader_photos import make_folder
from store_servers import S3_SERVERS, FaultProxy, S3Server, WebServer, fault_proxy, nginx

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.stores.options import StoreOptions

pytest.importorskip("obstore", reason="obstore is needed: pip install 'dl2cli[object-stores]'")

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
def s3_server(
    dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], S3Server]]:
    """Gives the S3 of a name, which has the bucket BUCKET, which holds `dataset` as `pcr/`."""
    running: dict[str, S3Server] = {}
    with contextlib.ExitStack() as stack:

        def start(name: str) -> S3Server:
            if name not in running:
                work = tmp_path_factory.mktemp(name)
                running[name] = stack.enter_context(S3_SERVERS[name](work))
                fill(running[name], dataset)
            return running[name]

        yield start


def fill(server: S3Server, dataset: Path) -> None:
    import boto3

    keys = {"aws_access_key_id": server.key, "aws_secret_access_key": server.secret}
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **keys)
    client.create_bucket(Bucket=BUCKET)
    for file in dataset.iterdir():
        client.put_object(Bucket=BUCKET, Key=f"pcr/{file.name}", Body=file.read_bytes())
    client.close()


@pytest.fixture
def s3_url(
    s3_server: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], str]:
    """Gives the URL of the dataset in the S3 of a name, and sets the environment for it."""

    def use(name: str) -> str:
        for variable, value in s3_server(name).environment().items():
            monkeypatch.setenv(variable, value)
        return f"s3://{BUCKET}/pcr"

    return use


@pytest.fixture(params=S3_SERVERS)
def s3(request: pytest.FixtureRequest, s3_url: Callable[[str], str]) -> str:
    """The URL of the dataset in each S3 in turn."""
    return s3_url(request.param)


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
