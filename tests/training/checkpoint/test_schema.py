"""Checkpoints of the right format with wrong entries: each is one sentence."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from train_runs import small_config, train

from dl2cli.errors import Dl2Error
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.checkpoint.write import save_checkpoint


@pytest.fixture(scope="module")
def checkpoint(sample_pcr: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("run")
    train(small_config(sample_pcr, folder, time_budget_s=0.0))
    return load_checkpoint(folder)


def places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each entry, but for the parameters and options, whose values are only shown."""
    if where[:1] in (("parameters",), ("options",), ("format",), ("version",)):
        return
    if where:
        yield where
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list | tuple) else items
    for key, each in items:
        yield from places(each, (*where, key))


def changed(state: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    state = copy.deepcopy(state)
    at: Any = state
    for key in place[:-1]:
        at = at[key]
    if isinstance(at, tuple):
        pytest.skip("a tuple cannot be changed")
    at[place[-1]] = value
    return state


def test_what_is_written_fits(checkpoint: dict[str, Any]):
    assert checkpoint["iteration"] == 1
    assert len(list(places(checkpoint))) > 60


@pytest.mark.parametrize("value", [torch.zeros(3), ["x"], {"x": {"y": 1}}, -(1 << 70), "x"])
def test_a_wrong_entry_is_refused_or_meets_no_surprise(
    checkpoint: dict[str, Any], sample_pcr: Path, tmp_path: Path, value: Any
):
    """Each entry in turn: the load refuses it, or the training that goes on copes or says why."""
    config = small_config(sample_pcr, tmp_path, checkpoint_resume=tmp_path, time_budget_s=0.0)
    for place in places(checkpoint):
        if len(place) > 2 and place[-1] not in (0, "state", "momentum_buffer", "elapsed_s"):
            continue
        save_checkpoint(tmp_path / "checkpoint.pth.tar", changed(checkpoint, place, value))
        try:
            train(config)
        except Dl2Error as error:
            assert str(error).endswith(".")
