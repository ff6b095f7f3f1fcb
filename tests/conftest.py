"""Fixtures that more than one room's tests use."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from dl2cli.dataset.sample import SampleConfig, ensure_sample_set

# No test asserts a time, so no example has a deadline; CI looks at the same examples every time.
settings.register_profile("dl2", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("dl2")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real photos and published logs that DL2_TEST_DATA names; skips without it."""
    name = os.environ.get("DL2_TEST_DATA")
    if not name:
        pytest.skip("DL2_TEST_DATA names no folder with test data")
    folder = Path(name)
    assert folder.is_dir(), f"DL2_TEST_DATA={name} is no folder"
    return folder


@pytest.fixture(scope="session")
def sample_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small variant of the built-in sample set: train and val, six classes; never written to."""
    config = SampleConfig(train_per_class=4, val_per_class=2, long_side_px=160)
    return ensure_sample_set(config, cache=tmp_path_factory.mktemp("cache"), workers=1)
