"""A training in stages, each on another variant of the dataset, as in the (DL)2 program.

Every stage goes on where the one before ended, and writes a log of its own
(`experiment_report_stage_N.json`, `checkpoint_N.pth.tar`); `regimen_log.json` has the wall time of
each. On one PCR dataset a scan schedule does the same within a single run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from dl2cli.errors import DataError, UsageError
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.config import TrainConfig
from dl2cli.training.launch import read_launch
from dl2cli.training.log.events import Observer, TrainResult
from dl2cli.training.trainer import train

REGIMEN_LOG: Final = "regimen_log.json"
STAGE_CHECKPOINT: Final = "checkpoint_{}.pth.tar"  # as published


@dataclass(frozen=True)
class Stage:
    """The data of a stage, and the epoch (0-based) from which it is used."""

    first_epoch: int
    train: Path
    val: Path | None


@dataclass(frozen=True)
class RegimenResult:
    """The result of each stage that this process trained, and the log of all."""

    stages: tuple[TrainResult, ...]
    log: Path

    @property
    def stopped_by(self) -> str | None:
        """Why the last stage stopped, if it did not end."""
        return self.stages[-1].stopped_by if self.stages else None


def train_regimen(
    config: TrainConfig,
    stages: Sequence[Stage],
    observers: Callable[[int], Sequence[Observer]] = lambda stage: (),
) -> RegimenResult:
    """Train through stages; `config` says all but the data and the names of the files.

    With `config.checkpoint.resume`, it goes on in the stage in which that checkpoint was saved.

    Args:
        config: the training.
        stages: the stages in ascending order; the first begins at epoch 0.
        observers: makes the observers of a stage.

    Raises:
        UsageError: stages that make no sense; otherwise as `train`.
    """
    began = time.perf_counter()
    ends = _check(config, stages)
    log = config.folder / REGIMEN_LOG
    resume = config.checkpoint.resume
    saved = load_checkpoint(resume, trusted=config.checkpoint.trusted) if resume else {}
    at = int(saved.get("epoch", 0))
    last = config.epochs if config.run_epochs is None else at + config.run_epochs
    times: dict[str, Any] = _read_log(log) if resume else {}
    results: list[TrainResult] = []
    for number, (stage, end) in enumerate(zip(stages, ends, strict=True)):
        if end <= at or at >= last:
            continue
        started = time.perf_counter()
        wanted = _stage_config(config, number, stage, min(end, last) - at, resume)
        left_s = config.time_budget_s and max(config.time_budget_s - (started - began), 0.0)
        result = train(replace(wanted, time_budget_s=left_s), observers(number))
        results.append(result)
        before_s = _seconds_before(saved, stage) if len(results) == 1 else 0.0
        times[f"stage_{number}"] = {
            "time": before_s + time.perf_counter() - started,
            "epochs": end - stage.first_epoch,
            "dataset": str(stage.train),
        }
        if read_launch().is_first:
            _write_log(log, times)
        if result.stopped_by is not None:
            break
        resume, at = result.checkpoint, min(end, last)
        config = replace(config, replaces=())  # the first stage has done it
    return RegimenResult(tuple(results), log)


def _seconds_before(saved: dict[str, Any], stage: Stage) -> float:
    """Return how long a stage took before the checkpoint that it goes on from."""
    if not saved or (saved["epoch"], saved["iteration"]) <= (stage.first_epoch, 0):
        return 0.0
    logs = [each["RunLog"] for each in saved["observers"] if "RunLog" in each]
    return float(logs[0]["elapsed_s"]) if logs else 0.0


def _check(config: TrainConfig, stages: Sequence[Stage]) -> list[int]:
    """Return the epoch before which each stage ends."""
    firsts = [stage.first_epoch for stage in stages]
    ascending = all(a < b for a, b in pairwise(firsts))
    if not firsts or firsts[0] != 0 or not ascending:
        raise UsageError(
            "Stages must begin at ascending epochs, the first at 0, as in --stage jpeg10@0 "
            "--stage raw@45."
        )
    if firsts[-1] >= config.epochs:
        raise UsageError(
            f"The last stage begins at epoch {firsts[-1]}, but the training has only "
            f"{config.epochs} epochs."
        )
    if not config.checkpoint.save:
        raise UsageError(
            "Stages continue from each other's checkpoints: leave out --no-save-checkpoints."
        )
    return [*firsts[1:], config.epochs]


def _stage_config(
    config: TrainConfig, number: int, stage: Stage, epochs: int, resume: Path | None
) -> TrainConfig:
    name = Path(config.report_file)
    report_file = f"{name.stem}_stage_{number}{name.suffix}"
    checkpoint = STAGE_CHECKPOINT.format(number)
    data = replace(
        config.data,
        train=replace(config.data.train, data=stage.train),
        val=stage.val,
        root=stage.train,
    )
    return replace(
        config,
        data=data,
        run_epochs=epochs,
        report_file=report_file,
        checkpoint=replace(config.checkpoint, filename=checkpoint, resume=resume),
        # A first stage has an empty path there, as published.
        parameters={**config.parameters, "resume": str(resume or "")},
    )


def _read_log(log: Path) -> dict[str, Any]:
    try:
        times = json.loads(log.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{log} cannot be read: {error}.") from error
    times.pop("total_time", None)
    return dict(times)


def _write_log(log: Path, times: dict[str, Any]) -> None:
    total = sum(stage["time"] for stage in times.values())
    log.write_text(json.dumps({**times, "total_time": total}, indent=4) + "\n")
