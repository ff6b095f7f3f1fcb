"""`dl2 train` within the tests' process: parsed, prepared, or run; and what its log says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from typer.testing import CliRunner

from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.program import build
from dl2cli.cli.main import app
from dl2cli.cli.train import command as train_command
from dl2cli.cli.train.options import TrainOptions
from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group
from dl2cli.training.launch import read_launch
from dl2cli.training.log.parameters import parameters

QUICK = ("-a", "small_cnn", "--image-size", "32", "-b", "4", "-w", "1", "--device", "cpu")


def parse(*arguments: object) -> TrainOptions:
    seen: list[TrainOptions] = []
    command = replace(train_command.COMMAND, run=seen.append)
    build(command).main([str(argument) for argument in arguments], standalone_mode=False)
    return seen[0]


def prepare(*arguments: object) -> TrainConfig:
    return train_command._prepare(parse(*arguments), read_launch(), Output())[1]


def logged(config: TrainConfig) -> dict[str, Any]:
    """The P record of a training that has not begun."""
    launch = read_launch()
    group = Group(launch.rank, launch.world_size, launch.local_rank, torch.device("cpu"))
    return parameters(config, group, seed=config.seed or 0)


def dl2(*arguments: object, code: int = 0) -> Any:
    run = CliRunner().invoke(app, ["train", *(str(argument) for argument in arguments)])
    assert run.exit_code == code, (run.output, run.exception)
    return run


def first_record(log: Path) -> dict[str, Any]:
    record = json.loads(log.read_text().partition("\n")[0].removeprefix("DLLL "))
    assert record["step"] == ["P"]
    data: dict[str, Any] = record["data"]
    return data


def epochs(log: Path) -> list[int]:
    records = [json.loads(line[5:]) for line in log.read_text().splitlines()]
    steps = [record["step"] for record in records if record["type"] == "LOG"]
    return list(dict.fromkeys(step[1] for step in steps if step[0] == "E"))
