"""Which fidelity a training loads: full, that of a schedule, or what the tuner chooses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from dl2cli.errors import UsageError
from dl2cli.loaders import ScanSelecting, create_loader
from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group
from dl2cli.training.fidelity.autotune import AutotuneConfig, TuneDecision, mean_gradient, tune
from dl2cli.training.fidelity.scan_schedule import ScanSchedule
from dl2cli.training.log.events import Notice, NoticeKind
from dl2cli.training.optimization.step import seed_step
from dl2cli.training.parts import Parts

if TYPE_CHECKING:
    import torch


class TunerStopped(Exception):  # noqa: N818 - no error
    """The ranks were asked to stop before the tuner had chosen."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _goes_on(asked: str | None) -> bool:
    """Raise TunerStopped if the ranks were asked to stop."""
    if asked is not None:
        raise TunerStopped(asked)
    return True


class FidelityControl:
    """Chooses the fidelity k of each epoch, and sets it on the loader."""

    def __init__(self, config: TrainConfig, parts: Parts, group: Group) -> None:
        """Check that the fidelity asked for exists.

        Raises:
            UsageError: the loader reads whole files, or the dataset has fewer scan groups.
        """
        self._fidelity = config.fidelity
        self._parts = parts
        self._group = group
        loader = parts.loader
        self._loader = loader if isinstance(loader, ScanSelecting) else None
        if self._fidelity is not None and self._loader is None:
            raise UsageError(
                f"The loader {loader.name} reads whole images: --scans, --scan-schedule and "
                "--autotune-scans need a loader of PCR datasets."
            )
        if isinstance(self._fidelity, ScanSchedule) and self._loader is not None:
            self._fidelity.check(self._loader.groups)
            self._loader.set_scans(self._fidelity.scans_at(0))

    @property
    def scans(self) -> int | None:
        """The fidelity in force; None where the loader reads whole images."""
        return None if self._loader is None else self._loader.scans

    def choose(self, epoch: int, ask: Callable[[], str | None]) -> Notice | None:
        """Set the fidelity of an epoch that begins; the notice says why it changed.

        Args:
            epoch: 0-based.
            ask: says why all ranks should stop now, if they should; the tuner asks at each batch.

        Raises:
            TunerStopped: they should.
        """
        if isinstance(self._fidelity, AutotuneConfig):
            return None if epoch % self._fidelity.every_epochs else self._tune(epoch, ask)
        if self._fidelity is None or self._loader is None:
            return None
        before, scans = self.scans, self._fidelity.scans_at(epoch)
        self._loader.set_scans(scans)
        if scans == before or epoch == 0:
            return None
        epochs = "1 epoch" if epoch == 1 else f"{epoch} epochs"
        text = f"After {epochs}, the schedule changes to {_scans(scans)}."
        return Notice(NoticeKind.FIDELITY, text, epoch, 0, {"scans": scans})

    def state_dict(self) -> dict[str, Any]:
        """Return the fidelity in force."""
        return {"scans": self.scans}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the fidelity of an interrupted run; `choose` still has the next say."""
        if state.get("scans") is not None and self._loader is not None:
            self._loader.set_scans(min(int(state["scans"]), self._loader.groups))

    def _tune(self, epoch: int, ask: Callable[[], str | None]) -> Notice:
        assert self._loader is not None
        assert isinstance(self._fidelity, AutotuneConfig)
        fidelities = range(1, self._loader.groups + 1)
        decision = tune(self._gradients(epoch, self._fidelity, ask), fidelities, self._fidelity)
        self._loader.set_scans(decision.scans)
        return _notice(decision, epoch)

    def _gradients(
        self, epoch: int, config: AutotuneConfig, ask: Callable[[], str | None]
    ) -> Callable[[int], torch.Tensor]:
        """Return the function from a fidelity to the mean gradient over all ranks' batches."""

        def gradient(scans: int) -> torch.Tensor:
            parts, group = self._parts, self._group
            # The same images and crops at every fidelity: they depend on seed and epoch alone.
            asked = replace(parts.loader.config, scans=scans, shuffle_window=1)
            loader = create_loader(parts.loader.name, asked)
            loader.set_epoch(epoch)
            seed_step(parts.seed, epoch, 0, group.rank)
            batches = (
                parts.kept(batch) for batch in islice(loader, config.batches) if _goes_on(ask())
            )
            mean = mean_gradient(parts.model, parts.criterion, parts.precision, batches)
            return group.sum(mean) / group.world_size

        return gradient


def _scans(count: int | None) -> str:
    return "1 scan" if count == 1 else f"{count} scans"


def _notice(decision: TuneDecision, epoch: int) -> Notice:
    scores = ", ".join(f"{k}: {score:.4f}" for k, score in decision.scores)
    text = (
        f"The tuner chose {_scans(decision.scans)} (similarity of gradients by scans: {scores}; "
        f"threshold {decision.threshold:g}). {decision.note}"
    )
    values = {
        "scans": decision.scans,
        "threshold": decision.threshold,
        "scores": {str(k): score for k, score in decision.scores},
    }
    return Notice(NoticeKind.FIDELITY, text.strip(), epoch, 0, values)
