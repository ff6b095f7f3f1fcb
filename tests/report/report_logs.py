"""Writes logs in the published formats, with values of a known closed form."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

START = 1_633_070_926.734195  # Unix seconds
UTC_OFFSET_H = 2
METRICS = ("t.top1", "t.loss", "v.top1", "v.top5")


@dataclass(frozen=True)
class Training:
    """What a synthetic training is like; times are seconds, the first epoch is slower."""

    arch: str = "resnet50"
    data: str = "data-hdd/imagenet/raw/"
    loader: str = "dali-cpu"
    workers: int = 16
    batch_size: int = 100
    world_size: int = 1
    epochs: int = 4
    first_epoch: int = 0
    iterations: int = 250
    data_s: float = 0.03
    compute_s: float = 0.07
    top1: float = 40.0  # of the first epoch; each further epoch gains 5
    validate: bool = True
    name: str = "run"
    start: float = START
    params: dict[str, Any] = field(default_factory=dict)

    def epoch_s(self, index: int) -> float:
        slow = 2.0 if index == self.first_epoch else 1.0
        return round((self.data_s + self.compute_s) * self.iterations * slow + index * 0.25, 5)


class _Log:
    def __init__(self, start: float) -> None:
        self.start, self.now, self.lines = start, start, []

    def add(self, elapsed: float, **record: Any) -> None:
        self.now = self.start + elapsed
        local = datetime(1970, 1, 1) + timedelta(seconds=self.now, hours=UTC_OFFSET_H)
        times = {
            "timestamp": repr(round(self.now, 6)),
            "datetime": local.strftime("%Y-%m-%d %H:%M:%S.%f"),
            "elapsedtime": repr(round(elapsed, 6)),
        }
        self.lines.append("DLLL " + json.dumps({**times, **record}) + "\n")

    def log(self, elapsed: float, step: list[Any], **data: Any) -> None:
        clean = {key.replace("__", "."): value for key, value in data.items()}
        self.add(elapsed, type="LOG", step=step, data=clean)


def training_lines(t: Training) -> list[str]:
    """Return the lines of a training log."""
    log = _Log(t.start)
    params = {
        "arch": t.arch, "batch_size": t.batch_size, "data": t.data, "data_loader": t.loader,
        "dataset_class": "ImageFolder", "cache_size": 1073742000, "experiment_name": t.name,
        "epochs": t.first_epoch + t.epochs, "run_epochs": -1, "workers": t.workers, "lr": 0.1,
        "mixup": 0.0, "optimizer_batch_size": -1, "skip_validation": not t.validate,
        "seed": None, "world_size": t.world_size, **t.params,
    }  # fmt: skip
    log.log(1.6e-05, ["P"], **params)
    for metric in METRICS:
        log.add(1.5, type="METADATA", metric=metric, metadata={"unit": "%", "format": ":.5f"})
    elapsed = 2.0
    for index in range(t.first_epoch, t.first_epoch + t.epochs):
        for iteration in range(100, t.iterations + 1, 100):
            _add_step(log, t, elapsed + iteration * 0.001, index, iteration)
        elapsed += t.epoch_s(index)
        _add_epoch(log, t, elapsed, ["E", index], index)
        log.log(elapsed, ["E", index], e__total_time=f"{t.epoch_s(index):.5f} s")
    last = t.first_epoch + t.epochs - 1
    _add_epoch(log, t, elapsed + 0.5, ["S"], last)
    return log.lines


def _times(t: Training, index: int) -> dict[str, float]:
    slow = 2.0 if index == t.first_epoch else 1.0
    return {"t__data_time": t.data_s * slow, "t__compute_time": t.compute_s}


def _add_step(log: _Log, t: Training, elapsed: float, index: int, iteration: int) -> None:
    times = _times(t, index)
    step = ["T", index, iteration]
    log.log(elapsed, step, t__top1=1.0, t__top5=2.0, t__loss=3.0, **times)
    log.log(elapsed, step, lr=0.1, t__iteration_speed=9e3, t__iteration_time=sum(times.values()))


def _add_epoch(log: _Log, t: Training, elapsed: float, step: list[Any], index: int) -> None:
    times = _times(t, index)
    first: dict[str, Any] = {"t__top1": 1.0, "t__top5": 2.0, "t__loss": 3.25, **times}
    second: dict[str, Any] = {
        "lr": 0.1, "t__iteration_speed": 9e3, "t__iteration_time": sum(times.values()),
    }  # fmt: skip
    if t.validate:
        top1 = t.top1 + 5.0 * (index - t.first_epoch)
        first |= {"v__top1": top1, "v__top5": top1 + 20, "v__loss": 1.5, "v__data_time": 0.01}
        second |= {"v__iteration_time": 0.05}
    log.log(elapsed, step, **first)
    log.log(elapsed, step, **second)


def write_training(path: Path, training: Training | None = None) -> Path:
    """Write a whole training log."""
    return write_text(path, "".join(training_lines(training or Training())))


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, newline="")
    return path


def write_json(path: Path, document: Any) -> Path:
    return write_text(path, json.dumps(document))


def iostat_document(training: Training, read_kb: int = 1024) -> dict[str, Any]:
    """Return an iostat document of 1 s samples around a training; each reads read_kb."""
    begin = datetime(1970, 1, 1) + timedelta(seconds=training.start, hours=UTC_OFFSET_H)
    seconds = int(sum(training.epoch_s(i) for i in range(training.epochs))) + 10
    statistics = [
        {
            "timestamp": (begin + timedelta(seconds=i)).strftime("%m/%d/%y %H:%M:%S"),
            "avg-cpu": {"user": 1.0, "iowait": 0.5},
            "disk": [{"disk_device": "sda4", "kB_read": read_kb, "kB_wrtn": 2}],
        }
        for i in range(seconds)
    ]
    return {"sysstat": {"hosts": [{"nodename": "n", "statistics": statistics}]}}


BENCH = {
    "schema_version": 1,
    "kind": "dl2-bench-io",
    "runs": [
        {
            "name": "pcr k=5", "loader": "pcr", "scans": 5, "workers": 8, "dataset": "photos",
            "batch_size": 64, "rate_img_s": 812.5, "bytes_per_image": 41230.5,
            "fetch_stall_s": 0.0004, "prep_stall_s": 0.0001, "compute_s": 0.0005, "storage": "hdd",
            "unknown": {"a": 1},
        },
        {
            "name": "originals", "loader": "pytorch", "scans": None, "workers": 8,
            "batch_size": 64, "dataset": "photos", "rate_img_s": 406.25, "bytes_per_image": 110000,
            "fetch_stall_s": 0.001, "prep_stall_s": 0.0005, "compute_s": 0.0005, "storage": "hdd",
        },
    ],
}  # fmt: skip
