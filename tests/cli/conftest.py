"""What the tests of `dl2 train` work with."""

from __future__ import annotations

from pathlib import Path

import pytest

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.plan import split_configs


@pytest.fixture(scope="session")
def pcr_set(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pcr") / "photos"
    for config in split_configs(ConvertConfig(sample_set, out, images_per_record=8)):
        convert(config)
    return out


@pytest.fixture(scope="module")
def one_thread() -> None:
    """The nets are too small for threads, and other tests run beside these."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, without what torchrun or the user may have set."""
    monkeypatch.chdir(tmp_path)
    for name in ("DL2_HOME", "RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
