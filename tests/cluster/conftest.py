"""PCR datasets of small photos, converted in pieces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dask_processes import Cluster
from jpegs import jpeg_bytes, photo

from dl2cli.pcr.config import ConvertConfig


@pytest.fixture
def config(tmp_path: Path) -> ConvertConfig:
    """A conversion of 61 images in records of 4: JPEGs, one PNG, one file that is rejected."""
    root = tmp_path / "photos"
    for label, name in enumerate(("ant", "bee", "cat")):
        (root / name).mkdir(parents=True)
        for i in range(20):
            image = photo(40 + i, 30 + label, seed=20 * label + i)
            (root / name / f"{i}.jpg").write_bytes(jpeg_bytes(image))
    photo(60, 40).save(root / "bee" / "other.png")
    (root / "ant" / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (root / "notes.txt").write_text("not in a class folder")
    return ConvertConfig(root, tmp_path / "out", images_per_record=4, workers=1)


# Not for the session: other tests count the child processes that are left.
@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers."""
    pytest.importorskip("distributed", reason="dask.distributed (the extra `dask`) is needed")
    with Cluster(tmp_path_factory.mktemp("dask") / "cluster", workers=2) as cluster:
        yield cluster
