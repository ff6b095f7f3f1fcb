"""Which sample comes when: a function of seed, epoch, rank and world size, not a history.

Records are shuffled, their images laid end to end, and each rank takes an equal stretch of that
line, so that ranks share at most one record with a neighbour. Within its stretch a rank mixes the
images of `shuffle_window` records at a time. Plain files are records of one image; with a window
that holds all of them, the shuffle is complete.

Random numbers are hashes of what they are for, so that no library's generator has a say in them.
Source of the hash: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dl2cli.errors import UsageError

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_RECORDS, _SLOTS, _WINDOWS = range(3)  # what a random number is for


@dataclass(frozen=True)
class EpochOrder:
    """The samples of one rank in one epoch, n of them.

    Attributes:
        visits: uint32 (v,): records in the order in which they are read; a record may come twice.
        visit: uint32 (n,): for each sample, which visit it belongs to.
        slot: uint32 (n,): which image of the record it is.
        sample: uint64 (n,): its number in the dataset, on which its crop depends.
        padding: how many of the last samples repeat others.
    """

    visits: NDArray[np.uint32]
    visit: NDArray[np.uint32]
    slot: NDArray[np.uint32]
    sample: NDArray[np.uint64]
    padding: int

    def __len__(self) -> int:
        return len(self.visit)

    @property
    def record(self) -> NDArray[np.uint32]:
        """The record of each sample: uint32 (n,)."""
        return self.visits[self.visit]

    def padding_in(self, begin: int, end: int) -> int:
        """Return how many of the samples [begin, end) repeat others."""
        return max(end - max(begin, len(self) - self.padding), 0)

    def tail(self, first: int) -> EpochOrder:
        """Return the samples from number `first` on, with the visits that they need."""
        needed, visit = np.unique(self.visit[first:], return_inverse=True)
        return EpochOrder(
            self.visits[needed],
            visit.astype(np.uint32),
            self.slot[first:],
            self.sample[first:],
            min(self.padding, len(self) - first),
        )


class Order:
    """The order of a dataset's samples on one rank."""

    def __init__(
        self,
        counts: ArrayLike,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        shuffle_window: int | None = None,
        rank: int = 0,
        world_size: int = 1,
        tail: Literal["drop", "pad"] = "drop",
    ) -> None:
        """Prepare the order of `counts[i]` images in each record i.

        Args:
            counts: images in each record (r,).
            batch_size: samples a batch on each rank.
            seed: of the shuffle.
            shuffle: whether to shuffle.
            shuffle_window: records whose images are mixed; None mixes all.
            rank: whose order it is.
            world_size: the number of ranks.
            tail: "drop" or "pad", see `LoaderConfig`.

        Raises:
            UsageError: a rank that cannot be, or fewer images than one batch on each rank needs.
        """
        if not 0 <= rank < world_size:
            raise UsageError(f"There is no rank {rank} among {world_size}.")
        if tail not in ("drop", "pad"):
            raise UsageError(f"tail must be drop or pad, not {tail!r}.")
        self.counts = np.asarray(counts, dtype=np.int64)
        self.images = int(self.counts.sum())
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.window = shuffle_window or max(len(self.counts), 1)
        self.rank = rank
        self.world_size = world_size
        self.drop = tail == "drop"
        if self.images == 0:
            raise UsageError("The dataset holds no images.")
        if self.drop and self.images < batch_size * world_size:
            raise UsageError(
                f"{self.images} images are fewer than one batch of {batch_size} on each of "
                f"{world_size} ranks: choose a smaller batch, or pad instead of drop."
            )

    @property
    def samples(self) -> int:
        """Samples an epoch on each rank."""
        if self.drop:
            return self.images // (self.batch_size * self.world_size) * self.batch_size
        return -(-self.images // self.world_size)

    @property
    def steps(self) -> int:
        """Batches an epoch, the same on each rank."""
        return -(-self.samples // self.batch_size)

    def identity(self) -> dict[str, int]:
        """What two orders must share for one to go on where the other stopped."""
        return {
            "seed": self.seed,
            "images": self.images,
            "batch_size": self.batch_size,
            "world_size": self.world_size,
            "shuffle": int(self.shuffle),
            "shuffle_window": self.window,
            "drop": int(self.drop),
            "rank": self.rank,
        }

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the samples of an epoch on this rank."""
        line = self._line(epoch)
        begin = self.rank * self.samples
        places = np.arange(begin, begin + self.samples, dtype=np.int64)
        padding = int(np.count_nonzero(places >= self.images))
        stretch = line[places % self.images]
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        record = np.searchsorted(starts, stretch, side="right") - 1
        # A visit is a run of samples of one record; the line lays each record's samples together.
        visit = np.concatenate([[0], np.cumsum(np.diff(record) != 0)])
        visits = record[np.concatenate([[True], np.diff(record) != 0])]
        if self.shuffle:
            mixed = self._mix(stretch, visit, epoch, self.samples - padding)
            stretch, visit, record = stretch[mixed], visit[mixed], record[mixed]
        return EpochOrder(
            visits.astype(np.uint32),
            visit.astype(np.uint32),
            (stretch - starts[record]).astype(np.uint32),
            stretch.astype(np.uint64),
            padding,
        )

    def _line(self, epoch: int) -> NDArray[np.int64]:
        """All samples, record after record; both in random order if shuffled."""
        if not self.shuffle:
            return np.arange(self.images, dtype=np.int64)
        records = len(self.counts)
        place = np.empty(records, dtype=np.int64)
        place[np.argsort(self._hash(epoch, _RECORDS, records))] = np.arange(records)
        of_sample = np.repeat(place, self.counts)
        return np.lexsort((self._hash(epoch, _SLOTS, self.images), of_sample)).astype(np.int64)

    def _mix(
        self, stretch: NDArray[np.int64], visit: NDArray[np.int64], epoch: int, real: int
    ) -> NDArray[np.int64]:
        """Return a permutation that mixes samples within windows of visits, padding kept last."""
        keys = self._hash(epoch, _WINDOWS, self.images)[stretch]
        window = visit // self.window
        window[real:] = window.max(initial=0) + 1
        return np.lexsort((keys, window)).astype(np.int64)

    def _hash(self, epoch: int, purpose: int, count: int) -> NDArray[np.uint64]:
        key = mix64(mix64(mix64(np.uint64(self.seed & _MASK)) ^ np.uint64(epoch & _MASK)))
        with np.errstate(over="ignore"):
            numbers = np.arange(count, dtype=np.uint64) * np.uint64(3) + np.uint64(purpose)
            return mix64(mix64(numbers) + key)


_MASK: Final = (1 << 64) - 1


def mix64(value: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Return the SplitMix64 hash of each number: uint64, of the same shape."""
    with np.errstate(over="ignore"):
        mixed = np.asarray(value, dtype=np.uint64) + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
