"""Decides which batches make a step of the optimiser together, and how much each counts.

A step follows the mean gradient over all images of its batches on all ranks, however they are
divided. What a rank computes is the mean over its own images, and ranks are averaged; the weight of
a batch makes up for it: 1 where all batches have as many images, and never 1 / `batches` of a
group at the end of an epoch that has fewer of them.
"""

from __future__ import annotations

from dl2cli.loaders.order.lanes import Lanes


class Accumulation:
    """The groups of batches of one epoch."""

    def __init__(self, lanes: Lanes, batches: int, first: int = 0) -> None:
        """Divide an epoch into groups.

        Args:
            lanes: how the epoch is cut, seen from this rank.
            batches: number of batches that make a step of the optimiser.
            first: the batch (0-based) that this process begins with; groups begin there, because a
                checkpoint holds no gradients of half a group.
        """
        self._lanes = lanes
        self._batches = batches
        self._first = first
        self._full = lanes.full_batches

    def ends(self, batch: int) -> bool:
        """Tell whether the optimiser's turn comes after a batch (0-based)."""
        return batch + 1 == self._group(batch)[1]

    def weight(self, batch: int) -> float:
        """Return the factor of a batch's mean loss on this rank."""
        begin, end = self._group(batch)
        if end <= self._full:  # the usual case, and exactly 1 for a single batch
            return 1 / (end - begin)
        own, _ = self._lanes.images_in(batch)
        together = sum(self._lanes.images_in(each)[1] for each in range(begin, end))
        return own * self._lanes.world_size / together

    def _group(self, batch: int) -> tuple[int, int]:
        begin = batch - (batch - self._first) % self._batches
        return begin, min(begin + self._batches, self._lanes.steps)
