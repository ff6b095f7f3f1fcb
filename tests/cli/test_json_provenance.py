"""Every result with `--json` says where it comes from, and hides nothing behind null."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def photos(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few") / "photos"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
    files = sorted(sample_set.rglob("*.jpg"))[:4]
    for index, file in enumerate(files):
        (folder / "ab"[index % 2] / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def dataset(photos: Path) -> Path:
    run("convert", photos, photos.parent / "pcr")
    return photos.parent / "pcr"


def run(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", "dl2cli", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(document: dict[str, Any], data: Path | None) -> None:
    found = document["provenance"]
    assert "null" not in json.dumps(found)
    assert len(found["configuration_sha256"]) == 64
    assert found["storage"]["path"] == ("unknown" if data is None else str(data))
    assert found["cache"]


def test_what_reads_an_imagefolder(photos: Path, tmp_path: Path) -> None:
    check(run("convert", photos, tmp_path / "pcr"), photos)
    check(run("convert", photos, tmp_path / "part", "--part", "1/1"), photos)
    check(run("convert", tmp_path / "part", "--merge"), tmp_path / "part")
    check(run("convert", photos, tmp_path / "jpeg", "--to", "jpeg", "--quality", 50), photos)
    (log,) = (tmp_path / "jpeg").rglob("encode.json")
    check(json.loads(log.read_text()), photos)
    check(run("analyze-images", photos), photos)


def test_what_reads_a_pcr_dataset(dataset: Path, tmp_path: Path) -> None:
    check(run("inspect", dataset, "--verify"), dataset)
    check(run("extract", dataset, tmp_path / "files"), dataset)
    check(run("copy", dataset, tmp_path / "copy", "--scans", 2), dataset)


def test_what_measures(dataset: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    check(run("bench-io", "--decode", f"{dataset}:5", "--repeat", 1), None)
    training = ("-a", "small_cnn", "--epochs", 1, "--batch-size", 2)
    check(run("train", "--data", dataset, *training, "--workspace", tmp_path), dataset)
