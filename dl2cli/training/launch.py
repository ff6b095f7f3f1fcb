"""Tells how this process was started: alone, or by torchrun as one of several ranks.

torchrun is the only launcher. Its environment variables are read and checked here, and nowhere
else; those of a shell that once ran a rank must not make another run believe that it is one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dl2cli.errors import UsageError

_NEEDED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """This process among the ranks.

    Attributes:
        rank: 0 to world_size - 1; 0 alone prints and writes the run log.
        world_size: the number of processes.
        local_rank: this process among those of its machine.
        local_world_size: the processes of this machine.
        by_torchrun: whether torchrun started it; it does so with one process, too.
        restarts: how often torchrun has restarted the ranks (`--max-restarts`).
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    by_torchrun: bool = False
    restarts: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0


def read_launch(environment: Mapping[str, str] | None = None) -> Launch:
    """Read torchrun's variables; without WORLD_SIZE, or with 1, this is rank 0, alone.

    Args:
        environment: the variables; None is those of this process.

    Raises:
        UsageError: WORLD_SIZE says that there are other ranks, and other variables are missing or
            make no sense.
    """
    given = os.environ if environment is None else environment
    world_size = _number(given, "WORLD_SIZE", 1)
    by_torchrun = bool(given.get("TORCHELASTIC_RUN_ID"))
    restarts = _number(given, "TORCHELASTIC_RESTART_COUNT", 0) if by_torchrun else 0
    if world_size == 1:
        return Launch(by_torchrun=by_torchrun, restarts=restarts)
    missing = [name for name in _NEEDED if not given.get(name)]
    if world_size < 1 or missing:
        problem = f"{missing[0]} is not set" if missing else "there are no ranks"
        raise UsageError(
            f"WORLD_SIZE is {given['WORLD_SIZE']}, but {problem}. Start several processes with "
            "torchrun, which sets all variables; `unset WORLD_SIZE` trains in one process."
        )
    rank = _number(given, "RANK", 0)
    local_rank = _number(given, "LOCAL_RANK", 0)
    if not 0 <= rank < world_size or not 0 <= local_rank <= rank:
        raise UsageError(
            f"RANK {rank} and LOCAL_RANK {local_rank} are impossible among {world_size} ranks. "
            "Start several processes with torchrun, which sets these variables."
        )
    return Launch(
        rank=rank,
        world_size=world_size,
        local_rank=local_rank,
        local_world_size=max(_number(given, "LOCAL_WORLD_SIZE", 1), 1),
        by_torchrun=by_torchrun,
        restarts=restarts,
    )


def _number(given: Mapping[str, str], name: str, default: int) -> int:
    text = given.get(name, "").strip()
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"The variable {name} must be a number, not {text[:40]!r}.") from None
