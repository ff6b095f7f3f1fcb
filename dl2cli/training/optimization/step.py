"""One training step: forward, backward, and the optimiser's turn."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dl2cli.loaders.order.sample_order import mix64
from dl2cli.training.optimization.loss import Criterion, correct
from dl2cli.training.optimization.precision import Precision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class StepOutcome:
    """What a step gives, on the device: nobody has waited for it.

    Attributes:
        loss: mean loss over the batch, a scalar.
        top1: number of images whose label scored highest, a scalar.
        top5: number of images whose label is among the five highest, a scalar.
        images: number of images in the batch.
    """

    loss: torch.Tensor
    top1: torch.Tensor
    top5: torch.Tensor
    images: int


class TrainStep:
    """Trains a model with one batch after another."""

    def __init__(
        self,
        model: torch.nn.Module,
        criterion: Criterion,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
    ) -> None:
        self.model = model
        self.criterion = criterion
        self.optimizer = optimizer
        self.precision = precision
        self.pending = 0  # batches whose gradients wait for the optimiser

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor, *, weight: float = 1.0, turn: bool = True
    ) -> StepOutcome:
        """Train with a batch.

        Args:
            images: (n, 3, H, W), normalised float32, on the device; not those of padding.
            labels: (n,).
            weight: the factor of this batch's mean loss (see `accumulation`).
            turn: whether the optimiser takes its step now; else gradients wait for more batches.
        """
        self.pending += 1
        if len(labels) == 0:
            outcome, loss = self._empty(images)
        else:
            mixed, targets = self.criterion.mix(images, labels)
            with self.precision.autocast():
                output = self.model(mixed)
                loss = self.criterion(output, targets)
            top1, top5 = correct(output.detach(), targets)  # none under mixup, as published
            outcome = StepOutcome(loss.detach(), top1, top5, len(labels))
        with contextlib.nullcontext() if turn else self._no_sync():
            self.precision.backward(loss if weight == 1 else loss * weight)
        if turn:
            self.precision.step(self.optimizer)
            self.optimizer.zero_grad(set_to_none=True)
            self.pending = 0
        return outcome

    def _no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Do not exchange gradients that the optimiser does not use yet."""
        no_sync = getattr(self.model, "no_sync", None)
        return no_sync() if no_sync is not None else contextlib.nullcontext()

    def _empty(self, images: torch.Tensor) -> tuple[StepOutcome, torch.Tensor]:
        """Join the other ranks with gradients of 0, for a batch that lost all its images."""
        import torch

        training = [module for module in self.model.modules() if module.training]
        self.model.eval()  # batch norm shall learn nothing from an image that is not there
        try:
            loss = self.model(images.new_zeros((1, *images.shape[1:]))).sum() * 0
        finally:
            for module in training:
                module.training = True
        nothing = torch.zeros((), dtype=torch.int64, device=images.device)
        return StepOutcome(loss.detach(), nothing, nothing, 0), loss


def seed_step(seed: int, epoch: int, iteration: int, rank: int) -> None:
    """Make what is random in a step (dropout, mixup) a function of where the step is.

    So there is no state of a generator to save: a resumed run draws what it would have drawn.
    """
    import torch

    where = np.array([epoch, iteration, rank], dtype=np.uint64)
    key = np.asarray([seed % (1 << 64)], dtype=np.uint64)
    for number in where:
        key = mix64(mix64(key) ^ number)
    torch.default_generator.manual_seed(int(key[0]))  # torch.manual_seed costs a hundred times more
    if torch.cuda.is_available():
        torch.cuda.manual_seed(int(key[0]))
