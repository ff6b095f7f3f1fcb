"""Which loaders there are, what each reads, the default, and how a wrong one is refused."""

import shutil
from importlib.util import find_spec

import pytest

from dl2cli.dataset.location import DatasetKind, locate
from dl2cli.errors import UsageError
from dl2cli.loaders import (
    LOADERS,
    LoaderConfig,
    ScanSelecting,
    check_loader,
    create_loader,
    default_loader,
    loaders_for,
)
from dl2cli.loaders.contents import count_images, data_files, dataset_classes

WITHOUT_GPU = [name for name in LOADERS if not name.endswith("-gpu")]


@pytest.mark.parametrize("kind", [DatasetKind.IMAGE_FOLDER, DatasetKind.PCR])
def test_the_default_reads_the_data(kind, folder, dataset):
    data = dataset if kind is DatasetKind.PCR else folder
    location = locate(data)
    assert location.train.kind is kind
    assert default_loader(kind) in loaders_for(kind)
    for name in LOADERS:
        if name in loaders_for(kind) or name == "synthetic":
            check_loader(name, location)
        else:
            with pytest.raises(UsageError, match=f"The loader {name} reads "):
                check_loader(name, location)
    with pytest.raises(UsageError, match="no loader 'ffcv'; there are pcr"):
        check_loader("ffcv", location)


def test_every_entry_gives_the_loader_of_its_name(folder, dataset, small):
    pytest.importorskip("torch")
    for name in WITHOUT_GPU:
        if "dali" in name and find_spec("nvidia.dali") is None:
            continue
        data = dataset if LOADERS[name].reads is DatasetKind.PCR else folder
        loader = create_loader(name, LoaderConfig(data, batch_size=4, transform=small))
        assert loader.name == name
        selects = isinstance(loader, ScanSelecting)
        assert selects == (LOADERS[name].reads is DatasetKind.PCR)
        if isinstance(loader, ScanSelecting):
            assert loader.scans == loader.groups == 10
            loader.set_scans(3)
            assert loader.scans == 3
            with pytest.raises(UsageError, match="fidelities 1 to 10"):
                loader.set_scans(11)


def test_a_loader_of_the_other_kind_names_the_command_that_helps(folder, dataset, tmp_path):
    splits = tmp_path / "my splits"
    for name in ("train", "val"):
        shutil.copytree(dataset, splits / name)
    with pytest.raises(UsageError, match=f"`dl2 convert {folder} {folder}-pcr`"):
        check_loader("pcr", locate(folder))
    with pytest.raises(UsageError, match=f"`dl2 extract {dataset} {dataset}-images`"):
        check_loader("pytorch", locate(dataset))
    with pytest.raises(UsageError) as error:
        check_loader("dali-cpu", locate(splits))
    commands = [part for part in str(error.value).split("`") if part.startswith("dl2 extract")]
    assert commands == [
        f"dl2 extract '{splits}/{name}' '{splits}-images'/{name}" for name in ("train", "val")
    ]


def test_both_kinds_hold_the_same(folder, dataset):
    assert count_images(folder) == count_images(dataset) == len(data_files(folder))
    assert dataset_classes(folder) == dataset_classes(dataset)
    assert all(path.name.startswith("PCR_") for path in data_files(dataset))
