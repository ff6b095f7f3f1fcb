"""A loader of the user's own, behind the contract of the others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from dl2cli.errors import UsageError  # noqa: E402
from dl2cli.loaders import LoaderConfig, OutputConfig, Throttle, create_loader  # noqa: E402
from dl2cli.loaders.custom import look_at, make  # noqa: E402
from dl2cli.loaders.registry import is_custom  # noqa: E402

OWN = Path(__file__).parent.parent / "bench" / "own_loader.py"


def line_of(text: str) -> int:
    return 1 + next(n for n, line in enumerate(OWN.read_text().splitlines()) if text in line)


@pytest.fixture(autouse=True)
def photos(sample_set: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHOTOS", str(sample_set / "train"))
    monkeypatch.syspath_prepend(str(OWN.parent))
    return sample_set / "train"


def test_names_with_a_colon_are_factories() -> None:
    assert is_custom("package.module:factory")
    assert not is_custom("pcr")
    assert not is_custom("pcr:5")
    assert not is_custom("./folder:x")


def test_batches_become_batches_of_ours(photos: Path) -> None:
    loader = create_loader("own_loader:make_slow", LoaderConfig(photos, batch_size=4))
    batches = list(loader)
    assert len(batches) == len(loader) == 6
    assert batches[0].images.shape == (4, 3, 32, 32)
    assert batches[0].images.dtype == torch.uint8
    assert batches[0].labels.tolist() == [5] * 4  # class 7, of a model that has 6
    total = sum(file.stat().st_size for file in photos.rglob("*.jpg"))
    assert loader.stats().bytes_read == pytest.approx(total, abs=10)
    assert (loader.image_count, loader.stats().images) == (24, 24)


def test_arrays_dicts_and_channels_last_are_understood(photos: Path) -> None:
    config = LoaderConfig(photos, output=OutputConfig(normalized=True))
    first, second = create_loader("own_loader:give_dicts", config)
    assert first.images.shape == (5, 3, 6, 8)
    assert first.images.dtype == torch.float32
    assert first.labels.tolist() == [0, 1, 2, 3, 4]
    assert len(second) == 2


def test_what_a_loader_gives_is_looked_at() -> None:
    given = look_at("own_loader:give_dicts")
    assert (given.batch_size, given.image_size) == (5, 6)
    assert look_at("own_loader:nested.factory") == given


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_here:f", "There is no module no_such_module_here"),
        ("own_loader:missing", r"own_loader\.py has no missing"),
        ("own_loader:not_callable", "cannot be called"),
        ("own_loader:give_a_number", "must return an iterable of batches, not int"),
        ("own_loader:give_nothing", "gives no batch"),
        ("own_loader:give_words", "gives list, which holds no tensor"),
        ("own_loader:fail", f"failed in {OWN}, line {line_of('not today')}: RuntimeError: not"),
        ("own_loader:make_broken", f"failed in {OWN}, line {line_of('no such photo')}: KeyError"),
        (
            "own_loader:make_broken_in_worker",
            f"failed in {OWN}, line {line_of('no such photo')}: KeyError",
        ),
    ],
)
def test_errors_name_file_and_line(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        look_at(name)
    assert "\n" not in str(raised.value)


def test_a_syntax_error_is_placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "typo_loader.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=r"typo_loader\.py, line 1: "):
        make("typo_loader:f")


def test_the_current_folder_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here_loader.py").write_text("def f():\n    return [1]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert make("here_loader:f") == [1]


def test_it_cannot_be_throttled(photos: Path) -> None:
    config = LoaderConfig(photos, throttle=Throttle.parse("1MB/s"))
    with pytest.raises(UsageError, match="cannot be throttled"):
        create_loader("own_loader:make_slow", config)
