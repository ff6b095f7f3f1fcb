"""Checkpoints: whole or not there, and never executed."""

from __future__ import annotations

import os
import pickle
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dl2cli.errors import DataError, StorageError, UsageError
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.checkpoint.write import save_checkpoint, save_weights

STATE = {
    "arch": "small_cnn",
    "classes": ["a", "b"],
    "model": {"weight": torch.arange(6.0).reshape(2, 3)},
    "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": []},
    "precision": {},
    "epoch": 3,
    "iteration": 7,
    "loader": {"epoch": 3, "batch": 7, "seed": 1},
    "recorders": [{"iteration": 7}],
    "fidelity": {"scans": 5},
    "best_top1": None,
    "best_epoch": None,
    "epochs_done": 3,
    "seed": 1,
    "world_size": 2,
    "observers": [{"RunLog": {"bytes": 10}}, {}],
}


class _Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_what_was_saved_is_loaded(tmp_path: Path):
    path = tmp_path / "checkpoint.pth.tar"
    save_checkpoint(path, STATE)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["model"]["weight"], STATE["model"]["weight"])
    assert {k: v for k, v in loaded.items() if k not in ("model", "optimizer")} == {
        "format": "dl2-checkpoint",
        "version": 1,
        **{k: v for k, v in STATE.items() if k not in ("model", "optimizer")},
    }
    assert load_checkpoint(tmp_path)["epoch"] == 3  # the folder of a run
    assert list(tmp_path.iterdir()) == [path]  # nothing temporary is left


def test_nothing_in_a_file_is_executed(tmp_path: Path):
    path, made = tmp_path / "bomb.pth.tar", tmp_path / "made"
    torch.save({"format": "dl2-checkpoint", "version": 1, **STATE, "arch": _Bomb(made)}, path)
    with pytest.raises(DataError, match=r"bomb\.pth\.tar is not a readable checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(_Bomb(made)))
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        load_checkpoint(path)
    assert not made.exists()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"state_dict": {}}, "--pretrained-weights"),
        ([1, 2], "not a checkpoint of dl2 train"),
        ({"format": "dl2-checkpoint", "version": 9, **STATE}, "has version 9"),
        (
            {"format": "dl2-checkpoint", "version": 1, **STATE, "epoch": "x"},
            "'epoch' has a wrong type",
        ),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, document: object, reason: str):
    path = tmp_path / "other.pth.tar"
    torch.save(document, path)
    with pytest.raises(DataError, match=reason):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
def test_damaged_files_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "damaged.pth.tar"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged\.pth\.tar is not a readable checkpoint"):
        load_checkpoint(path)


def test_a_cut_file_is_refused(tmp_path: Path):
    path = tmp_path / "cut.pth.tar"
    save_checkpoint(path, STATE)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"cut\.pth\.tar"):
        load_checkpoint(path)


def test_a_missing_file_is_the_users_error(tmp_path: Path):
    with pytest.raises(UsageError, match="There is no checkpoint"):
        load_checkpoint(tmp_path / "none")
    with pytest.raises(UsageError, match=r"There is no checkpoint .*checkpoint\.pth\.tar"):
        load_checkpoint(tmp_path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_older_one(tmp_path: Path):
    path = tmp_path / "checkpoint.pth.tar"
    save_checkpoint(path, STATE)
    with pytest.raises(StorageError, match="cannot be written"):
        save_checkpoint(tmp_path / "no" / "such" / "folder", STATE)
    before = path.read_bytes()
    with pytest.raises(AttributeError):
        save_checkpoint(path, {**STATE, "seed": lambda: 0})  # no pickle of it
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@contextmanager
def room_for(size: int):
    """Let the system refuse files of more than `size` bytes, as a full disk or a quota does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_room_is_said_as_the_system_says_it(tmp_path: Path):
    model = torch.nn.Linear(100, 100)
    state = {**STATE, "model": model.state_dict()}
    with room_for(10_000):
        with pytest.raises(StorageError, match=r"c\.pth\.tar cannot be written: File too large\."):
            save_checkpoint(tmp_path / "c.pth.tar", state)
        with pytest.raises(
            StorageError, match=r"w\.safetensors cannot be written: .*File too large"
        ):
            save_weights(tmp_path / "w.safetensors", model)
    assert not list(tmp_path.iterdir())


def test_weights_are_safetensors(tmp_path: Path):
    model = torch.nn.Linear(3, 2)
    save_weights(tmp_path / "w.safetensors", model)
    loaded = load_file(tmp_path / "w.safetensors")
    assert torch.equal(loaded["weight"], model.weight)
    assert set(loaded) == {"weight", "bias"}
