"""How an epoch is cut: lanes of the line of samples, global batches, and each rank's share of them.

The line of n samples is cut into L *lanes*, stretches that are equal except for the last batch. A
global batch of B images takes the next B / L samples of each lane in turn, and rank r of W ranks
gets its images [r B / W, (r + 1) B / W). So which images are learned from together depends on B
and L, not on W. With L = W each rank reads its own stretch of the line; with other numbers every
rank that has a share of a lane reads the lane's records.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dl2cli.errors import UsageError


@dataclass(frozen=True)
class Lanes:
    """The cut of an epoch of `images` samples, seen from one rank.

    Attributes:
        images: samples in the line.
        batch_size: samples in a batch on each rank.
        lanes: L.
        rank: this process, 0 to world_size - 1.
        world_size: W.
        drop: whether to leave out samples that do not fill a global batch; otherwise the last
            batch is smaller, and ranks that would have one image fewer in it repeat their last.
    """

    images: int
    batch_size: int
    lanes: int
    rank: int
    world_size: int
    drop: bool

    def __post_init__(self) -> None:
        if not 0 <= self.rank < self.world_size:
            raise UsageError(f"rank must be 0 to {self.world_size - 1}, not {self.rank}.")
        if self.images == 0:
            raise UsageError("The dataset holds no images.")
        if self.lanes < 1 or self.global_batch % self.lanes != 0:
            raise UsageError(
                f"A global batch of {self.global_batch} images ({self.batch_size} on each of "
                f"{self.world_size} ranks) does not divide into {self.lanes} lanes: choose a "
                f"number of lanes that divides the global batch, or another batch size."
            )
        if self.drop and self.images < self.global_batch:
            raise UsageError(
                f"{self.images} images are fewer than one batch of {self.batch_size} on each of "
                f"{self.world_size} ranks: choose a smaller batch, or pad instead of drop."
            )

    @property
    def global_batch(self) -> int:
        """The number of images in a step on all ranks: B."""
        return self.batch_size * self.world_size

    @property
    def full_batches(self) -> int:
        """The number of global batches of B images; without `drop` one of 1 to B follows them."""
        whole = self.images if self.drop else self.images - 1
        return whole // self.global_batch

    @property
    def rest(self) -> int:
        """The number of images in the global batch after the full ones: 1 to B; 0 with `drop`."""
        return 0 if self.drop else self.images - self.full_batches * self.global_batch

    @property
    def samples(self) -> int:
        """The number of samples in an epoch on each rank, with padding."""
        return self.full_batches * self.batch_size + -(-self.rest // self.world_size)

    @property
    def steps(self) -> int:
        """The number of batches in an epoch, the same on each rank."""
        return -(-self.samples // self.batch_size)

    @property
    def padding(self) -> int:
        """How many of this rank's last samples repeat others: 0 or 1."""
        begin, end = self._share(self.rest, self.world_size, self.rank)
        return -(-self.rest // self.world_size) - (end - begin)

    def images_in(self, batch: int) -> tuple[int, int]:
        """Return the images of a batch (0-based), without padding: on this rank, and on all."""
        if batch < self.full_batches:
            return self.batch_size, self.global_batch
        begin, end = self._share(self.rest, self.world_size, self.rank)
        return end - begin, self.rest

    @property
    def smallest_batch(self) -> int:
        """The number of images in the smallest batch that is not empty, on any rank."""
        if self.drop or self.rest == 0:
            return self.batch_size
        return max(self.rest // self.world_size, 1)

    def stretch(self, lane: int) -> tuple[int, int]:
        """Return where a lane begins and ends in the line."""
        whole = self.full_batches * (self.global_batch // self.lanes)
        begin, end = self._share(self.rest, self.lanes, lane)
        return lane * whole + begin, (lane + 1) * whole + end

    @cached_property
    def used(self) -> tuple[int, ...]:
        """The lanes of which this rank has a share."""
        return tuple(np.unique(self.places()[0]).tolist())

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return for each of this rank's samples (n,): its lane, and its number in the lane."""
        a_lane = self.global_batch // self.lanes
        batch = np.repeat(np.arange(self.full_batches), self.batch_size)
        place = self.rank * self.batch_size + np.arange(len(batch)) % self.batch_size
        lane, within = place // a_lane, batch * a_lane + place % a_lane
        begin, end = self._share(self.rest, self.world_size, self.rank)
        if begin == end and self.full_batches == 0:
            begin = end - 1  # this rank repeats an image of another rank
        last = np.arange(begin, end)
        ends = np.asarray([self._share(self.rest, self.lanes, i)[1] for i in range(self.lanes)])
        lane_of = np.searchsorted(ends, last, side="right")
        begins = np.concatenate([[0], ends[:-1]])
        lane = np.concatenate([lane, lane_of])
        within = np.concatenate([within, self.full_batches * a_lane + last - begins[lane_of]])
        repeat = [len(lane) - 1] * (self.samples - len(lane))
        return np.append(lane, lane[repeat]), np.append(within, within[repeat])

    @staticmethod
    def _share(count: int, parts: int, part: int) -> tuple[int, int]:
        """Return which of `count` things fall to a part: equally many, one more for the first."""
        least, more = divmod(count, parts)
        begin = part * least + min(part, more)
        return begin, begin + least + (part < more)
