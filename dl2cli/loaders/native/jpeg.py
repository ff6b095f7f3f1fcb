"""The `jpeg` loader: an ImageFolder, decoded by the native core's own threads.

It is `pcr` without records: the same threads, codec, order and damage policies, so that the effect
of records can be told from the effect of the decoder. The content of a file decides: JPEGs go to
the native codec; all others (PNG, TIFF, 12-bit JPEGs, ...) go to Pillow, in Python threads, and
look as a conversion makes them look (`dl2cli.dataset.pixels`).

Memory, beyond what the process has anyway, at most::

    max(batch_size, 4 x workers) x (the largest file)
  + (prefetch + 1) x batch_size x 3 x size x size x (4 if normalized else 1)
  + workers x (9 bytes x the pixels of an image + 4 bytes x the rows of its crop x size)
"""

from __future__ import annotations

import os

from dl2cli.loaders import transform
from dl2cli.loaders.base import LoaderConfig, require_torch
from dl2cli.loaders.files import FileLoader
from dl2cli.loaders.native.loader import NativeLoader, NativeSetup
from dl2cli_native import _core


class JpegLoader(FileLoader, NativeLoader):
    """Loads an ImageFolder."""

    name = "jpeg"
    scans = 1  # a file is read whole

    def __init__(self, config: LoaderConfig) -> None:
        """List the folder.

        Raises:
            UsageError: there is no ImageFolder, or an option makes no sense.
            DataError: there are no images.
            MissingDependency: torch is not installed.
        """
        require_torch()
        transform.check(config.transform)
        super().__init__(config)
        limits = config.limits
        self._setup = NativeSetup(
            store=_core.FileStore(
                folder=os.fsencode(config.data),
                names=[os.fsencode(name) for name in self.files.names],
                labels=self.files.labels.tolist(),
                label_count=len(self.classes),
                max_file_bytes=limits.max_bytes,
                throttle=config.throttle.native() if config.throttle else None,
            ),
            path=config.data,
            limits=limits,
            max_visits=max(config.batch_size, 4 * config.workers),
            # Each file is opened by itself, so that one thread would wait for all of them in turn.
            fetch_threads=max(config.fetch_threads or 1, config.workers),
            units="files",
        )
