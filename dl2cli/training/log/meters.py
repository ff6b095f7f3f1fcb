"""Sums up iterations of a phase: those of a window, or of a whole epoch."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Sequence
from operator import add
from typing import TYPE_CHECKING, Any

from dl2cli.loaders.base import LoaderStats
from dl2cli.stores.counters import StoreStats
from dl2cli.training.fidelity.curriculum import Fidelity
from dl2cli.training.log.events import Phase, PhaseReport

if TYPE_CHECKING:
    import torch

QUANTILES = (0.95, 0.99, 1.0)
STAGES = ("fetch_s", "decode_s", "fetch_wait_s", "wait_s")
# A device's clock can say that a batch took no time at all; its speed must stay a number.
_SHORTEST_S = 1e-9


class Meter:
    """Sums up losses, hits and times, and reports their means over images or iterations.

    A window's meter is merged into the epoch's. Nothing waits for a device before `report`, `merge`
    or `state_dict`. Sums are taken in the order of the iterations and times are kept one by one, so
    that a run that was interrupted arrives at the same numbers to the last bit.
    """

    def __init__(
        self,
        phase: Phase,
        epoch: int,
        world_size: int,
        reduce: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        """Start empty; `reduce` sums a float64 tensor over the ranks."""
        self.phase = phase
        self.epoch = epoch
        self._world_size = world_size
        self._reduce = reduce
        self._pending: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]] = []
        self._loss = 0.0  # sum over images
        self._top1 = self._top5 = self._images = 0
        self._batches = array("q")  # images of each iteration
        self._data_s = array("d")
        self._compute_s = array("d")
        self._bytes_read = 0
        self._stages: dict[str, float] = {}
        self._store: StoreStats | None = None  # with data in an object store

    def add(
        self,
        loss: torch.Tensor,
        top1_correct: torch.Tensor,
        top5_correct: torch.Tensor,
        images: int,
    ) -> None:
        """Take the outcome of an iteration: three scalars on any device; costs no waiting.

        An empty batch (`images` 0) counts with its time alone.
        """
        self._batches.append(images)
        if images:
            self._pending.append((loss, top1_correct, top5_correct, images))

    def add_times(self, times: Iterable[tuple[float, float]]) -> None:
        """Take (data_s, compute_s) of iterations, in their order."""
        for data_s, compute_s in times:
            self._data_s.append(data_s)
            self._compute_s.append(compute_s)

    def add_loader(self, before: LoaderStats, after: LoaderStats) -> None:
        """Take what the loader did between two moments."""
        self._bytes_read += max(0, after.bytes_read - before.bytes_read)
        for stage in STAGES:
            now = getattr(after, stage)
            if now is not None:
                spent = max(0.0, now - (getattr(before, stage) or 0.0))
                self._stages[stage] = self._stages.get(stage, 0.0) + spent
        if after.store is not None:
            self._add_store(after.store.since(before.store or StoreStats()))

    def merge(self, other: Meter) -> None:
        """Take all that another meter has."""
        self._fold()
        other._fold()
        self._loss += other._loss
        self._top1 += other._top1
        self._top5 += other._top5
        self._images += other._images
        self._batches.extend(other._batches)
        self._data_s.extend(other._data_s)
        self._compute_s.extend(other._compute_s)
        self._bytes_read += other._bytes_read
        for stage, spent in other._stages.items():
            self._stages[stage] = self._stages.get(stage, 0.0) + spent
        if other._store is not None:
            self._add_store(other._store)

    def report(self, iteration: int, lr: float | None, fidelity: Fidelity) -> PhaseReport:
        """Return the means, after waiting for the device and for the other ranks.

        All ranks must call it at the same iteration, which is the last one (1-based).
        """
        (loss, top1, top5, images, bytes_read), store = self._over_ranks()
        data_s, compute_s = _mean(self._data_s), _mean(self._compute_s)
        fetch_s = self._fetch_share(data_s)
        return PhaseReport(
            phase=self.phase,
            epoch=self.epoch,
            iteration=iteration,
            iterations=len(self._data_s),
            images=int(images),
            loss=loss / images if images else math.nan,
            top1_pct=100 * top1 / images if images else math.nan,
            top5_pct=100 * top5 / images if images else math.nan,
            data_s=data_s,
            compute_s=compute_s,
            iteration_s=data_s + compute_s,
            data_speed_img_s=self._speed(self._data_s),
            compute_speed_img_s=self._speed(self._compute_s),
            iteration_speed_img_s=self._speed(list(map(add, self._data_s, self._compute_s))),
            compute_latency_s=_quantiles(self._compute_s),
            fetch_stall_s=fetch_s,
            prep_stall_s=None if fetch_s is None else data_s - fetch_s,
            wall_s=math.fsum(self._data_s) + math.fsum(self._compute_s),
            bytes_read=int(bytes_read),
            lr=lr,
            fidelity=fidelity,
            stages_s=dict(self._stages),
            store=store,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return what this rank has so far, as JSON types."""
        self._fold()
        return {
            "loss": self._loss,
            "top1": self._top1,
            "top5": self._top5,
            "images": self._images,
            "batches": self._batches.tolist(),
            "data_s": self._data_s.tolist(),
            "compute_s": self._compute_s.tolist(),
            "bytes_read": self._bytes_read,
            "stages": dict(self._stages),
            **({} if self._store is None else {"store": list(self._store.counts)}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the sums of another meter."""
        self._pending.clear()
        self._loss = float(state["loss"])
        self._top1, self._top5 = int(state["top1"]), int(state["top5"])
        self._images = int(state["images"])
        self._batches = array("q", state["batches"])
        self._data_s = array("d", state["data_s"])
        self._compute_s = array("d", state["compute_s"])
        self._bytes_read = int(state["bytes_read"])
        self._stages = {str(k): float(v) for k, v in state["stages"].items()}
        self._store = StoreStats(tuple(state["store"])) if "store" in state else None

    def _add_store(self, stats: StoreStats) -> None:
        self._store = stats if self._store is None else self._store.plus(stats)

    def _fold(self) -> None:
        """Turn tensors into sums, one transfer for all of them."""
        if not self._pending:
            return
        import torch

        pending, self._pending = self._pending, []
        *tensors, images = zip(*pending, strict=True)
        losses, top1, top5 = (torch.stack(column).double().tolist() for column in tensors)
        for loss, count in zip(losses, images, strict=True):
            self._loss += loss * count
        self._top1 += int(sum(top1))
        self._top5 += int(sum(top5))
        self._images += sum(images)

    def _over_ranks(self) -> tuple[list[float], StoreStats | None]:
        import torch

        self._fold()
        mine = [self._loss, self._top1, self._top5, self._images, self._bytes_read]
        sums, store = len(mine), self._store  # the data of all ranks are in a store, or of none
        mine += store.counts if store is not None else ()
        total: list[float] = self._reduce(torch.tensor(mine, dtype=torch.float64)).tolist()
        counts = tuple(map(int, total[sums:]))
        return total[:sums], StoreStats(counts) if counts else None

    def _fetch_share(self, data_s: float) -> float | None:
        """Return the part of a data time in which decoders lacked data.

        The share is `fetch_wait_s / (fetch_wait_s + decode_s)` over the same iterations.
        """
        wait_s, decode_s = self._stages.get("fetch_wait_s"), self._stages.get("decode_s")
        if wait_s is None or decode_s is None or wait_s + decode_s <= 0:
            return None
        return data_s * (wait_s / (wait_s + decode_s))

    def _speed(self, times: Sequence[float]) -> float:
        """Return the published speed: the mean of the iterations' speeds, times the ranks."""
        pairs = zip(self._batches, times, strict=True)
        return self._world_size * _mean([n / max(t, _SHORTEST_S) for n, t in pairs])


def split_states(
    states: Sequence[dict[str, Any]], rank: int, world_size: int
) -> dict[str, Any] | None:
    """Return the state with which a rank goes on, from those of all ranks before.

    With another number of ranks, rank 0 takes all sums, and the others begin at nothing (None): the
    sums over ranks stay what they were. Times are those of the old rank 0.
    """
    if len(states) == world_size:
        return states[rank]
    if rank > 0:
        return None
    summed = ("loss", "top1", "top5", "images", "bytes_read")
    whole = {**states[0], **{key: sum(state[key] for state in states) for key in summed}}
    if "store" in whole:
        counts = zip(*(state["store"] for state in states if "store" in state), strict=True)
        whole["store"] = [sum(column) for column in counts]
    return whole


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if len(values) else math.nan


def _quantiles(values: Sequence[float]) -> dict[float, float]:
    import numpy as np

    if not len(values):
        return {}
    found = np.quantile(np.asarray(values), QUANTILES, method="nearest")
    return {q: float(value) for q, value in zip(QUANTILES, found, strict=True)}
