"""The training loop: from the first step to the last, from top to bottom.

Random numbers, the order of the data and the crops are functions of seed, epoch and step, so that
what a checkpoint has to hold is the state of model, optimiser and logs, and where to go on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dl2cli.errors import UsageError
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.checkpoint.write import save_checkpoint, save_weights
from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group, join_group
from dl2cli.training.fidelity_control import FidelityControl, TunerStopped
from dl2cli.training.log.events import (
    EpochReport,
    Notice,
    NoticeKind,
    Observer,
    Phase,
    PhaseReport,
    RunInfo,
    TrainResult,
)
from dl2cli.training.log.notices import TroubleNotices
from dl2cli.training.log.recorder import Recorder
from dl2cli.training.log.run_log import RunLog
from dl2cli.training.log.train_data import TrainData
from dl2cli.training.models import canonical_arch, set_training_mode
from dl2cli.training.optimization.accumulation import Accumulation
from dl2cli.training.optimization.compiling import compiling
from dl2cli.training.optimization.loss import correct
from dl2cli.training.optimization.lr_schedule import learning_rate
from dl2cli.training.optimization.step import StepOutcome, seed_step
from dl2cli.training.parts import make_parts
from dl2cli.training.profile import StepProfiler
from dl2cli.training.resume import comparable
from dl2cli.training.run_folder import run_folder
from dl2cli.training.run_info import run_info
from dl2cli.training.step_clock import StepClock
from dl2cli.training.stopping import SAVE, StopAgreement, StopRequest

if TYPE_CHECKING:
    from dl2cli.loaders import Loader

BEST: Final = "model_best"
LAST: Final = "model_last"


def train(config: TrainConfig, observers: Sequence[Observer] = ()) -> TrainResult:
    """Train a model.

    SIGINT, SIGTERM and the end of the time budget let the step finish, save a checkpoint and
    return; a second SIGINT interrupts at once.

    Args:
        config: what to train, with what, and how long.
        observers: are told what happens, beside the run log and the CSV of this rank.

    Returns:
        How it ended.

    Raises:
        UsageError: options that cannot be, or do not fit the data or the checkpoint.
        DataError: damaged data or a damaged checkpoint.
        StorageError: logs or checkpoints cannot be written.
        MissingDependency: a part of torch, DALI or a loader is not installed.
        RankLost: another rank has ended.
        CannotCompile: torch.compile was asked for, and cannot.
    """
    started = time.perf_counter()
    with (
        StopRequest(config.time_budget_s, config.checkpoint.on_usr1) as request,
        join_group(config.device, request) as group,
    ):
        training = _Training(config, group, request, started)
        with run_folder(config, group), compiling(config.compile):
            training.observers = _observers(config, group, observers, started)
            try:
                return training.run()
            finally:
                for observer in training.observers:
                    observer.close()


def _observers(
    config: TrainConfig, group: Group, others: Sequence[Observer], started: float
) -> list[Observer]:
    log = [RunLog(config.folder / config.report_file, started)] if group.rank == 0 else []
    return [*log, TrainData(config.folder), *others]


class _Training:
    """The state of a training, and what is done with it."""

    observers: list[Observer]

    def __init__(
        self, config: TrainConfig, group: Group, request: StopRequest, started: float
    ) -> None:
        self.config = config
        self.group = group
        self.started = started
        resume = config.checkpoint.resume
        trusted = config.checkpoint.trusted
        self.saved = load_checkpoint(resume, trusted=trusted) if resume else {}
        self.parts = make_parts(config, group, self.saved or None)
        self.fidelity = FidelityControl(config, self.parts, group)
        self.clock = StepClock.create(group.device, config.sync_every_step)
        self.stop = StopAgreement(request, group)
        self.epoch = int(self.saved.get("epoch", 0))
        self.epochs_done = int(self.saved.get("epochs_done", 0))
        self.best_top1_pct: float | None = self.saved.get("best_top1")
        self.best_epoch: int | None = self.saved.get("best_epoch")
        if config.skip_training:  # only what is validated here counts, and it ended its epoch
            self.best_top1_pct = self.best_epoch = None
            self.epoch -= int(self.epoch > 0 and not self.saved.get("iteration"))
        self.checkpoint: Path | None = resume
        self.history: list[EpochReport] = []
        self.stopped_by: str | None = None
        self.startup_s = 0.0
        self.trouble = TroubleNotices(self._notice)
        self.recorder = self._start_epoch(self.saved)
        self.profiler = StepProfiler(config.folder, config.profile_steps if not group.rank else 0)

    def run(self) -> TrainResult:
        """Train epoch after epoch, until the last or until something stops it."""
        info = self._info()
        for observer in reversed(self.observers):  # a tracker that cannot start leaves no log
            observer.started(info)
        for remark in self.parts.remarks:
            self._notice(Notice(NoticeKind.INFO, remark, self.epoch, 0))
        began = time.perf_counter()
        end = self._end_epoch()
        if self.epoch >= end:
            text = f"Nothing is left to train: {self.epochs_done} epochs of {end} are done."
            self._notice(Notice(NoticeKind.INFO, text, self.epoch, 0))
        while self.epoch < end and self.stopped_by is None:
            report = self._run_epoch()
            if report is None:  # stopped in the middle
                self._save(self.config.checkpoint.filename)
            else:
                self._finish_epoch(report)
        self.profiler.close()
        self.stop.finish()
        if self.config.checkpoint.save and self.history and not self.config.skip_training:
            self._save_weights(LAST)
        result = self._result(time.perf_counter() - began)
        self._tell("ended", result)
        return result

    def _start_epoch(self, saved: dict[str, Any]) -> Recorder:
        """Begin an epoch, or go on in the middle of one that was saved there."""
        loader, epoch = self.parts.loader, self.epoch
        loader.set_epoch(epoch)
        recorder = Recorder(Phase.TRAIN, epoch, loader, self.group, self.clock)
        if saved:
            last = epoch if saved["iteration"] else max(epoch - 1, 0)  # whose fidelity held
            self.fidelity.load_state_dict(saved["fidelity"], last)
        if saved and saved["iteration"] > 0 and not self.config.skip_training:
            try:
                loader.load_state_dict(saved["loader"])
            except UsageError as error:
                raise UsageError(
                    f"{error} A checkpoint from within an epoch goes on with the same data, seed, "
                    "--tail and --lanes, and with a --batch-size for "
                    f"{saved['loader'].get('global_batch')} images on all ranks together."
                ) from error
            recorder.load_state_dicts(saved["recorders"])
        return recorder

    def _run_epoch(self) -> EpochReport | None:
        """Train and validate; None when stopped in the middle."""
        epoch, config = self.epoch, self.config
        train = validation = None
        if not config.skip_training:
            if self.recorder.iteration == 0:
                try:
                    self._notice(self.fidelity.choose(epoch, self.stop.ask_to_stop))
                except TunerStopped as stopped:
                    self.stopped_by = stopped.reason
                    return None
            train = self._train_epoch()
            if train is None:
                return None
        trained = time.perf_counter()
        if self.parts.validation is not None:
            validation = self._validate(self.parts.validation)
            if validation is None:
                return None
        stats = self.parts.loader.stats()
        return EpochReport(
            epoch=epoch,
            train=train,
            validation=validation,
            total_s=(train.wall_s if train else 0) + time.perf_counter() - trained,
            degraded=stats.degraded,
            skipped=stats.skipped,
        )

    def _train_epoch(self) -> PhaseReport | None:
        """Train with what is left of an epoch; None when stopped."""
        config, parts, recorder = self.config, self.parts, self.recorder
        lr = learning_rate(config.lr, self.epoch)
        for group in parts.optimizer.param_groups:
            group["lr"] = lr
        set_training_mode(parts.replica)
        first = recorder.iteration
        groups = Accumulation(parts.loader.order.lanes, parts.batches_per_step, first)
        for number, batch in enumerate(recorder.batches(), first):
            self.startup_s = self.startup_s or time.perf_counter() - self.started
            seed_step(parts.seed, self.epoch, recorder.iteration, self.group.rank)
            images, labels = parts.kept(batch)
            weight, turn = groups.weight(number), groups.ends(number)
            outcome = parts.step(images, labels, weight=weight, turn=turn)
            self._tell("stepped", recorder.add(outcome))
            if outcome.images and outcome.loss.device.type == "cpu":
                loss = outcome.loss.item()  # at once: on a GPU, each step's would wait for it
                self.trouble.training_loss(loss, lr, self.epoch, recorder.iteration)
            self.profiler.step()
            if recorder.iteration % config.print_freq == 0:
                window = recorder.end_window(lr, self.fidelity.current)
                self._tell("window", window)
                if window.images:
                    self.trouble.training_loss(window.loss, lr, self.epoch, recorder.iteration)
                self._tell_trouble(parts.loader)
            if parts.step.pending:
                continue  # gradients that wait for more batches are in no checkpoint
            every = config.checkpoint.every_steps
            asked = self.stop.ask()
            if asked or (every and recorder.iteration % every == 0):
                with recorder.paused():
                    if self._stops(asked):
                        return None
                    self._save(config.checkpoint.filename)
        self._tell_trouble(parts.loader)
        return recorder.end(lr, self.fidelity.current)

    def _validate(self, loader: Loader) -> PhaseReport | None:
        """Measure the model on the validation data; None when stopped."""
        import torch

        parts, fidelity = self.parts, self.config.val_fidelity
        recorder = Recorder(Phase.VALIDATION, self.epoch, loader, self.group, self.clock)
        self.group.share_buffers(parts.model)
        parts.model.eval()
        loader.set_epoch(0)  # all of it, in order: the epoch makes no difference
        with torch.no_grad():
            for batch in recorder.batches():
                images, labels = parts.transfer(batch)
                kept = len(batch) - batch.padding
                with parts.precision.autocast():
                    output = parts.model(images)[:kept]
                    loss = parts.criterion(output, labels[:kept])
                top1, top5 = correct(output, labels[:kept])
                self._tell("stepped", recorder.add(StepOutcome(loss, top1, top5, kept)))
                if recorder.iteration % self.config.print_freq == 0:
                    self._tell("window", recorder.end_window(None, fidelity))
                asked = self.stop.ask()
                if asked:
                    with recorder.paused():
                        if self._stops(asked):
                            return None
                        self._save(self.config.checkpoint.filename)
        self._tell_trouble(loader)
        return recorder.end(None, fidelity)

    def _stops(self, asked: str | None) -> bool:
        """Take note of what the ranks have agreed on, and tell whether it is to stop."""
        self.stopped_by = None if asked == SAVE else asked
        return self.stopped_by is not None

    def _finish_epoch(self, report: EpochReport) -> None:
        """Tell of an epoch, go on to the next, and save."""
        checkpoint = self.config.checkpoint
        report = self._rated(report)
        self.history.append(report)
        self._tell("epoch_ended", report)
        self.epoch += 1
        if self.config.skip_training:
            return  # what was read is all there is to keep
        self.epochs_done = self.epoch
        self.recorder = self._start_epoch({})
        if checkpoint.save:
            self._save(checkpoint.filename)
        if checkpoint.save and report.best:
            self._save(f"{BEST}.pth.tar")
            self._save_weights(BEST)
        if checkpoint.backups:
            self._save(f"checkpoint_epoch_{report.epoch}.pth.tar")

    def _rated(self, report: EpochReport) -> EpochReport:
        """Say whether an epoch is the best so far; one with scores that are not finite never is."""
        validation = report.validation
        if validation is None:
            return report
        self.trouble.validation_loss(validation)
        if not math.isfinite(validation.loss):
            return report
        if self.best_top1_pct is not None and validation.top1_pct <= self.best_top1_pct:
            return report
        self.best_top1_pct, self.best_epoch = validation.top1_pct, report.epoch
        return replace(report, best=True)

    def _save(self, name: str) -> None:
        """Write a checkpoint; all ranks must come here at the same step."""
        parts, group = self.parts, self.group
        observers = group.gather({type(o).__name__: o.state() for o in self.observers})
        recorders = group.gather(self.recorder.state_dict())
        path = self.config.folder / name
        if name == self.config.checkpoint.filename:
            self.checkpoint = path
        if group.rank > 0:
            return
        save_checkpoint(
            path,
            {
                "arch": canonical_arch(self.config.model.arch),
                "classes": list(parts.loader.classes),
                "model": parts.model.state_dict(),
                "optimizer": parts.optimizer.state_dict(),
                "precision": parts.precision.state_dict(),
                "epoch": self.epoch,
                "iteration": self.recorder.iteration,
                # A loader that has ended its epoch stands at the beginning again.
                "loader": {**parts.loader.state_dict(), "batch": self.recorder.iteration},
                "recorders": recorders,
                "fidelity": self.fidelity.state_dict(),
                "best_top1": self.best_top1_pct,
                "best_epoch": self.best_epoch,
                "epochs_done": self.epochs_done,
                "seed": parts.seed,
                "world_size": group.world_size,
                "observers": observers,
                "parameters": comparable(parts.parameters),
                "options": self.config.options,
            },
        )

    def _save_weights(self, name: str) -> None:
        if self.group.rank == 0:
            save_weights(self.config.folder / f"{name}.safetensors", self.parts.model)

    def _tell_trouble(self, loader: Loader) -> None:
        """Report damage, and steps left out because of an overflow, that are new."""
        where = self.epoch, self.recorder.iteration
        self.trouble.damage(loader.stats(), *where)
        self.trouble.overflows(self.parts.precision.skipped_steps, *where)

    def _notice(self, notice: Notice | None) -> None:
        if notice is not None:
            self._tell("noticed", notice)

    def _tell(self, event: str, report: object) -> None:
        for observer in self.observers:
            getattr(observer, event)(report)

    def _end_epoch(self) -> int:
        """Return the epoch before which this process ends."""
        config = self.config
        if config.skip_training:
            return self.epoch + 1
        most = config.epochs if config.run_epochs is None else self.epoch + config.run_epochs
        return min(most, config.epochs)

    def _info(self) -> RunInfo:
        return replace(
            run_info(self.config, self.parts, self.group, self.saved.get("observers", [])),
            first_epoch=self.epoch,
            first_iteration=self.recorder.iteration,
            best_top1_pct=self.best_top1_pct,
            best_epoch=self.best_epoch,
        )

    def _result(self, wall_s: float) -> TrainResult:
        trained = [report.train for report in self.history if report.train is not None]
        return TrainResult(
            folder=self.config.folder,
            log=self.config.folder / self.config.report_file,
            checkpoint=self.checkpoint,
            status="stopped" if self.stopped_by else "complete",
            stopped_by=self.stopped_by,
            epochs_done=self.epochs_done,
            epochs=self.config.epochs,
            best_top1_pct=self.best_top1_pct,
            best_epoch=self.best_epoch,
            final=self.history[-1] if self.history else None,
            history=tuple(self.history),
            train_images=sum(phase.images for phase in trained),
            wall_s=wall_s,
            bytes_read=sum(phase.bytes_read for phase in trained),
            startup_s=self.startup_s,
        )
