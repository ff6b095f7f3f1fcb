"""Analysing images on a Dask cluster: what a pool of processes does, with workers elsewhere."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dl2cli.analysis.table.rows import row_to_line
from dl2cli.analysis.worker import Task, WorkerConfig, analyse_with, crashed
from dl2cli.cluster.dask_cluster import Build, DaskCluster, WorkersDied
from dl2cli.errors import StorageError

if TYPE_CHECKING:
    from distributed import Future


def analyse_chunk(config: WorkerConfig, build: Build, tasks: Sequence[Task]) -> list[str]:
    """Analyse some images on a worker; return a line of JSON for each.

    Raises:
        UsageError: this worker has another version of dl2 or of libjpeg than the driver.
        StorageError: the system failed to read an image; the sentence names the worker's machine.
    """
    host = socket.gethostname()
    build.check(host)
    try:
        return [row_to_line(analyse_with(config, task)) for task in tasks]
    except StorageError as error:
        raise StorageError(f"On {host}: {error}") from error


class DaskPool:
    """Yields the line of each image in order (a `Pool` of dl2cli.analysis.run).

    An image over which worker after worker dies gets the line of an image that crashed its worker.
    """

    def __init__(
        self, scheduler: str, config: WorkerConfig, on_note: Callable[[str], None] | None = None
    ) -> None:
        self._cluster = DaskCluster(scheduler, on_note)
        self._config = config
        self._build = Build.here()

    def map(self, chunks: Iterable[Sequence[Task]]) -> Iterator[str]:
        """Yield the line of each image, in order. A bounded number of chunks is under way."""
        waiting: deque[tuple[Future, Sequence[Task]]] = deque()
        done: set[object] = set()
        with self._cluster.connected() as cluster:
            for chunk in chunks:
                waiting.append((self._submit(chunk), chunk))
                if len(waiting) >= cluster.room():
                    yield from self._first(waiting, done)
            while waiting:
                yield from self._first(waiting, done)

    def _submit(self, chunk: Sequence[Task]) -> Future:
        return self._cluster.submit(analyse_chunk, self._config, self._build, chunk)

    def _first(
        self, waiting: deque[tuple[Future, Sequence[Task]]], done: set[object]
    ) -> Iterator[str]:
        future, chunk = waiting.popleft()
        try:
            yield from self._lines(future, done)
        except WorkersDied:
            # One of them did it; alone, each can only kill its own worker.
            for task in chunk:
                try:
                    yield from self._lines(self._submit([task]), done)
                except WorkersDied:
                    yield crashed(task)

    def _lines(self, future: Future, done: set[object]) -> list[str]:
        """Wait for a task, in whatever order tasks finish."""
        while future.key not in done:
            done.add(self._cluster.next_finished().key)
        done.remove(future.key)
        lines: list[str] = self._cluster.result(future, "a chunk of images")
        return lines
