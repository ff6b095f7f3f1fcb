"""A small PCR dataset in splits, and one process for torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.plan import split_configs


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """The nets are too small for threads, and other tests run beside these."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def sample_pcr(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PCR datasets train (24 images in 3 records) and val (12) of the sample set; read only."""
    out = tmp_path_factory.mktemp("training") / "pcr"
    for config in split_configs(ConvertConfig(sample_set, out, images_per_record=8, workers=2)):
        convert(config)
    return out
