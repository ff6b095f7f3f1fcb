"""Optional listeners that hand a training to TensorBoard, Weights & Biases or MLflow.

Each goes through its own library. Values are named as in the run log: `window/t.loss` for windows
of training iterations, `epoch/v.top1` for epochs; the step is the number of training iterations
since epoch 0. A tracker that cannot start ends the run before it begins; one that fails later is
left alone, so that no training is lost to it.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dl2cli.errors import Dl2Error, MissingDependency, UsageError
from dl2cli.training.checkpoint.write import plain
from dl2cli.training.log.events import (
    EpochReport,
    Notice,
    Observer,
    Phase,
    PhaseReport,
    RunInfo,
    TrainResult,
)
from dl2cli.training.log.run_log import epoch_values, phase_values

_EXTRA = "trackers"
_PROJECT = "dl2"
_MAX_PARAMETER = 6000  # characters of a parameter in MLflow; it refuses more
_logger = logging.getLogger(__name__)


class Sink(Observer, ABC):
    """Turns what a training tells into named numbers at steps."""

    def __init__(self, folder: Path) -> None:
        """Name the run's folder.

        Raises:
            MissingDependency: the tracker's library is not installed.
        """
        self.folder = folder
        self._info: RunInfo | None = None
        self._alive = True

    def started(self, info: RunInfo) -> None:
        """Open the tracker. Raises UsageError when it cannot start."""
        self._info = info
        try:
            self._open(info, info.log_state.get(type(self).__name__, {}))
        except Exception as error:
            self._alive = False
            reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
            raise UsageError(f"--track: {type(self).__name__} cannot start: {reason}.") from error

    def window(self, report: PhaseReport) -> None:
        """Pass on a window of training."""
        if report.phase is Phase.TRAIN and self._info is not None:
            step = report.epoch * self._info.steps_per_epoch + report.iteration
            self._pass_on("window", phase_values(report), step)

    def epoch_ended(self, report: EpochReport) -> None:
        """Pass on an epoch."""
        if self._info is not None:
            step = (report.epoch + 1) * self._info.steps_per_epoch
            self._pass_on("epoch", epoch_values(report), step)

    def noticed(self, notice: Notice) -> None:
        """Pass on a notice, where the tracker has a place for text."""
        if self._info is not None:
            step = notice.epoch * self._info.steps_per_epoch + notice.iteration
            self._guard(lambda: self._text(notice, step))

    def ended(self, result: TrainResult) -> None:
        """Note how the run ended."""
        self._guard(lambda: self._end(result))

    def close(self) -> None:
        """Close the tracker."""
        if self._info is not None:
            self._guard(self._close)
        self._info = None

    def _pass_on(self, group: str, values: Mapping[str, float | int | None], step: int) -> None:
        known = {f"{group}/{k}": float(v) for k, v in values.items() if v is not None}
        self._guard(lambda: self._log(known, step))

    def _guard(self, action: Callable[[], None]) -> None:
        if not self._alive:
            return
        try:
            action()
        except Exception as error:
            self._alive = False
            _logger.warning("%s failed and is left alone: %s", type(self).__name__, error)

    @abstractmethod
    def _open(self, info: RunInfo, state: Mapping[str, Any]) -> None:
        """Begin a run, or go on with the one that `state` names."""

    @abstractmethod
    def _log(self, values: dict[str, float], step: int) -> None:
        """Take numbers."""

    def _text(self, notice: Notice, step: int) -> None:
        """Take a notice."""

    def _end(self, result: TrainResult) -> None:
        """Take the end."""

    @abstractmethod
    def _close(self) -> None:
        """Flush and close."""


class TensorBoard(Sink):
    """Writes event files to the run's folder, in `tensorboard/`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            from torch.utils import tensorboard
        except ImportError:
            raise MissingDependency("tensorboard", _EXTRA) from None
        self._library: Any = tensorboard

    def _open(self, info: RunInfo, state: Mapping[str, Any]) -> None:
        # What a crash left behind the checkpoint is hidden: those steps come again.
        done = info.first_epoch * info.steps_per_epoch + info.first_iteration
        self._writer = self._library.SummaryWriter(
            str(self.folder / "tensorboard"), purge_step=done + 1 if state else None
        )
        rows = "\n".join(f"| {name} | {value} |" for name, value in info.parameters.items())
        self._writer.add_text("parameters", f"| option | value |\n|---|---|\n{rows}", done)

    def _log(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def _text(self, notice: Notice, step: int) -> None:
        self._writer.add_text(str(notice.kind), notice.text, step)

    def _close(self) -> None:
        self._writer.close()

    def state(self) -> dict[str, Any]:
        """Return that there are events, after they are written."""
        if self._info is None:
            return {}
        self._guard(self._writer.flush)
        return {"written": True}


class WandB(Sink):
    """Makes a run in the project `dl2`; `WANDB_MODE` and the other variables have their say."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            import wandb
        except ImportError:
            raise MissingDependency("wandb", _EXTRA) from None
        self._library: Any = wandb
        self._run: Any = None

    def _open(self, info: RunInfo, state: Mapping[str, Any]) -> None:
        self._run = self._library.init(
            project=_PROJECT,
            name=self.folder.name,
            dir=str(self.folder),
            config=plain(info.parameters),
            id=state.get("run_id"),
            resume="allow" if state else None,
            # Its copy of the console would be one of a live view, many times a second.
            settings=self._library.Settings(silent=True, console="off"),
        )

    def _log(self, values: dict[str, float], step: int) -> None:
        self._run.log(values, step=step)

    def _text(self, notice: Notice, step: int) -> None:
        self._run.summary[f"{notice.kind}/{step}"] = notice.text

    def _end(self, result: TrainResult) -> None:
        self._run.summary["status"] = result.status

    def _close(self) -> None:
        self._run.finish()

    def state(self) -> dict[str, Any]:
        """Return the run's id."""
        return {} if self._run is None else {"run_id": self._run.id}


class MLflow(Sink):
    """Makes a run in the experiment `dl2`, at `MLFLOW_TRACKING_URI`, or where MLflow keeps runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        try:
            import mlflow
        except ImportError:
            raise MissingDependency("mlflow", _EXTRA) from None
        self._client_of: Any = mlflow.MlflowClient
        self._client: Any = None
        self._run_id = ""
        self._status = "FAILED"  # until the end is told

    def _open(self, info: RunInfo, state: Mapping[str, Any]) -> None:
        client = self._client_of()
        if "run_id" in state:
            self._run_id = client.get_run(state["run_id"]).info.run_id
            client.update_run(self._run_id, status="RUNNING")
        else:
            experiment = client.get_experiment_by_name(_PROJECT)
            number = experiment.experiment_id if experiment else client.create_experiment(_PROJECT)
            self._run_id = client.create_run(number, run_name=self.folder.name).info.run_id
            for name, value in info.parameters.items():
                client.log_param(self._run_id, name, str(value)[:_MAX_PARAMETER])
        self._client = client

    def _log(self, values: dict[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, step) for name, value in values.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _text(self, notice: Notice, step: int) -> None:
        self._client.set_tag(self._run_id, f"{notice.kind}/{step}", notice.text[:_MAX_PARAMETER])

    def _end(self, result: TrainResult) -> None:
        self._status = "KILLED" if result.stopped_by else "FINISHED"

    def _close(self) -> None:
        if self._client is not None:
            self._client.set_terminated(self._run_id, self._status)

    def state(self) -> dict[str, Any]:
        """Return the run's id."""
        return {"run_id": self._run_id} if self._run_id else {}


SINKS: dict[str, type[Sink]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}


def create_sinks(names: Sequence[str], folder: Path) -> list[Observer]:
    """Return the observers for trackers; only rank 0 should have any.

    Args:
        names: names in `SINKS`.
        folder: the run's folder; its name becomes the run's name in the tracker.

    Raises:
        UsageError: there is no tracker of such a name.
        MissingDependency: its library is not installed.
    """
    if unknown := [name for name in names if name not in SINKS]:
        raise UsageError(f"--track {unknown[0]!r}: there are {', '.join(SINKS)}.")
    return [_create(name, folder) for name in dict.fromkeys(names)]


def _create(name: str, folder: Path) -> Sink:
    try:
        return SINKS[name](folder)
    except Dl2Error:
        raise
    except Exception as error:  # a library that cannot be imported here, for whatever reason
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise UsageError(f"--track {name} cannot start: {reason}.") from error
