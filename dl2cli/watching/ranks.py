"""What the ranks of a training tell each other: summaries, through the process group's store.

Nothing here is a collective operation. A rank that leaves its loop early, or dies, therefore never
makes another one wait for long, and the GPUs are not used.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from dataclasses import asdict
from typing import Any, Final

from dl2cli.watching.account import EpochSummary, Replay, SlowBatch

_POLL_S: Final = 0.01
_numbers = itertools.count()  # of the watches of this process: the same on all ranks


class Ranks:
    """This process among its ranks, for one watched loader."""

    def __init__(self) -> None:
        """Give this watch its number; torch need not be imported."""
        self._number = next(_numbers)

    @property
    def rank(self) -> int:
        """Return this process's rank; 0 where there is one process."""
        group = _process_group()
        return int(group.get_rank()) if group else _variable("RANK", 0)

    @property
    def world_size(self) -> int:
        """Return the number of processes."""
        group = _process_group()
        return int(group.get_world_size()) if group else _variable("WORLD_SIZE", 1)

    def post(self, summary: EpochSummary) -> None:
        """Leave a summary for rank 0."""
        store = _store()
        if store is not None and self.world_size > 1:
            store.set(self._key(summary.epoch, summary.rank), json.dumps(asdict(summary)))

    def collect(self, own: EpochSummary, wait_s: float) -> list[EpochSummary]:
        """Return the summaries of an epoch by rank: `own`, and those that came in time.

        Args:
            own: the summary of this rank.
            wait_s: how long to wait for the others at most.
        """
        found = {own.rank: own}
        missing = set(range(self.world_size)) - {own.rank}
        until = time.monotonic() + wait_s
        while missing and (store := _store()) is not None:
            for rank in sorted(missing):
                key = self._key(own.epoch, rank)
                if store.check([key]):
                    found[rank] = parse(store.get(key))
            missing -= found.keys()
            if not missing or time.monotonic() > until:
                break
            time.sleep(_POLL_S)
        return [found[rank] for rank in sorted(found)]

    def _key(self, epoch: int, rank: int) -> str:
        return f"dl2/watch/{self._number}/{epoch}/{rank}"


def parse(text: bytes | str) -> EpochSummary:
    """Return the summary that `json.dumps(asdict(...))` made."""
    values: dict[str, Any] = json.loads(text)
    values["slowest"] = tuple(SlowBatch(**each) for each in values["slowest"])
    values["wait_quantiles_s"] = tuple(values["wait_quantiles_s"])
    if values["replay"] is not None:
        values["replay"] = Replay(**values["replay"])
    return EpochSummary(**values)


def _process_group() -> Any:  # noqa: ANN401 - torch's module, where it is in use
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available():
        return None
    return distributed if distributed.is_initialized() else None


def _store() -> Any:  # noqa: ANN401
    """Return the store by which the process group met; None where there is none (any more)."""
    if _process_group() is None:
        return None
    from torch.distributed import distributed_c10d

    get = getattr(distributed_c10d, "_get_default_store", None)  # from torch 2.0 to 2.14
    return None if get is None else get()


def _variable(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else default
