"""`train_data_<rank>.csv`, as PCR's training program writes it: iteration, epoch, type, value.

Every rank has one; accuracies and losses are of all ranks, times are of the rank itself. A row
holds one value. Types are the keys of the run log: `t.loss` or `lr` of a window of iterations, with
`epoch.` in front (`epoch.t.loss`, `epoch.v.top1`) of a whole epoch. Iterations count from 1 in each
epoch, epochs from 0.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dl2cli.training.log.events import EpochReport, Observer, PhaseReport, RunInfo
from dl2cli.training.log.line_file import LineFile
from dl2cli.training.log.run_log import epoch_values, phase_values

COLUMNS = ("iteration", "epoch", "type", "value")


class TrainData(Observer):
    """Writes this rank's CSV, each row as soon as it is known."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; the rank comes with `started`."""
        self._folder = folder
        self._file: LineFile | None = None

    def started(self, info: RunInfo) -> None:
        """Begin the file, or go on with that of the interrupted run. Raises StorageError."""
        self._file = LineFile(self._folder / f"train_data_{info.rank}.csv")
        if not self._file.go_on(info.log_state.get(type(self).__name__, {})):
            self._file.begin()
            self._file.write(",".join(COLUMNS) + "\n")

    def window(self, report: PhaseReport) -> None:
        """Write the values of a window."""
        self._write(report.iteration, report.epoch, phase_values(report))

    def epoch_ended(self, report: EpochReport) -> None:
        """Write the values of an epoch."""
        iteration = report.train.iteration if report.train is not None else 0
        values = {f"epoch.{name}": value for name, value in epoch_values(report).items()}
        self._write(iteration, report.epoch, values)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def state(self) -> dict[str, Any]:
        """Return where the file stands."""
        return self._file.state() if self._file is not None else {}

    def _write(self, iteration: int, epoch: int, values: Mapping[str, float | int | None]) -> None:
        if self._file is None:
            return
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows(
            (iteration, epoch, name, repr(value))
            for name, value in values.items()
            if value is not None
        )
        self._file.write(text.getvalue())
