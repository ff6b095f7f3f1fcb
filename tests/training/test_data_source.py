"""Which data a training takes: named, found, or the sample set; and which loader reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dl2cli import pcr
from dl2cli.dataset import sample
from dl2cli.dataset.location import DatasetKind
from dl2cli.dataset.sample import SampleConfig
from dl2cli.errors import DataError, UsageError
from dl2cli.loaders import default_loader
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.plan import split_configs
from dl2cli.training import data_source
from dl2cli.training.data_source import find_data

CLASSES = sample.CLASSES


@pytest.fixture(scope="module")
def pcr_set(sample_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pcr") / "out"
    for config in split_configs(ConvertConfig(sample_set, out, images_per_record=8)):
        convert(config)
    return out


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, a cache of its own, and a sample set that is made at once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DL2_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = SampleConfig(train_per_class=2, val_per_class=1, long_side_px=64)
    make = sample.ensure_sample_set
    monkeypatch.setattr(
        data_source, "ensure_sample_set", lambda on_image: make(small, on_image=on_image)
    )
    return tmp_path


def test_a_folder_in_splits(sample_set, pcr_set):
    files = find_data(sample_set, "pytorch")
    assert (files.train, files.val) == (sample_set / "train", sample_set / "val")
    records = find_data(pcr_set, None)
    assert (records.train, records.val) == (pcr_set / "train", pcr_set / "val")
    assert records.loader == "pcr"
    assert files.classes == records.classes == CLASSES
    assert not files.sample
    assert str(records.train) in records.why


def test_one_dataset_has_no_validation_images_unless_named(sample_set, pcr_set):
    choice = find_data(pcr_set / "train", "pcr")
    assert (choice.train, choice.val) == (pcr_set / "train", None)
    assert "--val-data" in choice.why
    choice = find_data(pcr_set / "train", "pcr", val_data=sample_set / "val")
    assert choice.val == sample_set / "val"
    assert find_data(sample_set / "train", "pytorch").val is None


@pytest.mark.parametrize("name", ["valid", "validation", "test"])
def test_other_names_of_the_validation_split(sample_set, tmp_path, name):
    shutil.copytree(sample_set / "train", tmp_path / "train")
    shutil.copytree(sample_set / "val", tmp_path / name)
    assert find_data(tmp_path, "pytorch").val == tmp_path / name


def test_a_pcr_training_set_beside_plain_validation_images(sample_set, pcr_set, tmp_path):
    shutil.copytree(pcr_set / "train", tmp_path / "train")
    shutil.copytree(sample_set / "val", tmp_path / "val")
    choice = find_data(tmp_path, None)
    assert (choice.loader, choice.val) == ("pcr", tmp_path / "val")


def test_files_are_read_by_the_default_loader(sample_set):
    assert find_data(sample_set, None).loader == default_loader(DatasetKind.IMAGE_FOLDER)


def test_a_loader_of_the_other_kind_names_the_command_that_helps(sample_set, pcr_set):
    command = re.escape(f"`dl2 convert {sample_set} {sample_set}-pcr`")
    with pytest.raises(UsageError, match=command):
        find_data(sample_set, "pcr")
    for loader in ("pytorch", "dali-cpu"):
        with pytest.raises(UsageError) as error:
            find_data(pcr_set, loader)
        commands = [part for part in str(error.value).split("`") if part.startswith("dl2 extract")]
        assert commands == [
            f"dl2 extract {pcr_set}/{split} {pcr_set}-images/{split}" for split in ("train", "val")
        ]


def test_the_commands_that_help_are_quoted_for_the_shell(sample_set, tmp_path):
    folder = tmp_path / "my photos"
    shutil.copytree(sample_set, folder)
    with pytest.raises(UsageError, match=r"dl2 convert '.*my photos' '.*my photos-pcr'`"):
        find_data(folder, "pcr-dali")


def test_a_typo_says_what_is_near(sample_set):
    with pytest.raises(UsageError, match=r"There is no .*/trian; there is .*/train\."):
        find_data(sample_set / "trian", None)
    with pytest.raises(UsageError, match=r"There is no .*; .* holds train, val\."):
        find_data(sample_set / "photographs" / "2024", None)
    with pytest.raises(UsageError, match="There is no loader 'dali'; there are pcr"):
        find_data(sample_set, "dali")
    with pytest.raises(UsageError, match="There is no"):
        find_data(sample_set, "pytorch", val_data=sample_set / "vall")


def test_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(UsageError, match=r"holds no dataset: .*; it is empty\."):
        find_data(tmp_path, None)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UsageError, match=r"it holds notes\.txt\."):
        find_data(tmp_path, None)
    with pytest.raises(UsageError, match="is not a folder"):
        find_data(tmp_path / "notes.txt", None)


def test_a_folder_of_datasets_is_no_dataset(sample_set, pcr_set, tmp_path):
    shutil.copytree(sample_set, tmp_path / "raw")
    with pytest.raises(
        UsageError, match=r"holds only the folder raw, .* dataset in splits: name .*/raw instead"
    ):
        find_data(tmp_path, None)
    shutil.copytree(pcr_set / "val", tmp_path / "few")
    with pytest.raises(UsageError, match=r"several datasets; .* such as .*/raw\."):
        find_data(tmp_path, None)


def test_an_unfinished_conversion_is_refused(pcr_set, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(pcr_set / "train", copy)
    (copy / pcr.index.JOURNAL).write_bytes(b"a transaction")
    with pytest.raises(DataError, match="unfinished conversion"):
        find_data(copy, None)


def test_without_data_it_is_dl2_home_then_the_working_folder(nowhere, sample_set, monkeypatch):
    shutil.copytree(sample_set, nowhere / "data")
    choice = find_data(None, "pytorch")
    assert choice.train == Path("data/train")
    assert "as there is no --data" in choice.why
    monkeypatch.setenv("DL2_HOME", str(nowhere / "home"))
    assert find_data(None, "pytorch").train == Path("data/train")
    shutil.copytree(sample_set, nowhere / "home" / "data")
    assert find_data(None, "pytorch").train == nowhere / "home" / "data" / "train"


def test_a_working_folder_with_other_things_in_data_is_told_of(nowhere):
    (nowhere / "data").mkdir()
    with pytest.raises(UsageError, match=r"data holds no dataset.* as there is no --data"):
        find_data(None, None)


def test_the_sample_set_is_converted_once_for_pcr_loaders(nowhere):
    told = []
    choice = find_data(None, None, on_image=lambda done, images: told.append((done, images)))
    assert choice.sample
    assert choice.loader == "pcr"
    assert choice.classes == CLASSES
    assert (18, 18) in told  # generated
    assert (12, 12) in told  # converted
    assert pcr.open(choice.train).image_count == 12
    assert pcr.open(choice.val).image_count == 6
    made = choice.train.stat().st_mtime_ns
    assert find_data(None, "pcr").train.stat().st_mtime_ns == made
    files = find_data(None, "pytorch")
    assert files.sample
    assert len(list(files.train.rglob("*.jpg"))) == 12
    names = {path.name for path in files.root.parent.iterdir()}
    assert names == {".lock", files.root.name, choice.root.name}


def test_two_processes_make_it_at_once(nowhere):
    code = (
        "from dl2cli.dataset import sample\n"
        "from dl2cli.training import data_source\n"
        "make = sample.ensure_sample_set\n"
        "small = sample.SampleConfig(train_per_class=2, val_per_class=1, long_side_px=64)\n"
        "data_source.ensure_sample_set = lambda on_image: make(small)\n"
        "data_source._one_at_a_time = __import__('contextlib').nullcontext\n"
        "print(data_source.find_data(None, 'pcr').train)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0, 0]
    (path,) = outputs
    assert pcr.open(path.strip()).image_count == 12
    assert not list((nowhere / "cache" / "dl2").glob(".making*"))


def test_synthetic_images_of_a_given_number_need_no_data(sample_set, tmp_path):
    choice = find_data(Path("no/real/dataset"), "synthetic", synthetic_images=1000)
    assert (choice.train, choice.val, choice.classes) == (Path("no/real/dataset"), None, ())
    assert "1,000 synthetic images" in choice.why
    assert find_data(sample_set, "synthetic").classes == CLASSES
    with pytest.raises(UsageError, match="There is no"):
        find_data(tmp_path / "none", "synthetic")
