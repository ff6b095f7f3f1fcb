"""The processes of a training, as torchrun starts them: gloo on CPUs, NCCL on GPUs.

launch.py reads torchrun's variables. Without them there is one process and nothing to agree on.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from dl2cli.errors import DataError, Dl2Error, Interrupted, UsageError
from dl2cli.training.launch import Launch, read_launch

if TYPE_CHECKING:
    import torch

    from dl2cli.training.stopping import StopRequest

# A machine that vanishes (power, network) sends no end of its connections. The longest that ranks
# may wait for each other in a healthy run is the writing of a checkpoint.
RANK_TIMEOUT_S = 600.0
_POLL_S: Final = 0.1  # how long a signal may wait


class RankLost(Dl2Error):  # noqa: N818 - the name says what is wrong
    """Another rank has ended, so that this one cannot go on."""


class StoppedEarly(Interrupted):
    """A signal came before the training could begin; `signal` is its name."""

    def __init__(self, signal: str) -> None:
        super().__init__(f"Stopped by {signal} while waiting for the other ranks.")
        self.signal = signal


class ControlGroup:
    """The process group for messages between hosts, until it is closed."""

    def __init__(self, group: Any) -> None:  # noqa: ANN401 - torch has no public type for it
        self.group = group

    def close(self) -> None:
        """Leave the group, and wait for its threads.

        gloo's threads let go of the tensors of an exchange a little after it has ended, for which
        they need Python's lock. Were Python to end first, they would abort the process. They are
        waited for when the last reference to the group is gone.
        """
        import torch.distributed as dist

        dist.destroy_process_group(self.group)
        self.group = None


@dataclass(frozen=True)
class Group:
    """This process among its ranks.

    Attributes:
        rank: 0 to world_size - 1.
        world_size: the number of processes.
        local_rank: this process among those of its machine.
        device: where this rank computes.
        control: for messages between hosts; None with one process.
    """

    rank: int
    world_size: int
    local_rank: int
    device: torch.device
    control: ControlGroup | None = None

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum of a CPU tensor over all ranks."""
        if self.control is not None:
            import torch.distributed as dist

            dist.all_reduce(values, group=self.control.group)
        return values

    def start_maximum(self, value: int) -> Callable[[], int]:
        """Begin to find the largest `value` of all ranks; the function returned waits for it."""
        if self.control is None:
            return lambda: value
        import torch
        import torch.distributed as dist

        cell = torch.tensor([value])
        work = dist.all_reduce(cell, dist.ReduceOp.MAX, group=self.control.group, async_op=True)

        def wait() -> int:
            work.wait()
            return int(cell.item())

        return wait

    def gather(self, value: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the `value` of every rank, by rank, on every rank."""
        if self.control is None:
            return [value]
        import torch.distributed as dist

        values: list[dict[str, Any]] = [{}] * self.world_size
        dist.all_gather_object(values, value, group=self.control.group)
        return values

    def from_first(self, value: int) -> int:
        """Return the `value` of rank 0."""
        if self.control is None:
            return value
        import torch
        import torch.distributed as dist

        cell = torch.tensor([value], dtype=torch.int64)
        dist.broadcast(cell, 0, group=self.control.group)
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


@contextmanager
def join_group(device: str | None, request: StopRequest | None = None) -> Iterator[Group]:
    """Join the other ranks, if there are any, and leave them at the end.

    Args:
        device: "cpu" or "cuda"; None takes a GPU if there is one.
        request: a signal that it catches ends the wait for the others.

    Raises:
        UsageError: there is no such device, or the variables of torchrun make no sense.
        RankLost: another rank ended before this one, or cannot be met.
        StoppedEarly: a signal came while this rank waited for the others.
    """
    import torch.distributed as dist

    launch = read_launch()
    where = _device(device, launch.local_rank)
    if launch.world_size == 1:
        yield Group(0, 1, 0, where)
        return
    control = _meet("nccl" if where.type == "cuda" else "gloo", launch, request)
    in_order = False
    try:
        yield Group(launch.rank, launch.world_size, launch.local_rank, where, control)
        in_order = True
    except RuntimeError as error:
        if _is_lost_peer(error):
            raise RankLost(
                f"Rank {launch.rank}: another rank has ended ({str(error).splitlines()[0]}); its "
                "own message says why. Resume from the last checkpoint."
            ) from error
        raise
    finally:
        if in_order:  # after an error, an exchange that nobody answers may be under way
            control.close()
        dist.destroy_process_group()


def _meet(backend: str, launch: Launch, request: StopRequest | None) -> ControlGroup:
    """Wait for all ranks; returns their process group for messages between hosts.

    It happens in another thread: here, the ones that wait would hear no signal for ten minutes.

    Raises:
        RankLost: the ranks cannot meet.
        StoppedEarly: a signal came first.
    """
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    done: list[ControlGroup] = []
    failed: list[Exception] = []

    def meet() -> None:
        try:
            store, rank, world_size = next(rendezvous("env://", launch.rank, launch.world_size))
            # torchrun keeps its store when it restarts the ranks, and torch 2.13 would find the
            # addresses of those that have ended in there.
            prefix = f"attempt_{launch.restarts}"
            store = dist.PrefixStore(prefix, store)  # type: ignore[attr-defined]
            silence = timedelta(seconds=RANK_TIMEOUT_S)
            dist.init_process_group(
                backend, store=store, rank=rank, world_size=world_size, timeout=silence
            )
            # Flags and sums are small and on the host: gloo is right for them beside NCCL, too.
            done.append(ControlGroup(dist.new_group(backend="gloo", timeout=silence)))
        except Exception as error:  # told by the thread that waits
            failed.append(error)

    thread = threading.Thread(target=meet, name="rendezvous", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(_POLL_S)
        if request is not None and request.signal_name is not None:
            raise StoppedEarly(request.signal_name)
    if failed:
        place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = str(failed[0]).strip().split("\n", maxsplit=1)[0][:200].rstrip(".")
        raise RankLost(f"The ranks cannot meet at {place}: {reason}.") from failed[0]
    return done[0]


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
