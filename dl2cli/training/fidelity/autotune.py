"""The tuner: choose the cheapest fidelity whose gradient points where that of full fidelity does.

The idea is PCR's (Kuchnik, Amvrosiadis, Smith: "Progressive Compressed Records: Taking a Byte out
of Deep Learning Data", PVLDB 14(11), 2021): training follows gradients, so a fidelity is good
enough at this point of the training if its gradient is similar to that of full fidelity, as told
by the cosine of the angle between both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from dl2cli.errors import UsageError
from dl2cli.training.fidelity.curriculum import Fidelity
from dl2cli.training.models.trial import unchanged
from dl2cli.training.optimization.loss import Criterion
from dl2cli.training.optimization.precision import Precision

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

# A dynamic loss scale starts far too high and comes down by overflows, which must not decide here.
_MAX_LOSS_SCALE = 128.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class AutotuneConfig:
    """When and how the fidelity is chosen.

    Attributes:
        every_epochs: epochs between two decisions; the first is before epoch 0.
        batches: batches whose gradients are compared.
        threshold: the smallest cosine similarity to the gradient at full fidelity.
        ladder: the fidelities to try, cheapest first, besides full fidelity; None tries every
            number of scans.
    """

    every_epochs: int = 5
    batches: int = 4
    threshold: float = 0.9
    ladder: tuple[Fidelity, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in (
            ("epochs between decisions", self.every_epochs),
            ("batches", self.batches),
        ):
            if value < 1:
                raise UsageError(f"The tuner's {name} must be at least 1, not {value}.")
        if not -1 <= self.threshold <= 1:
            raise UsageError(
                f"The tuner's threshold must be a cosine between -1 and 1, not {self.threshold}."
            )

    def label(self) -> str:
        """Return a short name for folders, logs and reports, which tell both tuners apart."""
        return "auto" if self.ladder is None else "auto-curriculum"


@dataclass(frozen=True)
class TuneDecision(Generic[T]):
    """What the tuner chose, and why.

    Attributes:
        chosen: the fidelity chosen.
        scores: cosine similarity to the gradient at full fidelity, by fidelity, cheapest first;
            full fidelity, the last, has 1; a gradient without a direction has 0.
        threshold: the smallest score that was enough.
        note: a sentence on gradients that could not be compared; empty if all could.
    """

    chosen: T
    scores: tuple[tuple[T, float], ...]
    threshold: float
    note: str = ""


def tune(
    gradients: Callable[[T], torch.Tensor], ladder: Sequence[T], threshold: float
) -> TuneDecision[T]:
    """Choose the cheapest fidelity with a score of at least the threshold.

    Args:
        gradients: the flat gradient at a fidelity, of the same samples for each. It is called once
            for each fidelity, and first for full fidelity; two results are in memory at a time.
        ladder: fidelities, cheapest first; the last is full fidelity.
        threshold: the smallest cosine similarity that is enough.
    """
    *tried, full = ladder
    reference = gradients(full)
    if not _has_direction(reference):
        note = "The gradient at full fidelity is zero or not finite, so nothing could be compared."
        scores = (*((each, 0.0) for each in tried), (full, 1.0))
        return TuneDecision(full, scores, threshold, note)
    found: list[tuple[T, float]] = []
    without = []
    for each in tried:
        gradient = gradients(each)
        if _has_direction(gradient):
            found.append((each, cosine_similarity(gradient, reference)))
        else:
            found.append((each, 0.0))
            without.append(each)
    agreeing = (each for each, score in found if score >= threshold and each not in without)
    chosen = next(agreeing, full)
    return TuneDecision(chosen, (*found, (full, 1.0)), threshold, _note(without))


def _note(without: Sequence[object]) -> str:
    if not without:
        return ""
    names = "; ".join(map(str, without))
    return f"A gradient that is zero or not finite was not chosen: {names}."


def _has_direction(gradient: torch.Tensor) -> bool:
    return bool(gradient.isfinite().all()) and bool(gradient.any())


def cosine_similarity(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the cosine of the angle between two flat tensors that are not zero, in [-1, 1].

    Sums are in float64; equal tensors give exactly 1.
    """
    cosine = _dot(a, b) / math.sqrt(_dot(a, a) * _dot(b, b))
    return max(-1.0, min(1.0, cosine))


def _dot(a: torch.Tensor, b: torch.Tensor) -> float:
    starts = range(0, len(a), _CHUNK)
    chunks = ((a[i : i + _CHUNK].double(), b[i : i + _CHUNK].double()) for i in starts)
    return math.fsum(float(x @ y) for x, y in chunks)


def mean_gradient(
    model: torch.nn.Module,
    criterion: Criterion,
    precision: Precision,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """Return the mean gradient over all images of some batches, as training would compute it.

    The model is in training mode meanwhile; its parameters, their `.grad`, buffers (statistics of
    batch norm), mode and torch's random state are afterwards what they were, errors or not.

    Args:
        model: not wrapped for several ranks: nothing is exchanged here.
        criterion: mixes and measures.
        precision: gives the numbers; its loss scale is not changed.
        batches: images (n, 3, H, W), normalised, and labels (n,), on the model's device.

    Returns:
        A flat float32 tensor on the CPU: the gradients of all trainable parameters in the order of
        `model.parameters()`; zeros if there are no images.
    """
    import torch

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    images_seen = 0
    with unchanged(model):
        for images, labels in batches:
            if not len(labels):
                continue
            mixed, targets = criterion.mix(images, labels)
            with precision.autocast():
                loss = criterion(model(mixed), targets)
            total += len(labels) * _flat_gradient(loss, parameters, precision)
            images_seen += len(labels)
    return (total / max(images_seen, 1)).cpu()


def _flat_gradient(
    loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter], precision: Precision
) -> torch.Tensor:
    """Return the gradient of a loss, without touching `.grad`; zeros where nothing depends."""
    import torch

    scale = min(precision.scale, _MAX_LOSS_SCALE)
    gradients = torch.autograd.grad(loss * scale, parameters, allow_unused=True)
    flat = [
        torch.zeros(parameter.numel(), device=parameter.device)
        if gradient is None
        else gradient.reshape(-1).float()
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    return torch.cat(flat) / scale
