"""A conversion whose result goes to a store: made on this machine, and copied from there.

The records are made in a folder in the user's cache, which needs room for the dataset, and go to
the store when the conversion is complete: every record whole and verified, the index last. The same
command goes on in either half. The folder goes when the store has everything.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace

from dl2cli.errors import StorageError
from dl2cli.pcr.config import ConvertConfig, ConvertResult
from dl2cli.pcr.dataset import open as open_dataset
from dl2cli.pcr.transfer.copy import copy
from dl2cli.stores.path import StorePath
from dl2cli.user_folders import cache_dir


class StoreTarget:
    """Where the result of a conversion goes, and the folder where it is made."""

    def __init__(self, url: StorePath) -> None:
        """Choose the folder, and make it. Raises StorageError, UsageError."""
        self.url = url
        name = hashlib.sha256(url.url.encode()).hexdigest()[:32]
        self.folder = cache_dir() / "conversions" / name
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            where = self.folder.parent
            raise StorageError(f"{where} cannot be made: {error.strerror}.") from error

    def place(self, config: ConvertConfig) -> ConvertConfig:
        """Return the same conversion with its output in the folder."""
        return replace(config, out=self.folder)

    def send(
        self, result: ConvertResult, tell: Callable[[int, int], None] | None = None
    ) -> ConvertResult:
        """Copy a finished dataset of the folder to the store; raises as `copy` does."""
        target = self.url / result.out.relative_to(self.folder)
        copy(open_dataset(result.out), target, None, tell)
        return replace(result, out=target)

    def finish(self) -> None:
        """Remove the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
