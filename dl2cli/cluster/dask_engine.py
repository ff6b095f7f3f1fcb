"""A conversion whose records are tasks on a Dask cluster.

    result = convert(config, tell, note, DaskEngine("tcp://host:8786", note))

The driver (this process) lists the source, hands out the files of one record a task, and alone
writes the index; a worker reads its files, writes the record file, and returns its rows. Everything
else is that of a conversion on one machine: `dl2cli.pcr.convert` knows no difference, so a driver
that was killed goes on behind the records it has rows of.

A task may run twice (a worker that was thought dead, a driver that was started again): each run
writes a file of its own, and the rename that comes last puts the same bytes there. Dask starts the
tasks of a lost worker on others.

Memory: a worker's thread holds the compressed images of one record. The driver holds the plan, and
the rows of a few records a thread.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import dl2cli
from dl2cli.cluster.parts import attempt_name
from dl2cli.dataset.discovery import ImageFile
from dl2cli.errors import Dl2Error, MissingDependency, StorageError, UsageError
from dl2cli.pcr.config import ConvertConfig, ConvertProgress
from dl2cli.pcr.index import RecordRows
from dl2cli.pcr.pipeline import OnProgress, Pipeline, split_records
from dl2cli_native import _core

if TYPE_CHECKING:
    from distributed import Client, Future

EXTRA: Final = "cluster"
CONNECT_S: Final = 10
POLL_S: Final = 0.2  # how often Ctrl-C is seen, and progress told
RECORDS_A_THREAD: Final = 2  # under way, so that no thread waits for the driver
RETRIES: Final = 2  # of a task that raised, perhaps on another worker
PATIENCE_S: Final = 10  # without any worker, before a note says so

_Record = tuple[int, list[ImageFile]]


@dataclass(frozen=True)
class Build:
    """What decides the bytes of a record besides the options; workers must have the driver's."""

    dl2: str
    libjpeg: str

    @classmethod
    def here(cls) -> Build:
        """Return that of this process."""
        return cls(dl2cli.__version__, _core.libjpeg_version())


def convert_record(
    config: ConvertConfig, build: Build, record: int, files: list[ImageFile]
) -> RecordRows:
    """Convert one record on a worker. To run it twice, even at the same time, does no harm.

    Raises:
        UsageError: this worker has another version of dl2 or of libjpeg than the driver.
        DataError: a bad file, with `on_error="fail"`.
        StorageError: the system refused; the sentence names the worker's machine.
    """
    host = socket.gethostname()
    if Build.here() != build:
        raise UsageError(f"The worker on {host} has {Build.here()}, and the driver {build}.")
    pipeline = Pipeline(config, lambda _: None, images=len(files), attempt=attempt_name())
    try:
        (rows,) = pipeline.run([(record, files)])
    except StorageError as error:
        raise StorageError(f"On {host}: {error}") from error
    except OSError as error:
        raise StorageError(f"On {host}: {config.out}: {error.strerror or error}.") from error
    return replace(rows, host=host)


