"""Which sample comes when: a function of seed, epoch and global batch, not a history.

Records are shuffled, their images laid end to end, and the line cut into lanes (lanes.py), of which
each rank gets a share. Within a lane the images of `shuffle_window` records at a time are mixed.
Plain files are records of one image; with a window that holds all of them, the shuffle is complete.

Random numbers are hashes of what they are used for, so that they depend on no library's generator.
Source of the hash: the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dl2cli.errors import UsageError
from dl2cli.loaders.order.lanes import Lanes

_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_RECORDS, _SLOTS, _WINDOWS = range(3)  # what a random number is for


@dataclass(frozen=True)
class EpochOrder:
    """The n samples of one rank in one epoch.

    Attributes:
        visits: uint32 (v,): records in the order in which they are first needed; one that lies in
            two lanes comes twice.
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


class SampleOrder:
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
        lanes: int | None = None,
        tail: Literal["drop", "pad"] = "drop",
    ) -> None:
        """Prepare the order of `counts[i]` images in each record i.

        Args:
            counts: images in each record (r,).
            batch_size: samples in a batch on each rank.
            seed: decides the shuffle.
            shuffle: whether to shuffle.
            shuffle_window: the number of a lane's records whose images are mixed; None mixes all.
            rank: the rank whose order this is.
            world_size: the number of ranks.
            lanes: stretches of the line that share each global batch; None is world_size.
            tail: "drop" or "pad", see `LoaderConfig`.

        Raises:
            UsageError: there is no such rank, lanes do not divide the global batch, or there are
                fewer images than one batch on each rank needs.
        """
        if tail not in ("drop", "pad"):
            raise UsageError(f"tail must be drop or pad, not {tail!r}.")
        self.counts = np.asarray(counts, dtype=np.int64)
        self.images = int(self.counts.sum())
        self._starts = np.cumsum(self.counts) - self.counts
        self.seed = seed
        self.shuffle = shuffle
        self.window = shuffle_window or max(len(self.counts), 1)
        self.lanes = Lanes(
            images=self.images,
            batch_size=batch_size,
            lanes=world_size if lanes is None else lanes,
            rank=rank,
            world_size=world_size,
            drop=tail == "drop",
        )

    @property
    def samples(self) -> int:
        """The number of samples in an epoch on each rank."""
        return self.lanes.samples

    @property
    def steps(self) -> int:
        """The number of batches in an epoch, the same on each rank."""
        return self.lanes.steps

    @property
    def max_records(self) -> int:
        """The number of records that a loader may hold: two windows of each lane that it uses."""
        return 2 * self.window * len(self.lanes.used)

    def identity(self) -> dict[str, int]:
        """What two orders must have in common for one to go on where the other stopped."""
        return {
            "seed": self.seed,
            "images": self.images,
            "global_batch": self.lanes.global_batch,
            "lanes": self.lanes.lanes,
            "shuffle": int(self.shuffle),
            "shuffle_window": self.window,
            "drop": int(self.lanes.drop),
        }

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the samples of an epoch on this rank.

        Time and memory grow with this rank's lanes and the number of records, not with the images
        of all ranks.
        """
        records = self._record_order(epoch)
        ends = np.cumsum(self.counts[records])
        lane_of, within = self.lanes.places()
        samples = np.empty(len(within), dtype=np.int64)
        record = np.empty(len(within), dtype=np.int64)
        visit = np.empty(len(within), dtype=np.int64)
        visits = 0
        for lane in self.lanes.used:
            stretch, owner = self._stretch(epoch, records, ends, *self.lanes.stretch(lane))
            # A visit is a run of samples of one record: the line lays each record's together.
            runs = np.cumsum(np.diff(owner, prepend=-1) != 0) - 1
            if self.shuffle:
                mixed = self._mix(self._hash(epoch, _WINDOWS, stretch), runs)
                stretch, owner, runs = stretch[mixed], owner[mixed], runs[mixed]
            ours = lane_of == lane
            samples[ours], record[ours] = stretch[within[ours]], owner[within[ours]]
            visit[ours] = visits + runs[within[ours]]
            visits += int(runs.max()) + 1
        return self._numbered(samples, record, visit, visits)

    def _record_order(self, epoch: int) -> NDArray[np.int64]:
        """Return the records in the order in which the line of samples lays them."""
        records = np.arange(len(self.counts), dtype=np.int64)
        return np.argsort(self._hash(epoch, _RECORDS, records)) if self.shuffle else records

    def _stretch(
        self, epoch: int, records: NDArray[np.int64], ends: NDArray[np.int64], begin: int, end: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the samples [begin, end) of the line, and the record of each.

        Args:
            epoch: the epoch.
            records: all records in their order.
            ends: where each of them ends in the line.
            begin: the first place.
            end: the place behind the last.
        """
        first, last = np.searchsorted(ends, [begin, end - 1], side="right")
        chosen = records[first : last + 1]
        counts = self.counts[chosen]
        owner = np.repeat(chosen, counts)
        place = np.repeat(np.arange(len(chosen)), counts)
        slot = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        samples = self._starts[owner] + slot
        if self.shuffle:
            shuffled = np.lexsort((self._hash(epoch, _SLOTS, samples), place))
            samples = samples[shuffled]  # each record's among themselves, so `owner` stays
        cut = slice(begin - int(ends[first] - counts[0]), None)
        return samples[cut][: end - begin], owner[cut][: end - begin]

    def _mix(self, keys: NDArray[np.uint64], runs: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return a permutation that orders by key within each window of runs."""
        if int(runs.max()) < self.window:
            return np.argsort(keys, kind="stable")
        return np.lexsort((keys, runs // self.window)).astype(np.int64)

    def _numbered(
        self,
        samples: NDArray[np.int64],
        record: NDArray[np.int64],
        visit: NDArray[np.int64],
        visits: int,
    ) -> EpochOrder:
        """Number the visits, some of which are other ranks', by their first use."""
        count = len(samples)
        first = np.full(visits, count)
        first[visit[::-1]] = np.arange(count)[::-1]  # of repeated assignments the last one stays
        used = np.sort(first[first < count])
        number = np.empty(count, dtype=np.uint32)
        number[used] = np.arange(len(used), dtype=np.uint32)
        return EpochOrder(
            record[used].astype(np.uint32),
            number[first[visit]],
            (samples - self._starts[record]).astype(np.uint32),
            samples.astype(np.uint64),
            self.lanes.padding,
        )

    def _hash(self, epoch: int, purpose: int, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return a random number for each of some records or samples."""
        key = mix64(mix64(mix64(np.uint64(self.seed & _MASK)) ^ np.uint64(epoch & _MASK)))
        with np.errstate(over="ignore"):
            each = numbers.astype(np.uint64) * np.uint64(3) + np.uint64(purpose)
            return mix64(mix64(each) + key)


_MASK: Final = (1 << 64) - 1


def mix64(value: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Return the SplitMix64 hash of each number: uint64, of the same shape."""
    with np.errstate(over="ignore"):
        mixed = np.asarray(value, dtype=np.uint64) + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
