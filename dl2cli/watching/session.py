"""The log of a watched loader: its windows, epochs and verdicts, in the format of `dl2 train`."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TextIO

from dl2cli.environment import UNKNOWN
from dl2cli.errors import StorageError
from dl2cli.training.fidelity.curriculum import Fidelity
from dl2cli.training.log.events import (
    EpochReport,
    Notice,
    NoticeKind,
    Phase,
    PhaseReport,
    RunInfo,
    TrainResult,
)
from dl2cli.training.log.run_log import RunLog
from dl2cli.watching.account import EpochSummary
from dl2cli.watching.ranks import Ranks
from dl2cli.watching.stages import STORAGE
from dl2cli.watching.verdict import (
    bottleneck,
    sentences,
    straggler,
    straggler_sentence,
)

REPORT_FILE: Final = "experiment_report.json"
_EPOCH_WAIT_S: Final = 1.0  # for the summaries of other ranks, after each epoch
_LAST_WAIT_S: Final = 5.0  # at the end of all
_logger = logging.getLogger("dl2cli.watching")


class WatchSession:
    """What is known of a watched loader over all its epochs; it writes the log on rank 0.

    Nothing here may end a training: what cannot be written is told once, and left.
    """

    def __init__(self, name: str, folder: Path | None, live: TextIO | None) -> None:
        """Name the run.

        Args:
            name: of the run, for the log's folder.
            folder: for the log, as the user gave it; None is a new one in `workspace()`.
            live: where lines are written while the loop runs; None is nowhere.
        """
        self.name = name
        self.folder = folder
        self.ranks = Ranks()
        self.summaries: list[EpochSummary] = []  # of this rank
        self.by_rank: dict[int, list[EpochSummary]] = {}  # epoch: of all ranks, on rank 0
        self._live = live
        self._log: RunLog | None = None
        self._given = folder is not None
        self._began = time.perf_counter()
        self._closed = self._broken = False

    def begin(self, parameters: dict[str, Any], steps: int | None, device: str) -> None:
        """Begin the log with the first epoch; later calls do nothing.

        Raises:
            StorageError: the folder that the user gave cannot be written.
        """
        if self._log is not None or self._broken or self._closed or self.ranks.rank > 0:
            return
        try:
            self.folder = self.folder or _new_folder(self.name)
            self.folder.mkdir(parents=True, exist_ok=True)
            log = RunLog(self.folder / REPORT_FILE, self._began)
            log.started(self._info(parameters, steps, device))
        except (OSError, StorageError) as error:
            self._broken = True
            if self._given:
                raise StorageError(f"{self.folder} cannot be written: {error}.") from error
            _logger.warning("The watched loop has no log: %s", error)
            return
        self._log = log
        _logger.info("The watched loop is logged to %s", self.folder)

    def window(self, report: PhaseReport) -> None:
        """Take some steps."""
        if self._log is not None:
            self._write(lambda log: log.window(report))

    def epoch_ended(self, summary: EpochSummary) -> None:
        """Take an epoch of this rank."""
        self.summaries.append(summary)
        with no_harm("tell the other ranks"):
            self.ranks.post(summary)
        if self.ranks.rank > 0:
            return
        ranks = self._collect(summary, _EPOCH_WAIT_S)
        report = epoch_report(summary, ranks, self.ranks.world_size)
        self._write(lambda log: log.epoch_ended(report))
        self._tell(summary, ranks)

    def say(self, text: str) -> None:
        """Write a line where the user asked for them."""
        if self._live is not None:
            with no_harm("write to the terminal"):
                self._live.write(f"{text}\n")
                self._live.flush()

    def close(self) -> None:
        """End the log; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._log is None:
            return
        for summary in self.summaries[-1:]:
            if len(self.by_rank.get(summary.epoch, ())) < self.ranks.world_size:
                ranks = self._collect(summary, _LAST_WAIT_S)
                self._tell_straggler(summary, ranks)
        if not _failed() and self.summaries:
            self._write(lambda log: log.ended(self._result()))
        with no_harm("close the log"):
            self._log.close()

    def _collect(self, own: EpochSummary, wait_s: float) -> list[EpochSummary]:
        found = [own]
        with no_harm("hear the other ranks"):
            found = self.ranks.collect(own, wait_s)
        self.by_rank[own.epoch] = found
        return found

    def _tell(self, summary: EpochSummary, ranks: Sequence[EpochSummary]) -> None:
        values = {
            "bottleneck": bottleneck(summary),
            "stages": summary.stages,
            "busiest": summary.busiest,
            "basis": summary.basis,
            "slowest_batches": [asdict(each) for each in summary.slowest],
            "ranks": [_of_rank(each) for each in ranks],
        }
        if summary.replay is not None:
            values["replay"] = asdict(summary.replay)
        text = " ".join(sentences(summary, []))
        self._notice(Notice(NoticeKind.BOTTLENECK, text, summary.epoch, summary.steps, values))
        self._tell_straggler(summary, ranks)
        self.say(_headline(summary))
        for sentence in sentences(summary, ranks):
            self.say(f"  {sentence}")

    def _tell_straggler(self, summary: EpochSummary, ranks: Sequence[EpochSummary]) -> None:
        if (slow := straggler(ranks)) is not None:
            values = {"rank": slow.rank, "ranks": [_of_rank(each) for each in ranks]}
            text = straggler_sentence(slow, ranks)
            kind = NoticeKind.STRAGGLER
            self._notice(Notice(kind, text, summary.epoch, summary.steps, values))

    def _notice(self, notice: Notice) -> None:
        self._write(lambda log: log.noticed(notice))

    def _write(self, action: Any) -> None:  # noqa: ANN401
        if self._log is None or self._broken:
            return
        try:
            action(self._log)
        except StorageError as error:  # a full disk must not end a training
            self._broken = True
            _logger.warning("The log of the watched loop ends here: %s", error)

    def _info(self, parameters: dict[str, Any], steps: int | None, device: str) -> RunInfo:
        folder = self.folder or Path()
        return RunInfo(
            folder=folder,
            parameters={"experiment_name": folder.name, **parameters, "skip_validation": True},
            rank=0,
            world_size=self.ranks.world_size,
            device=device,
            epochs=0,
            first_epoch=0,
            first_iteration=0,
            steps_per_epoch=steps or 0,
            val_steps=0,
            train_images=0,
            val_images=0,
            classes=(),
            model_parameters=0,
        )

    def _result(self) -> TrainResult:
        return TrainResult(
            folder=self.folder or Path(),
            log=(self.folder or Path()) / REPORT_FILE,
            checkpoint=None,
            status="complete",
            stopped_by=None,
            epochs_done=len(self.summaries),
            epochs=len(self.summaries),
            best_top1_pct=None,
            best_epoch=None,
            final=None,
            history=(),
            train_images=sum(each.images for each in self.summaries),
            wall_s=sum(each.wall_s for each in self.summaries),
            bytes_read=0,
            startup_s=0.0,
        )


