"""The folder of a run: made, and freed of the run that this one replaces."""

from __future__ import annotations

from dl2cli.errors import StorageError
from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group


def prepare_folder(config: TrainConfig, group: Group) -> None:
    """Make the folder and remove what is replaced; on all ranks, before any of them writes.

    Raises:
        StorageError: the system refuses.
    """
    path = config.folder
    try:
        path.mkdir(parents=True, exist_ok=True)
        for path in config.replaces if group.rank == 0 else ():
            path.unlink(missing_ok=True)
    except OSError as error:
        what = "made" if path == config.folder else "removed"
        raise StorageError(f"{path} cannot be {what}: {error.strerror}.") from error
    group.from_first(0)  # the others wait here
