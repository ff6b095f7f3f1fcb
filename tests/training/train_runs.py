"""Small datasets, and trainings on them that take a second."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dl2cli.loaders import LoaderConfig, TransformConfig
from dl2cli.training.config import DataConfig, TrainConfig
from dl2cli.training.log.events import Observer, Phase, StepReport
from dl2cli.training.models import ModelConfig
from dl2cli.training.optimization.lr_schedule import LrConfig
from dl2cli.training.trainer import train

LOADER_FIELDS = {field.name for field in fields(LoaderConfig)}


def small_config(data: Path, folder: Path, **changes: Any) -> TrainConfig:
    """Two epochs of the smallest net on a PCR dataset in splits; `changes` as in TrainConfig.

    Changes of a part are given as `checkpoint_filename="x"`; those of the data are `data_val=...`
    or, of its loader, `data_batch_size=8`.
    """
    config = TrainConfig(
        folder=folder,
        data=DataConfig(
            train=LoaderConfig(
                data / "train", batch_size=6, workers=2, transform=TransformConfig(size=32)
            ),
            val=data / "val",
        ),
        model=ModelConfig(arch="small_cnn", num_classes=0),
        lr=LrConfig(lr=0.05, policy="cosine", epochs=2),
        epochs=2,
        print_freq=2,
        seed=1,
        device="cpu",
    )
    for part in ("data", "checkpoint", "model"):
        own = {
            k.removeprefix(f"{part}_"): v for k, v in changes.items() if k.startswith(f"{part}_")
        }
        if part == "data":
            own["train"] = replace(
                config.data.train, **{k: own.pop(k) for k in list(own) if k in LOADER_FIELDS}
            )
        config = replace(config, **{part: replace(getattr(config, part), **own)})
        changes = {k: v for k, v in changes.items() if not k.startswith(f"{part}_")}
    return replace(config, **changes)


def records(log: Path, kind: str) -> list[dict[str, Any]]:
    """The records of a run log whose step begins with `kind`, merged by step."""
    merged: dict[str, dict[str, Any]] = {}
    for line in log.read_text().splitlines():
        assert line.startswith("DLLL ")
        record = json.loads(line[5:])
        if record["type"] == "LOG" and record["step"][0] == kind:
            merged.setdefault(str(record["step"]), {"step": record["step"]}).update(record["data"])
    return list(merged.values())


def curve(log: Path) -> list[tuple[Any, ...]]:
    """What was learnt at which step: all that a repeated run must have in common."""
    steps = [
        (*r["step"], r["t.loss"], r["t.top1"], r["t.top5"], r["lr"]) for r in records(log, "T")
    ]
    epochs = [
        (*r["step"], r["t.loss"], r["t.top1"], r.get("v.loss"), r.get("v.top1"))
        for r in records(log, "E")
    ]
    return steps + epochs


__all__ = ["curve", "records", "small_config", "train"]


class Listener(Observer):
    """Keeps what it is told; may send a signal after a step."""

    def __init__(self, stop_after: int | None = None, phase: Phase = Phase.TRAIN) -> None:
        self.steps: list[StepReport] = []
        self.notices = []
        self.windows = []
        self.epochs = []
        self.closed = False
        self.stop_after = stop_after
        self.phase = phase

    def started(self, info):
        self.info = info

    def stepped(self, report):
        self.steps.append(report)
        if self.stop_after is not None and report.phase is self.phase:
            self.stop_after -= 1
            if self.stop_after == 0:
                os.kill(os.getpid(), signal.SIGTERM)

    def window(self, report):
        self.windows.append(report)

    def epoch_ended(self, report):
        self.epochs.append(report)

    def noticed(self, notice):
        self.notices.append(notice)

    def close(self):
        self.closed = True
