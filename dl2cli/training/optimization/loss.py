"""The loss: cross-entropy with label smoothing and mixup; and the count of right answers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dl2cli.errors import UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LossConfig:
    """The loss that is minimised.

    Attributes:
        label_smoothing: the share of probability spread over all classes (Szegedy et al.,
            "Rethinking the Inception Architecture", CVPR 2016, section 7).
        mixup: alpha of mixup's beta distribution; 0 turns mixup off (Zhang et al., "mixup: Beyond
            Empirical Risk Minimization", ICLR 2018).
    """

    label_smoothing: float = 0.0
    mixup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise UsageError(
                f"Label smoothing is a share: at least 0 and below 1, not {self.label_smoothing}."
            )
        if not (math.isfinite(self.mixup) and self.mixup >= 0):
            raise UsageError(f"The alpha of mixup must be 0 or more, not {self.mixup}.")


class Criterion:
    """Mixes training batches and measures the loss."""

    def __init__(self, config: LossConfig, classes: int | None = None) -> None:
        """Prepare for `classes` classes; only mixup needs their number.

        Raises:
            UsageError: mixup without the number of classes.
        """
        if config.mixup and (classes is None or classes < 2):
            raise UsageError(f"Mixup needs at least two classes, not {classes}.")
        self.config = config
        self._classes = classes or 0

    def mix(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (N, 3, H, W) and targets: labels (N,), or probabilities (N, classes).

        With mixup, each image becomes lambda times itself plus 1 - lambda times another of the
        batch, and so do the targets; lambda is one Beta(alpha, alpha) number a batch, as
        published. Random numbers come from torch's default generator, which the loop seeds for
        each step; images keep their type and memory format.
        """
        if not self.config.mixup:
            return images, labels
        import torch

        alpha = self.config.mixup
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        # Drawn on the host, so that it does not depend on the device.
        partner = torch.randperm(len(labels)).to(images.device, non_blocking=True)
        targets = torch.nn.functional.one_hot(labels, self._classes).float()
        return (
            torch.lerp(images[partner], images, share),
            torch.lerp(targets[partner], targets, share),
        )

    def __call__(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of logits (N, classes), a scalar of float32.

        Targets are labels (N,) or probabilities (N, classes), as `mix` gives them. As in the
        published program, labels are smoothed in validation too, but not with mixup, where labels
        come from validation alone.
        """
        import torch

        plain = bool(self.config.mixup) and targets.dim() == 1
        smoothing = 0.0 if plain else self.config.label_smoothing
        return torch.nn.functional.cross_entropy(output.float(), targets, label_smoothing=smoothing)


def correct(output: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Count the images whose label scored highest, and is among the five highest scores.

    An image with a score that is not finite counts as wrong: a network of NaNs knows nothing,
    whichever classes `topk` gives for it.

    Args:
        output: logits (N, classes).
        targets: labels (N,); for mixed targets (N, classes) both counts are 0, as published.

    Returns:
        Two int64 scalars on the device of `output`, which nobody has waited for.
    """
    import torch

    if targets.dim() == 2:
        nothing = torch.zeros((), dtype=torch.int64, device=output.device)
        return nothing, nothing
    best = output.topk(min(5, output.shape[1]), dim=1).indices
    hits = (best == targets.unsqueeze(1)) & output.isfinite().all(dim=1, keepdim=True)
    return hits[:, 0].sum(), hits.sum()
