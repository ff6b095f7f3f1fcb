"""Which fidelity a training loads: full, that of a curriculum, or what the tuner chooses."""

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
from dl2cli.training.fidelity.curriculum import Curriculum, Fidelity
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
    """Chooses the fidelity of each epoch, and sets it on the loader."""

    def __init__(self, config: TrainConfig, parts: Parts, group: Group) -> None:
        """Set the fidelity of the first epoch, and check that all others exist, too.

        Raises:
            UsageError: the loader cannot load one of them.
        """
        self._chooser = config.fidelity
        self._asked = config.fidelities
        self._ladder: tuple[Fidelity, ...] = ()
        self._parts = parts
        self._group = group
        self._loader = loader = parts.loader
        self._scans = loader if isinstance(loader, ScanSelecting) else None
        self._groups = self._scans.groups if self._scans is not None else None
        self._full = Fidelity(
            self._groups, loader.config.transform.size, loader.config.scaled_decode
        )
        for each in self._asked:
            self._check(each)
        if isinstance(config.fidelity, AutotuneConfig):
            self._ladder = self._tuner_ladder(config.fidelity)
        elif isinstance(config.fidelity, Curriculum):
            for each in reversed(config.fidelity.fidelities):  # the first is set last
                self._set(each)

    @property
    def current(self) -> Fidelity:
        """The fidelity in force; its scans are None where the loader reads whole images."""
        config = self._loader.config
        scans = self._scans.scans if self._scans is not None else None
        return Fidelity(scans, config.transform.size, config.scaled_decode)

    def choose(self, epoch: int, ask: Callable[[], str | None]) -> Notice | None:
        """Set the fidelity of an epoch that begins; the notice says why it changed.

        Args:
            epoch: 0-based.
            ask: says why all ranks should stop now, if they should; the tuner asks at each batch.

        Raises:
            TunerStopped: they should.
        """
        if isinstance(self._chooser, AutotuneConfig):
            return None if epoch % self._chooser.every_epochs else self._tune(epoch, ask)
        if self._chooser is None:
            return None
        before = self.current
        self._set(self._chooser.at(epoch))
        if self.current == before or epoch == 0:
            return None
        epochs = "1 epoch" if epoch == 1 else f"{epoch} epochs"
        text = f"After {epochs}, the schedule changes to {self._told(self.current)}."
        return Notice(NoticeKind.FIDELITY, text, epoch, 0, _values(self.current))

    def state_dict(self) -> dict[str, Any]:
        """Return the fidelity in force."""
        return _values(self.current)

    def load_state_dict(self, state: dict[str, Any], epoch: int) -> None:
        """Continue as in an epoch (0-based) of an interrupted run; `choose` has the next say.

        Only what the tuner chose has to be remembered: a curriculum is a function of the epoch, and
        one that was changed holds from here on.
        """
        if isinstance(self._chooser, Curriculum):
            self._set(self._chooser.at(epoch))
        if not isinstance(self._chooser, AutotuneConfig):
            return
        scans, size_px = state.get("scans"), state.get("size_px")
        scaled = state.get("scaled_decode")
        self._set(
            Fidelity(
                min(int(scans), self._groups or 1) if scans and self._groups else None,
                min(int(size_px), self._full.size_px or 1) if size_px else None,
                bool(scaled) and self._loader.scales if scaled is not None else None,
            )
        )

    def _tuner_ladder(self, config: AutotuneConfig) -> tuple[Fidelity, ...]:
        """Return what the tuner tries, cheapest first; full fidelity is the last."""
        if config.ladder is None:
            if self._groups is None:
                raise self._reads_whole_images()
            scans = range(1, self._groups + 1)
            return tuple(replace(self._full, scans=k) for k in scans)
        tried = [self._filled(each) for each in config.ladder]
        return (*(each for each in dict.fromkeys(tried) if each != self._full), self._full)

    def _filled(self, fidelity: Fidelity) -> Fidelity:
        """Replace what a fidelity leaves open by what full fidelity has."""
        full, scaled = self._full, fidelity.scaled_decode
        return Fidelity(
            full.scans if fidelity.scans is None else fidelity.scans,
            full.size_px if fidelity.size_px is None else fidelity.size_px,
            full.scaled_decode if scaled is None else scaled,
        )

    def _set(self, fidelity: Fidelity) -> None:
        """Set a fidelity on the loader. Raises UsageError."""
        wanted = self._filled(fidelity)
        if self._scans is not None:
            self._scans.set_scans(wanted.scans)
        if wanted != self.current:
            assert wanted.size_px is not None
            self._loader.set_size(wanted.size_px, scaled_decode=bool(wanted.scaled_decode))

    def _check(self, fidelity: Fidelity) -> None:
        """Raise UsageError for a fidelity that this data, loader or image size does not have."""
        if fidelity.scans is not None and self._groups is None:
            raise self._reads_whole_images()
        if fidelity.scans is not None and fidelity.scans > (self._groups or 0):
            raise UsageError(
                f"The schedule asks for {fidelity.scans} scans, but the dataset has "
                f"{self._groups}: ask for {self._groups} at most."
            )
        full_px = self._full.size_px or 0
        if fidelity.size_px is not None and fidelity.size_px > full_px:
            raise UsageError(
                f"The schedule asks for {fidelity.size_px} pixels, more than --image-size "
                f"{full_px}, at which the model is evaluated: set --image-size to the largest size."
            )

    def _reads_whole_images(self) -> UsageError:
        return UsageError(
            f"The loader {self._loader.name} reads whole images: --scans, --scan-schedule, "
            "--autotune-scans and the scans of a curriculum need a loader of PCR datasets."
        )

    def _told(self, fidelity: Fidelity) -> str:
        """Return a fidelity in words: with the parts that this training changes."""
        changes = self._ladder or self._asked
        if len({(each.size_px, each.scaled_decode) for each in self._ladder}) == 1:
            return str(Fidelity(fidelity.scans))
        return str(
            Fidelity(
                fidelity.scans if any(each.scans for each in changes) else None,
                fidelity.size_px if any(each.size_px for each in changes) else None,
                fidelity.scaled_decode if any(each.scaled_decode for each in changes) else None,
            )
        )

    def _tune(self, epoch: int, ask: Callable[[], str | None]) -> Notice:
        assert isinstance(self._chooser, AutotuneConfig)
        config = self._chooser
        decision = tune(self._gradients(epoch, config, ask), self._ladder, config.threshold)
        self._set(decision.chosen)
        return self._decided(decision, epoch)

    def _gradients(
        self, epoch: int, config: AutotuneConfig, ask: Callable[[], str | None]
    ) -> Callable[[Fidelity], torch.Tensor]:
        """Return the function from a fidelity to the mean gradient over all ranks' batches."""

        def gradient(fidelity: Fidelity) -> torch.Tensor:
            parts, group = self._parts, self._group
            # The same images and crops at every fidelity: they depend on seed and epoch alone.
            asked = replace(parts.loader.config, scans=fidelity.scans, shuffle_window=1)
            loader = create_loader(parts.loader.name, asked)
            assert fidelity.size_px is not None
            loader.set_size(fidelity.size_px, scaled_decode=bool(fidelity.scaled_decode))
            loader.set_epoch(epoch)
            seed_step(parts.seed, epoch, 0, group.rank)
            batches = (
                parts.kept(batch) for batch in islice(loader, config.batches) if _goes_on(ask())
            )
            mean = mean_gradient(parts.model, parts.criterion, parts.precision, batches)
            return group.sum(mean) / group.world_size

        return gradient

    def _decided(self, decision: TuneDecision[Fidelity], epoch: int) -> Notice:
        by_scans = len({(each.size_px, each.scaled_decode) for each in self._ladder}) == 1
        names = {each: str(each.scans) if by_scans else self._told(each) for each in self._ladder}
        joint, by = (", ", " by scans") if by_scans else ("; ", "")
        scores = joint.join(f"{names[each]}: {score:.4f}" for each, score in decision.scores)
        text = (
            f"The tuner chose {self._told(decision.chosen)} (similarity of gradients{by}: {scores};"
            f" threshold {decision.threshold:g}). {decision.note}"
        )
        values = {
            **_values(decision.chosen),
            "threshold": decision.threshold,
            "scores": {names[each]: score for each, score in decision.scores},
        }
        return Notice(NoticeKind.FIDELITY, text.strip(), epoch, 0, values)


def _values(fidelity: Fidelity) -> dict[str, Any]:
    return {
        "scans": fidelity.scans,
        "size_px": fidelity.size_px,
        "scaled_decode": fidelity.scaled_decode,
    }
