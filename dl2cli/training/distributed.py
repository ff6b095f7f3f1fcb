"""The processes of a training, as torchrun starts them: gloo on CPUs, NCCL on GPUs.

torchrun is the only launcher; its environment (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
MASTER_PORT) is all that is read here. Without it there is one process and nothing to agree on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dl2cli.errors import DataError, Dl2Error, UsageError

if TYPE_CHECKING:
    import torch


class RankLost(Dl2Error):  # noqa: N818 - the name says what is wrong
    """Another rank has ended, so that this one cannot go on."""


@dataclass(frozen=True)
class Group:
    """This process among its ranks.

    Attributes:
        rank: 0 to world_size - 1.
        world_size: the number of processes.
        local_rank: among those of this machine.
        device: where this rank computes.
        control: the process group for messages between hosts; None with one process.
    """

    rank: int
    world_size: int
    local_rank: int
    device: torch.device
    control: Any = None

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a CPU tensor over all ranks."""
        if self.world_size > 1:
            import torch.distributed as dist

            dist.all_reduce(values, group=self.control)
        return values

    def start_maximum(self, value: int) -> Callable[[], int]:
        """Begin to find the largest `value` of all ranks; the function returned waits for it."""
        if self.world_size == 1:
            return lambda: value
        import torch
        import torch.distributed as dist

        cell = torch.tensor([value])
        work = dist.all_reduce(cell, dist.ReduceOp.MAX, group=self.control, async_op=True)

        def wait() -> int:
            work.wait()
            return int(cell.item())

        return wait

    def gather(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the `value` of every rank, by rank, on every rank."""
        if self.world_size == 1:
            return [value]
        import torch.distributed as dist

        values: list[dict[str, Any]] = [{}] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def from_first(self, value: int) -> int:
        """Return the `value` of rank 0."""
        if self.world_size == 1:
            return value
        import torch
        import torch.distributed as dist

        cell = torch.tensor([value], dtype=torch.int64)
        dist.broadcast(cell, 0, group=self.control)
        return int(cell.item())

    def share_buffers(self, model: torch.nn.Module) -> None:
        """Give all ranks the statistics of batch norm that rank 0 has, and saves."""
        if self.world_size > 1:
            import torch.distributed as dist

            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def wrap(self, model: torch.nn.Module) -> torch.nn.Module:
        """Return the model with gradients that are means over all ranks."""
        if self.world_size == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices)


def world_from_environment() -> tuple[int, int, int]:
    """Return rank, world size and local rank, as torchrun says. Raises UsageError."""
    try:
        rank, world_size, local_rank = (
            int(os.environ.get(name, default))
            for name, default in (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
        )
    except ValueError:
        raise UsageError("RANK, WORLD_SIZE and LOCAL_RANK must be numbers.") from None
    return rank, world_size, local_rank


@contextmanager
def join_group(device: str | None) -> Iterator[Group]:
    """Join the other ranks, if there are any, and leave them at the end.

    Args:
        device: "cpu" or "cuda"; None takes a GPU if there is one.

    Raises:
        UsageError: there is no such device.
        RankLost: another rank ended before this one.
    """
    import torch.distributed as dist

    rank, world_size, local_rank = world_from_environment()
    where = _device(device, local_rank)
    if world_size == 1:
        yield Group(0, 1, 0, where)
        return
    dist.init_process_group("nccl" if where.type == "cuda" else "gloo")
    try:
        # Flags and sums are small and on the host: gloo is right for them beside NCCL, too.
        yield Group(rank, world_size, local_rank, where, dist.new_group(backend="gloo"))
    except RuntimeError as error:
        if _is_lost_peer(error):
            raise RankLost(
                f"rank {rank}: another rank has ended ({str(error).splitlines()[0]}); its own "
                "message says why. Resume from the last checkpoint."
            ) from error
        raise
    finally:
        dist.destroy_process_group()


def _device(name: str | None, local_rank: int) -> torch.device:
    import torch

    if name not in (None, "cpu", "cuda"):
        raise UsageError(f"The device is cpu or cuda, not {name!r}.")
    if name == "cpu" or (name is None and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise UsageError("torch sees no GPU here; --device cpu trains without one.")
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"Local rank {local_rank} has no GPU: this machine has {torch.cuda.device_count()}."
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _is_lost_peer(error: RuntimeError) -> bool:
    text = str(error)
    return not isinstance(error, DataError) and any(
        sign in text for sign in ("Connection closed by peer", "Connection reset", "gloo", "NCCL")
    )
