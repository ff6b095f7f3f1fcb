"""Keeps the account of a phase: each iteration's times and outcome, by window and by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dl2cli.loaders import Batch, Loader, LoaderStats
from dl2cli.training.distributed import Group
from dl2cli.training.fidelity.curriculum import Fidelity
from dl2cli.training.log.events import Phase, PhaseReport, StepReport
from dl2cli.training.log.meters import Meter, split_states
from dl2cli.training.optimization.step import StepOutcome
from dl2cli.training.step_clock import StepClock


class Recorder:
    """Takes the time of each iteration of a phase, and sums up what came out of it.

    An iteration begins where the one before ended: with the wait for its batch.
    """

    def __init__(
        self, phase: Phase, epoch: int, loader: Loader, group: Group, clock: StepClock
    ) -> None:
        """Begin an account that is summed over the ranks of `group`."""
        self.phase = phase
        self.epoch = epoch
        self.iteration = 0  # done in this epoch
        self._loader = loader
        self._group = group
        self._clock = clock
        self._total = self._meter()
        self._window = self._meter()
        self._before = loader.stats()

    def batches(self) -> Iterator[Batch]:
        """Yield what is left of the loader's epoch; end each iteration with `add`."""
        self._clock.start()
        for batch in self._loader:
            self._clock.batch_ready()
            self.iteration += 1
            yield batch

    def add(self, outcome: StepOutcome) -> StepReport:
        """End an iteration; costs microseconds, and waits for no device."""
        data_s, iteration_s = self._clock.end()
        self._window.add(outcome.loss, outcome.top1, outcome.top5, outcome.images)
        return StepReport(
            phase=self.phase,
            epoch=self.epoch,
            iteration=self.iteration,
            images=outcome.images,
            data_s=data_s,
            iteration_s=iteration_s,
        )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Settle the account, and do something that does not belong to the phase."""
        self._settle()
        yield
        self._clock.start()

    def end_window(self, lr: float | None, fidelity: Fidelity) -> PhaseReport:
        """Return the account of the iterations since the last window, and begin another."""
        self._settle()
        report = self._window.report(self.iteration, lr, fidelity)
        self._total.merge(self._window)
        self._window = self._meter()
        return report

    def end(self, lr: float | None, fidelity: Fidelity) -> PhaseReport:
        """Return the account of the whole epoch."""
        self._settle()
        self._total.merge(self._window)
        self._window = self._meter()
        return self._total.report(self.iteration, lr, fidelity)

    def state_dict(self) -> dict[str, Any]:
        """Return the account so far, which must be settled."""
        return {
            "iteration": self.iteration,
            "total": self._total.state_dict(),
            "window": self._window.state_dict(),
        }

    def load_state_dicts(self, states: Sequence[dict[str, Any]]) -> None:
        """Continue with the accounts of an earlier process's ranks, by rank."""
        self.iteration = int(states[0]["iteration"])
        for name, meter in (("total", self._total), ("window", self._window)):
            parts = [state[name] for state in states]
            mine = split_states(parts, self._group.rank, self._group.world_size)
            if mine is not None:
                meter.load_state_dict(mine)

    def _meter(self) -> Meter:
        return Meter(self.phase, self.epoch, self._group.world_size, self._group.sum)

    def _settle(self) -> None:
        """Wait for the device, and take what happened since the last time into the window."""
        self._window.add_times(self._clock.flush())
        now: LoaderStats = self._loader.stats()
        self._window.add_loader(self._before, now)
        self._before = now
