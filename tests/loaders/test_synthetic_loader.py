from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from dl2cli.errors import UsageError  # noqa: E402
from dl2cli.loaders import (  # noqa: E402
    LoaderConfig,
    TransformConfig,
    create_loader,
    create_validation_loader,
)

NOWHERE = Path("no/real/dataset")


@pytest.fixture
def synthetic():
    return LoaderConfig(
        NOWHERE, batch_size=4, transform=TransformConfig(size=8), synthetic_images=1_281_167
    )


def test_it_needs_no_dataset(synthetic):
    loader = create_loader("synthetic", synthetic)
    assert loader.image_count == 1_281_167
    assert len(loader) == 1_281_167 // 4
    assert len(loader.classes) == 1000
    batch = next(iter(loader))
    assert batch.images.shape == (4, 3, 8, 8)
    assert batch.bytes_read == 0
    few = create_loader("synthetic", replace(synthetic, classes=("a", "b"), batch_size=64))
    assert few.classes == ("a", "b")
    assert set(next(iter(few)).labels.tolist()) == {0, 1}


def test_validation_data_can_be_made_up_too(synthetic):
    loader = create_validation_loader(replace(synthetic, synthetic_images=10), NOWHERE)
    assert loader.name == "synthetic"
    assert [len(batch) for batch in loader] == [4, 4, 2]


def test_ranks_pad_what_does_not_divide(synthetic):
    config = replace(synthetic, synthetic_images=11, world_size=2, tail="pad")
    ranks = [list(create_loader("synthetic", replace(config, rank=rank))) for rank in (0, 1)]
    assert [[len(batch) for batch in rank] for rank in ranks] == [[4, 2], [4, 2]]
    assert [[batch.padding for batch in rank] for rank in ranks] == [[0, 0], [0, 1]]


def test_it_goes_on_where_it_stopped(synthetic):
    loader = create_loader("synthetic", replace(synthetic, synthetic_images=40))
    iterator = iter(loader)
    next(iterator)
    other = create_loader("synthetic", replace(loader.config, world_size=2, batch_size=2))
    other.load_state_dict(loader.state_dict())
    assert len(list(other)) == 9


def test_no_images_are_refused(synthetic):
    for count in (0, -1):
        with pytest.raises(UsageError, match="must be at least 1, not"):
            replace(synthetic, synthetic_images=count)
    with pytest.raises(UsageError, match="does not exist"):
        create_loader("synthetic", replace(synthetic, synthetic_images=None))
