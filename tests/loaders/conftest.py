"""An ImageFolder of real JPEGs of many kinds, and the PCR dataset of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from loader_photos import make_folder

from dl2cli.loaders import LoaderConfig, TransformConfig
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Never written to."""
    return make_folder(tmp_path_factory.mktemp("loaders") / "photos")


@pytest.fixture(scope="session")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PCR dataset of `folder`, five records; never written to."""
    out = tmp_path_factory.mktemp("loaders") / "pcr"
    convert(ConvertConfig(folder, out, images_per_record=7, workers=2))
    return out


@pytest.fixture
def small() -> TransformConfig:
    return TransformConfig(size=40)


@pytest.fixture
def config(dataset: Path, small: TransformConfig) -> LoaderConfig:
    return LoaderConfig(dataset, batch_size=4, transform=small)
