"""The run log: `DLLL ` + one JSON object per line, as the (DL)2 program writes it, with keys added.

A logical record is split over lines as in the published logs, with the same keys, units and order:
P first; METADATA; T and V for windows of iterations; E for epochs; S last. Further keys stand
behind the published ones of the same line, where readers that do not know them pass over them:

* P: `train_images`, `val_images`, `steps_per_epoch`, `val_steps`, `model_parameters`, `device`,
  `host`, `versions` and `provenance` (provenance.py).
* T and E, second line: `t.fetch_time` and `t.prep_time` (s; together `t.data_time`), where the
  loader can tell.
* E, third line: `e.wall` (s), `e.images` and `e.bytes_read` (of training, all ranks),
  `e.val_images`, `e.val_bytes_read`, `e.scans`, `e.size` (of training images, pixels),
  `e.degraded` and `e.skipped` (images so far, this rank), `e.loader_fetch`, `e.loader_decode`,
  `e.loader_fetch_wait`, `e.loader_wait` (s of this rank's training loader, over its threads);
  for data in an object store, `e.store_requests`, `e.store_bytes`, `e.cache_bytes`,
  `e.store_retries`, `e.store_hedges`, `e.store_latency_p50`, `e.store_latency_p99` (s).
* S, second line: `s.epochs`, `s.wall` (s), `s.images`, `s.bytes_read`, `s.val_images`,
  `s.val_bytes_read`: totals over the epochs of the file, also those before a resume.
* N, a record of its own: `["N", epoch, iteration]` with `n.kind`, `n.text` and `n.values`: a loss
  that is NaN, a choice of fidelity with its scores, a checkpoint, damage; of a watched loop, its
  bottleneck and the straggler among its ranks.

A loop that is only watched (watching/) has no `top1`, `top5`, `loss` and `lr`; its E has further
keys, which watching/README.md describes.

S takes quantiles of latency over epochs, not over iterations, and its minimum of the loss passes
over NaN. A run that was stopped has no S: it is not over.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from dl2cli.environment import UNKNOWN, host, versions
from dl2cli.provenance import provenance
from dl2cli.stores.counters import StoreStats
from dl2cli.training.log.events import (
    EpochReport,
    Notice,
    Observer,
    Phase,
    PhaseReport,
    RunInfo,
    TrainResult,
)
from dl2cli.training.log.line_file import LineFile

_LATENCY = {
    "compute_latency_at100": 1.0,
    "compute_latency_at99": 0.99,
    "compute_latency_at95": 0.95,
}
_TOTALS = ("wall", "images", "bytes_read", "val_images", "val_bytes_read")
Values = dict[str, float | int | None]


class RunLog(Observer):
    """Writes the run log, each line as soon as it is known."""

    def __init__(self, path: Path, began: float | None = None) -> None:
        """Name the file; `elapsedtime` counts from `began` (`time.perf_counter`), or from now."""
        self._file = LineFile(path)
        self._began = time.perf_counter() if began is None else began
        self._epochs: list[list[Values]] = []  # what S is made of

    def started(self, info: RunInfo) -> None:
        """Begin the log, or go on with that of the interrupted run. Raises StorageError."""
        state = info.log_state.get(type(self).__name__, {})
        if self._file.go_on(state):
            self._began = time.perf_counter() - float(state["elapsed_s"])
            self._epochs = list(state["epochs"])
            return
        self._file.begin()
        self._log(["P"], _parameters(info))
        for metric, metadata in _metadata(validation=info.val_steps > 0):
            self._metadata(metric, metadata)

    def window(self, report: PhaseReport) -> None:
        """Write a T or V record."""
        step = [_side(report).upper(), report.epoch, report.iteration]
        first, second = _lines(report)
        self._log(step, first)
        self._log(step, second | _split(report))

    def epoch_ended(self, report: EpochReport) -> None:
        """Write an E record."""
        step = ["E", report.epoch]
        first, second = _epoch_lines(report)
        totals = _epoch_totals(report)
        self._log(step, first)
        self._log(step, second)
        self._log(step, {"e.total_time": f"{report.total_s:.5f} s", **totals})
        self._epochs.append([first, second, totals])

    def noticed(self, notice: Notice) -> None:
        """Write an N record."""
        data = {"n.kind": str(notice.kind), "n.text": notice.text, "n.values": notice.values}
        self._log(["N", notice.epoch, notice.iteration], data)

    def ended(self, result: TrainResult) -> None:
        """Write the S record of a run that is complete."""
        if result.stopped_by is not None or not self._epochs:
            return
        first, second = _summary(self._epochs)
        self._log(["S"], first)
        self._log(["S"], second)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def state(self) -> dict[str, Any]:
        """Return where the log stands, and what the S record needs."""
        where = self._file.state()
        return {**where, "elapsed_s": self._elapsed(), "epochs": self._epochs} if where else {}

    def _elapsed(self) -> float:
        return time.perf_counter() - self._began

    def _log(self, step: list[Any], data: dict[str, Any]) -> None:
        stamp, local, elapsed = self._times()
        times = {"timestamp": stamp, "datetime": local, "elapsedtime": elapsed}
        self._write({**times, "type": "LOG", "step": step, "data": data})

    def _metadata(self, metric: str, metadata: dict[str, str]) -> None:
        stamp, local, elapsed = self._times()
        times = {"timestamp": stamp, "elapsedtime": elapsed, "datetime": local}
        self._write({**times, "type": "METADATA", "metric": metric, "metadata": metadata})

    def _times(self) -> tuple[str, str, str]:
        """Return Unix seconds, the local date, and the seconds since the beginning, as text."""
        unix_s = round(time.time(), 6)
        local = str(datetime.fromtimestamp(unix_s))
        return str(unix_s), local, str(round(self._elapsed(), 6))

    def _write(self, record: dict[str, Any]) -> None:
        # A path among the parameters becomes text; NaN and Infinity stand as published.
        self._file.write(f"DLLL {json.dumps(record, default=str)}\n")


def phase_values(report: PhaseReport) -> Values:
    """Return the values of a T or V record by their keys."""
    first, second = _lines(report)
    return first | second | _split(report)


def epoch_values(report: EpochReport) -> Values:
    """Return the values of an E record by their keys, without `e.total_time`, which is text."""
    first, second = _epoch_lines(report)
    return first | second | _epoch_totals(report)


def _parameters(info: RunInfo) -> dict[str, Any]:
    return {
        **info.parameters,
        "world_size": info.world_size,
        # Of a loop that is only watched, these may not be known.
        "train_images": info.train_images or UNKNOWN,
        "val_images": info.val_images,
        "steps_per_epoch": info.steps_per_epoch or UNKNOWN,
        "val_steps": info.val_steps,
        "model_parameters": info.model_parameters or UNKNOWN,
        "device": info.device,
        "host": host(info.device),
        "versions": versions(),
        "provenance": provenance(info.parameters, data=_data(info), device=info.device),
    }


def _data(info: RunInfo) -> str | None:
    data = info.parameters.get("data")
    return data if isinstance(data, str) and Path(data).exists() else None


def _metadata(*, validation: bool) -> Iterator[tuple[str, dict[str, str]]]:
    speed = {"unit": "img/s", "format": ":.2f"}
    seconds = {"unit": "s", "format": ":.5f"}
    yield "lr", {}
    for side in "tv" if validation else "t":
        for name in ("top1", "top5"):
            yield f"{side}.{name}", {"unit": "%", "format": ":.5f"}
        yield f"{side}.loss", {"format": ":.2f"}
        for name in ("data_speed", "compute_speed", "iteration_speed"):
            yield f"{side}.{name}", speed
        for name in ("data_time", "compute_time", "iteration_time"):
            yield f"{side}.{name}", seconds
    for name in ("compute_latency", *_LATENCY) if validation else ():
        yield f"v.{name}", seconds


def _side(report: PhaseReport) -> str:
    return "t" if report.phase is Phase.TRAIN else "v"


def _lines(report: PhaseReport) -> tuple[Values, Values]:
    """Return the published values of a phase, divided as published."""
    first: Values = {
        "top1": report.top1_pct,
        "top5": report.top5_pct,
        "loss": report.loss,
        "data_time": report.data_s,
        "compute_time": report.compute_s,
    }
    second: Values = {
        "data_speed": report.data_speed_img_s,
        "compute_speed": report.compute_speed_img_s,
        "iteration_speed": report.iteration_speed_img_s,
        "iteration_time": report.iteration_s,
    }
    side = _side(report)
    if not report.scored:
        first = {key: first[key] for key in ("data_time", "compute_time")}
        return _named(side, first), _named(side, second)
    if report.phase is Phase.VALIDATION:
        quantiles = report.compute_latency_s
        second["compute_latency"] = report.compute_s
        second |= {name: quantiles[q] for name, q in _LATENCY.items() if q in quantiles}
        return _named(side, first), _named(side, second)
    return _named(side, first), {"lr": report.lr, **_named(side, second)}


def _split(report: PhaseReport | None) -> Values:
    """Return the parts of the data time in training, where the loader can tell."""
    if report is None or report.phase is not Phase.TRAIN or report.fetch_stall_s is None:
        return {}
    return {"t.fetch_time": report.fetch_stall_s, "t.prep_time": report.prep_stall_s}


def _named(side: str, values: Values) -> Values:
    return {f"{side}.{name}": value for name, value in values.items()}


def _epoch_lines(report: EpochReport) -> tuple[Values, Values]:
    first: Values = {}
    second: Values = {}
    for phase in (report.train, report.validation):
        if phase is not None:
            one, two = _lines(phase)
            first |= one
            second |= two
    return first, second | _split(report.train)


def _epoch_totals(report: EpochReport) -> Values:
    train, validation = report.train, report.validation
    totals: Values = {"wall": report.total_s}
    if train is not None:
        totals |= {"images": train.images}
        if train.scored:  # a loop that is only watched knows no bytes
            totals["bytes_read"] = train.bytes_read
    if validation is not None:
        totals |= {"val_images": validation.images, "val_bytes_read": validation.bytes_read}
    if train is not None:
        if train.fidelity.scans is not None:
            totals["scans"] = train.fidelity.scans
        if train.fidelity.size_px is not None:
            totals["size"] = train.fidelity.size_px
        totals |= {f"loader_{k.removesuffix('_s')}": v for k, v in train.stages_s.items()}
        totals |= _store(train.store)
    return _named(
        "e", totals | {"degraded": report.degraded, "skipped": report.skipped} | report.more
    )


def _store(stats: StoreStats | None) -> Values:
    if stats is None:
        return {}
    return {
        "store_requests": stats.requests,
        "store_bytes": stats.bytes_received,
        "cache_bytes": stats.bytes_cached,
        "store_retries": stats.retries,
        "store_hedges": stats.hedges,
        "store_latency_p50": stats.latency_p50_s,
        "store_latency_p99": stats.latency_p99_s,
    }


def _summary(epochs: list[list[Values]]) -> tuple[Values, Values]:
    """Return the two lines of the S record."""
    first, second = (
        {
            key: _over_epochs(key, [epoch[line][key] for epoch in epochs if key in epoch[line]])
            for key in dict.fromkeys(key for epoch in epochs for key in epoch[line])
        }
        for line in (0, 1)
    )
    second["s.epochs"] = len(epochs)
    for name in _TOTALS:
        values = [epoch[2].get(f"e.{name}") for epoch in epochs]
        if any(value is not None for value in values):
            second[f"s.{name}"] = sum(value or 0 for value in values)
    return first, second


def _over_epochs(key: str, values: list[float | int | None]) -> float | None:
    """Return what stands for all epochs: the best accuracy, the least loss, the last rate."""
    import numpy as np

    if key == "lr":
        return values[-1]
    numbers = [float(value) for value in values if value is not None and not math.isnan(value)]
    if not numbers:
        return math.nan
    name = key.partition(".")[2]
    if name in ("top1", "top5"):
        return max(numbers)
    if name == "loss":
        return min(numbers)
    if name in _LATENCY:
        return float(np.quantile(numbers, _LATENCY[name], method="nearest"))
    return math.fsum(numbers) / len(numbers)
