"""The tuner: the cheapest fidelity whose gradient points where that of full fidelity does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AutotuneConfig:
    """When and how the fidelity is chosen.

    Attributes:
        every_epochs: epochs between two decisions; the first is before epoch 0.
        batches: batches whose gradients are compared.
        threshold: the smallest cosine similarity to the gradient at full fidelity.
        candidates: fidelities to try; None tries all.
    """

    every_epochs: int = 5
    batches: int = 4
    threshold: float = 0.9
    candidates: tuple[int, ...] | None = None