def workspace() -> Path:
    """Return where runs are kept: $DL2_HOME/logs, else ./logs, as for `dl2 train`."""
    home = os.environ.get("DL2_HOME")
    return Path(home, "logs") if home else Path("logs")


def _new_folder(name: str) -> Path:
    """Make a folder that no run has yet."""
    base = workspace() / f"watch-{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    base.parent.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = base if number == 1 else base.with_name(f"{base.name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def phase_report(
    epoch: int, iteration: int, times: Sequence[tuple[float, float]], images: float, world_size: int
) -> PhaseReport:
    """Return the report of some steps: (wait, rest) in seconds each, and this rank's images."""
    data = [data_s for data_s, _ in times]
    compute = [compute_s for _, compute_s in times]
    count = max(len(times), 1)
    each = world_size * images / count
    data_s, compute_s = math.fsum(data) / count, math.fsum(compute) / count
    both = [a + b for a, b in times]

    def speed(seconds: Sequence[float]) -> float:
        return math.fsum(each / max(s, 1e-9) for s in seconds) / count

    return PhaseReport(
        phase=Phase.TRAIN,
        epoch=epoch,
        iteration=iteration,
        iterations=len(times),
        images=round(images * world_size),
        loss=math.nan,
        top1_pct=math.nan,
        top5_pct=math.nan,
        data_s=data_s,
        compute_s=compute_s,
        iteration_s=data_s + compute_s,
        data_speed_img_s=speed(data),
        compute_speed_img_s=speed(compute),
        iteration_speed_img_s=speed(both),
        compute_latency_s={},
        fetch_stall_s=None,
        prep_stall_s=None,
        wall_s=math.fsum(both),
        bytes_read=0,
        lr=None,
        fidelity=Fidelity(),
        scored=False,
    )


def epoch_report(
    summary: EpochSummary, ranks: Sequence[EpochSummary], world_size: int
) -> EpochReport:
    """Return the E record's content; ranks that were not heard count as those that were."""
    steps = max(summary.steps, 1)
    wait_s = summary.wait_s + summary.first_batch_s
    if summary.device_wait_s is not None:
        wait_s = min(summary.device_wait_s, summary.wall_s)
    # A mean step stands for all of them.
    step = wait_s / steps, (summary.wall_s - wait_s) / steps
    train = replace(
        phase_report(summary.epoch, summary.steps, [step], summary.images / steps, 1),
        iterations=steps,
        wall_s=summary.wall_s,
    )
    heard = sum(each.images for each in ranks)
    images = round(heard * world_size / max(len(ranks), 1))
    data_s = train.data_s
    if summary.stages:
        fetch_s = data_s * summary.stages.get(STORAGE, 0.0)
        train = replace(train, images=images, fetch_stall_s=fetch_s, prep_stall_s=data_s - fetch_s)
    else:
        train = replace(train, images=images)
    return EpochReport(
        epoch=summary.epoch,
        train=train,
        validation=None,
        total_s=summary.wall_s,
        more=_more(summary, ranks),
    )


def _more(summary: EpochSummary, ranks: Sequence[EpochSummary]) -> dict[str, Any]:
    names = ("wait_p50", "wait_p95", "wait_p99", "wait_max")
    more: dict[str, Any] = {
        "first_batch": summary.first_batch_s,
        **dict(zip(names, summary.wait_quantiles_s, strict=True)),
        "stall": summary.stall,
        "ranks_heard": len(ranks),
        "cpu_share": UNKNOWN if summary.cpu_share is None else summary.cpu_share,
    }
    if summary.workers_cpu_share is not None:
        more["workers_cpu_share"] = summary.workers_cpu_share
    if summary.replay is not None:
        more["replay_rate"] = summary.replay.rate_img_s
    return more


def _of_rank(summary: EpochSummary) -> dict[str, Any]:
    steps = max(summary.steps, 1)
    return {
        "rank": summary.rank,
        "host": summary.host,
        "steps": summary.steps,
        "images": summary.images,
        "rate_img_s": summary.rate_img_s,
        "first_batch_s": summary.first_batch_s,
        "wait_s": summary.wait_s / steps,
        "step_s": summary.step_s / steps,
        "wait_quantiles_s": list(summary.wait_quantiles_s),
        "bottleneck": bottleneck(summary),
    }


def _headline(summary: EpochSummary) -> str:
    p50, p95, p99, worst = (1e3 * each for each in summary.wait_quantiles_s)
    text = (
        f"epoch {summary.epoch + 1}: {_rate(summary)}, {summary.steps} steps in "
        f"{summary.wall_s:.1f} s, first batch after {summary.first_batch_s:.2f} s; "
        f"waits p50 {p50:.1f}, p95 {p95:.1f}, p99 {p99:.1f}, worst {worst:.1f} ms"
    )
    if summary.slowest and summary.slowest[0].wait_s > 0:
        text += f" (step {summary.slowest[0].step})"
    return text if summary.whole else f"{text}; left before its end"


def _rate(summary: EpochSummary) -> str:
    if summary.images or not summary.wall_s:
        return f"{summary.rate_img_s:.0f} images/s"
    return f"{summary.steps / summary.wall_s:.1f} steps/s"


@contextlib.contextmanager
def no_harm(doing: str) -> Iterator[None]:
    """Tell an error of the watching itself to the log of the program, and go on."""
    try:
        yield
    except Exception as error:  # whatever it is, the training goes on
        _logger.warning("Watching could not %s: %s", doing, error)


def _failed() -> bool:
    """Tell whether the interpreter ends because of an exception."""
    return getattr(sys, "last_value", None) is not None
