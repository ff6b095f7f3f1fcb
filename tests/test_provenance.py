"""Where a result comes from: everything is told, and nothing is null."""

from __future__ import annotations

import json
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dl2cli import environment
from dl2cli import provenance as module
from dl2cli.provenance import configuration_hash, known, provenance


@dataclass(frozen=True)
class Config:
    folder: Path
    scans: int | None = None
    sizes: tuple[int, ...] = (1, 2)
    limits: object = None


def test_everything_is_told_and_nothing_is_null(tmp_path: Path) -> None:
    found = provenance(Config(tmp_path), data=tmp_path)
    text = json.dumps(found, allow_nan=False)
    assert "null" not in text
    assert set(found) == {
        "code", "versions", "configuration_sha256", "host", "storage", "cache",
    }  # fmt: skip
    assert found["cache"].startswith("unknown")
    assert found["storage"]["path"] == str(tmp_path)
    assert found["storage"]["file_system"] != "unknown"
    assert len(found["code"]["sha256"]) == 64
    assert {"dl2", "python", "libjpeg", "codec", "torch", "numpy"} <= found["versions"].keys()


def test_data_that_has_no_place_is_unknown() -> None:
    assert set(provenance({})["storage"].values()) == {"unknown"}
    assert provenance({}, data="s3://bucket/photos")["storage"]["device"] == "unknown"


def test_the_hash_is_that_of_the_settings(tmp_path: Path) -> None:
    one = Config(tmp_path / "a", scans=5)
    assert configuration_hash(one) == configuration_hash(replace(one, folder=tmp_path / "b"))
    assert configuration_hash(one) != configuration_hash(replace(one, scans=4))
    assert configuration_hash(one) != configuration_hash(replace(one, sizes=(2, 1)))
    assert configuration_hash({"a": 1, "b": 2}) == configuration_hash({"b": 2, "a": 1})
    two = [configuration_hash(replace(one, limits=object())) for _ in range(2)]
    assert two[0] == two[1]  # an object's address is no setting


def test_where_results_go_is_no_setting_at_any_depth(tmp_path: Path) -> None:
    one = Config(tmp_path / "a")
    assert configuration_hash((one, {"out": "x"})) == configuration_hash(
        (replace(one, folder=tmp_path / "b"), {"out": "y"})
    )
    assert configuration_hash((one, 1)) != configuration_hash((one, 2))


def test_libraries_that_feed_a_loop_are_told_where_they_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = types.ModuleType("webdataset")
    library.__version__ = "9.8"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "webdataset", library)
    monkeypatch.setitem(sys.modules, "ffcv", types.ModuleType("ffcv"))
    monkeypatch.delitem(sys.modules, "streaming", raising=False)
    versions = provenance({})["versions"]
    assert versions["webdataset"] == "9.8"
    assert versions["ffcv"] == "unknown"  # it is loaded, but from no package
    assert "streaming" not in versions


def test_the_code_is_hashed_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    before = module._source_hash(tmp_path)
    (tmp_path / "a.txt").write_text("no code")
    assert module._source_hash(tmp_path) == before
    (tmp_path / "a.py").write_text("2")
    assert module._source_hash(tmp_path) != before


def test_a_repository_around_an_installation_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert module._commit(tmp_path) == "unknown"


def test_a_package_that_is_missing_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "PACKAGES", ("numpy", "no-such-package"))
    versions = environment.all_versions()
    assert versions["no-such-package"] == "not installed"
    assert versions["numpy"][0].isdigit()
    assert known({"a": None, "b": 0}) == {"a": "unknown", "b": 0}