class DaskEngine:
    """Converts records on a cluster (`dl2cli.pcr.pipeline.RunRecords`).

    Args:
        scheduler: the address ("tcp://host:8786"), or the path of the scheduler's file.
        on_note: called with sentences about what the user should know.
    """

    def __init__(self, scheduler: str, on_note: Callable[[str], None] | None = None) -> None:
        self.scheduler = scheduler
        self._note = on_note or (lambda _: None)

    def __call__(
        self, config: ConvertConfig, order: list[ImageFile], done: set[int], tell: OnProgress
    ) -> Generator[RecordRows, None, None]:
        """Convert the records that are not done, and yield the rows of each as it comes."""
        records = split_records(config, order)
        todo = deque(each for each in records if each[0] not in done)
        progress = _Progress(len(order), sum(len(f) for r, f in records if r in done), tell)
        # The driver's part of the options stays here.
        config = replace(_absolute(config), workers=1, measure_fidelity=None)
        with self._connected() as client:
            for rows in self._run(client, config, todo):
                self.check_unread(config, rows)
                progress.add(rows)
                yield rows

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Client]:
        try:
            from distributed import Client
            from distributed.comm.registry import backends
        except ImportError as error:
            raise MissingDependency("dask.distributed", EXTRA) from error
        is_file = "://" not in self.scheduler
        if is_file and not Path(self.scheduler).is_file():
            raise UsageError(
                f"There is no scheduler file {self.scheduler}; --scheduler takes such a file, or "
                "an address like tcp://host:8786."
            )
        scheme = self.scheduler.partition("://")[0]
        if not is_file and scheme not in backends:
            raise UsageError(
                f"{self.scheduler} is not the address of a Dask scheduler: it must begin with "
                f"{' or '.join(f'{each}://' for each in sorted(backends))}."
            )
        where = {"scheduler_file" if is_file else "address": self.scheduler}
        try:
            client = Client(**where, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise StorageError(
                f"No Dask scheduler answers at {self.scheduler} within {CONNECT_S} s: {error}."
            ) from error
        try:
            yield client
        finally:
            # What is under way is cancelled with its futures.
            client.close(timeout=5)

    def _run(
        self, client: Client, config: ConvertConfig, todo: deque[_Record]
    ) -> Iterator[RecordRows]:
        build = Build.here()
        finished: queue.SimpleQueue[Future] = queue.SimpleQueue()
        under_way: dict[object, tuple[Future, int]] = {}
        threads = _Threads(client, self._note)
        while todo or under_way:
            while todo and len(under_way) < threads.count() * RECORDS_A_THREAD:
                record, files = todo.popleft()
                future = client.submit(
                    convert_record, config, build, record, files, pure=False, retries=RETRIES
                )
                under_way[future.key] = future, record
                future.add_done_callback(finished.put)
            try:
                future = finished.get(timeout=POLL_S)
            except queue.Empty:
                self._check_alive(client)
                continue
            _, record = under_way.pop(future.key)
            yield self._rows(client, future, record)

    def _rows(self, client: Client, future: Future, record: int) -> RecordRows:
        """Return what a finished task returned, or raise what it raised."""
        from distributed import KilledWorker

        if future.status == "finished":
            rows = future.result()
            assert isinstance(rows, RecordRows)
            return rows
        self._check_alive(client)
        error = future.exception() if future.status == "error" else None
        if isinstance(error, Dl2Error):
            raise error
        if isinstance(error, KilledWorker):
            raise StorageError(
                f"Several workers died over record {record}, one after the other; they may lack "
                "memory. What is done is kept: the same command resumes."
            )
        raise StorageError(
            f"Record {record} was not converted: {_sentence(error)} What is done is kept: the same "
            "command resumes."
        )

    def _check_alive(self, client: Client) -> None:
        if client.status not in ("running", "connecting"):
            raise StorageError(
                f"The scheduler at {self.scheduler} is gone. What is done is kept: the same "
                "command resumes, on this scheduler or another."
            )

    @staticmethod
    def check_unread(config: ConvertConfig, rows: RecordRows) -> None:
        """Believe a worker that a file is missing only if it is missing here, too.

        Raises StorageError: the worker sees another file system than the driver.
        """
        for path in rows.unread:
            source = config.source / path
            try:
                with source.open("rb"):
                    pass
            except OSError:
                continue
            raise StorageError(
                f"The worker on {rows.host} cannot read {source}, which can be read here: is the "
                "file system mounted there, and does the worker run as the same user?"
            )


class _Threads:
    """How many threads the cluster has: workers come and go."""

    def __init__(self, client: Client, note: Callable[[str], None]) -> None:
        self._client = client
        self._note = note
        self._asked = float("-inf")
        self._count = 1
        self._seen = time.monotonic()

    def count(self) -> int:
        """Return the number of threads, at least 1, as it was within the last second."""
        now = time.monotonic()
        if now - self._asked > 1:
            self._asked = now
            found = sum(self._client.nthreads().values())
            if found:
                self._seen = now
            elif now - self._seen > PATIENCE_S:
                self._note("The scheduler has no workers; waiting for some to connect.")
                self._seen = float("inf")  # said once
            self._count = max(found, 1)
        return self._count


class _Progress:
    """Tells how far the cluster is; a record counts when its rows are here."""

    def __init__(self, images: int, resumed: int, tell: OnProgress) -> None:
        self._state = ConvertProgress(
            done=resumed, resumed=resumed, images=images, source_bytes=0, rejected=0
        )
        self._tell = tell

    def add(self, rows: RecordRows) -> None:
        """Count a record."""
        state = self._state
        self._state = replace(
            state,
            done=state.done + rows.images,
            source_bytes=state.source_bytes + rows.source_bytes,
            rejected=state.rejected + len(rows.rejected),
        )
        self._tell(self._state)


def _absolute(config: ConvertConfig) -> ConvertConfig:
    """Return paths that mean the same in a worker's working directory."""
    return replace(config, source=config.source.absolute(), out=config.out.absolute())


def _sentence(error: BaseException | None) -> str:
    if error is None:
        return "the cluster cancelled its task."
    if isinstance(error, ImportError):
        return f"a worker cannot import what it needs ({error}): is dl2cli installed there?"
    return f"{type(error).__name__}: {error}."
