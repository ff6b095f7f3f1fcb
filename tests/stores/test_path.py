"""What a URL is, and that it goes wherever a path goes."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from dl2cli.errors import UsageError
from dl2cli.stores.client import split_root
from dl2cli.stores.path import StorePath, dataset_path, is_remote


@pytest.mark.parametrize(
    "url", ["s3://bucket/a/b", "gs://bucket", "az://box/x", "https://host:81/a", "http://h/a b"]
)
def test_a_url_stays_one(url: str) -> None:
    path = dataset_path(url)
    assert is_remote(path)
    for same in (
        path,
        dataset_path(path),
        dataset_path(Path(url)),
        pickle.loads(pickle.dumps(path)),
    ):
        assert isinstance(same, StorePath)
        assert (str(same), os.fspath(same), f"{same}") == (url, url, url)
    assert str(path / "PCR.db") == f"{url}/PCR.db"
    assert str((path / "x" / "y").parent.parent) == url
    assert path.absolute() == path.resolve() == path.expanduser() == path
    assert path.is_absolute()
    assert not path.exists()


def test_a_slash_at_the_end_means_nothing() -> None:
    assert dataset_path("s3://bucket/a/") == dataset_path("s3://bucket/a")


def test_a_file_url_is_a_folder() -> None:
    assert dataset_path("file:///data/my%20photos") == Path("/data/my photos")
    assert dataset_path("file:/data") == Path("/data")
    assert not is_remote(dataset_path("file:///data"))
    for local in ("photos", "/a/b", "./s3", "a:b", "c:/x"):
        assert dataset_path(local) == Path(local)
        assert not is_remote(dataset_path(local))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://host/a", "not ftp"),
        ("s3://", "names no bucket"),
        ("https://me:secret@host/a", "password"),
        ("https://host/a?signature=x", "query"),
        ("file://host/a", "another machine"),
    ],
)
def test_what_cannot_be_read_is_refused(url: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        dataset_path(url)
    assert "secret" not in str(refused.value)


def test_the_root_of_a_url_is_its_bucket() -> None:
    assert split_root(StorePath("s3:/bucket/a/b")) == ("s3://bucket", "a/b")
    assert split_root(StorePath("https:/host:81/a")) == ("https://host:81", "a")
    assert split_root(StorePath("gs:/bucket")) == ("gs://bucket", "")
