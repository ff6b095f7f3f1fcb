"""Notices of what goes wrong without ending a training; each is told once."""

from __future__ import annotations

import math
from collections.abc import Callable

from dl2cli.loaders import LoaderStats
from dl2cli.training.log.events import Notice, NoticeKind, PhaseReport


class TroubleNotices:
    """Makes the notices of losses that are not finite, damaged images and overflows."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        """Pass each notice to `tell`."""
        self._tell = tell
        self._told: set[str] = set()

    def training_loss(self, loss: float, lr: float, epoch: int, iteration: int) -> None:
        """Tell the first loss of an epoch (0-based) that is not finite."""
        key = f"loss of epoch {epoch}"
        if math.isfinite(loss) or key in self._told:
            return
        self._told.add(key)
        text = (
            f"The loss is {loss} in epoch {epoch + 1}, step {iteration}, at the learning rate "
            f"{lr:g}. A smaller rate, warm-up, or another loss scale may help."
        )
        self._tell(Notice(NoticeKind.NAN_LOSS, text, epoch, iteration, {"lr": lr}))

    def validation_loss(self, report: PhaseReport) -> None:
        """Tell a validation loss that is not finite."""
        if math.isfinite(report.loss):
            return
        text = (
            f"The validation loss is {report.loss} in epoch {report.epoch + 1}, which therefore "
            "cannot be the best epoch."
        )
        self._tell(Notice(NoticeKind.NAN_LOSS, text, report.epoch, report.iteration))

    def damage(self, stats: LoaderStats, epoch: int, iteration: int) -> None:
        """Tell the damage that a loader has met since the last call."""
        for message in stats.messages:
            self._once(NoticeKind.DAMAGE, message, epoch, iteration)

    def overflows(self, skipped_steps: int, epoch: int, iteration: int) -> None:
        """Tell how many steps were left out because of an overflow, where there are more."""
        if skipped_steps:
            text = f"{skipped_steps} steps were left out because gradients overflowed at the "
            self._once(NoticeKind.INFO, f"{text}loss scale.", epoch, iteration)

    def _once(self, kind: NoticeKind, text: str, epoch: int, iteration: int) -> None:
        if text not in self._told:
            self._told.add(text)
            self._tell(Notice(kind, text, epoch, iteration))
