"""Which scans a training loads: all, a schedule's, or those that the tuner finds enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from dl2cli.errors import UsageError
from dl2cli.loaders import Loader, create_loader
from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group
from dl2cli.training.fidelity.autotune import AutotuneConfig, TuneDecision, mean_gradient, tune
from dl2cli.training.log.events import Notice, NoticeKind
from dl2cli.training.optimization.step import seed_step
from dl2cli.training.parts import Parts

if TYPE_CHECKING:
    import torch


class Fidelity:
    """Chooses the fidelity of each epoch and tells the loader."""

    def __init__(self, config: TrainConfig, parts: Parts, group: Group) -> None:
        """Check that what is asked can be had.

        Raises:
            UsageError: the loader reads whole files, or there is no such fidelity.
        """
        self._config = config
        self._parts = parts
        self._group = group
        self._groups = scan_groups(parts.loader)
        self.scans = self._groups
        if (config.scans or config.autotune) and self._groups is None:
            raise UsageError(
                f"The loader {parts.loader.name} reads whole images: --scans, --scan-schedule and "
                "--autotune-scans are for the loaders of PCR datasets."
            )
        if config.scans and config.autotune:
            raise UsageError("A scan schedule and the tuner cannot both choose the fidelity.")
        if config.scans and self._groups is not None:
            config.scans.check(self._groups)

    def choose(self, epoch: int) -> Notice | None:
        """Set the fidelity of an epoch that begins; the notice says why it changed."""
        before = self.scans
        if self._config.autotune is not None:
            if epoch % self._config.autotune.every_epochs:
                return None
            return self._tune(epoch, self._config.autotune)
        if self._config.scans is None:
            return None
        self._set(self._config.scans.scans_at(epoch))
        if self.scans == before or epoch == 0:
            return None
        epochs = "1 epoch" if epoch == 1 else f"{epoch} epochs"
        text = f"After {epochs}: {_scans(self.scans)} from here on, as the schedule says."
        return Notice(NoticeKind.FIDELITY, text, epoch, 0, {"scans": self.scans})

    def state_dict(self) -> dict[str, Any]:
        """Return the fidelity in force."""
        return {"scans": self.scans}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the fidelity of an interrupted run; `choose` still has the next say."""
        if state.get("scans") is not None and self._groups is not None:
            self._set(min(int(state["scans"]), self._groups))

    def _set(self, scans: int) -> None:
        self.scans = scans
        self._parts.loader.set_scans(scans)  # type: ignore[attr-defined] # it has scan groups

    def _tune(self, epoch: int, config: AutotuneConfig) -> Notice:
        assert self._groups is not None
        fidelities = range(1, self._groups + 1)
        decision = tune(self._gradients(epoch, config), fidelities, config)
        self._set(decision.scans)
        return _notice(decision, epoch)

    def _gradients(self, epoch: int, config: AutotuneConfig) -> Callable[[int], torch.Tensor]:
        """Return the function from a fidelity to the mean gradient over all ranks' batches."""

        def gradient(scans: int) -> torch.Tensor:
            parts, group = self._parts, self._group
            # The same images and crops at every fidelity: they depend on seed and epoch alone.
            asked = replace(parts.loader.config, scans=scans, shuffle_window=1)
            loader = create_loader(parts.loader.name, asked)
            loader.set_epoch(epoch)
            seed_step(parts.seed, epoch, 0, group.rank)
            batches = (parts.transfer(batch) for batch in islice(loader, config.batches))
            mean = mean_gradient(parts.model, parts.criterion, parts.precision, batches)
            return group.sum(mean) / group.world_size

        return gradient


def scan_groups(loader: Loader) -> int | None:
    """Return how many scan groups a loader can choose from; None if it reads whole images."""
    if not hasattr(loader, "set_scans"):
        return None
    groups: int = loader.dataset.groups  # type: ignore[attr-defined]
    return groups


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
