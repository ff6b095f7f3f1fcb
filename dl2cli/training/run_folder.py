"""Makes the folder of a run, locks it for the life of the run, and removes what it replaces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from dl2cli.durability import try_lock
from dl2cli.errors import StorageError, UsageError
from dl2cli.training.checkpoint.write import remove_leftovers
from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group


@contextmanager
def run_folder(config: TrainConfig, group: Group) -> Iterator[None]:
    """Make the folder and hold it; on all ranks, before any of them writes.

    Rank 0 locks it, removes what is replaced and what killed processes left in it.

    Raises:
        UsageError: another process trains in it.
        StorageError: the system refuses.
    """
    folder = config.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StorageError(f"{folder} cannot be made: {error.strerror}.") from error
    try:
        if group.rank == 0:
            _take(config, descriptor)
        group.from_first(0)  # the others wait here
        yield
    finally:
        os.close(descriptor)


def _take(config: TrainConfig, descriptor: int) -> None:
    try:
        try_lock(descriptor)
    except BlockingIOError:
        raise UsageError(
            f"Another process trains in {config.folder}: wait until it has ended, or give this run "
            "another --name."
        ) from None
    for path in config.replaces:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{path} cannot be removed: {error.strerror}.") from error
    remove_leftovers(config.folder)
