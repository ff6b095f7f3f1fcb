"""A conversion whose records are tasks on a Dask cluster.

    result = convert(config, tell, note, DaskEngine("tcp://host:8786", note))

The driver (this process) lists the source, hands out the files of one record a task, and alone
writes the index; a worker reads its files, writes the record file, and returns its rows. Everything
else happens as on one machine: `dl2cli.pcr.convert` does not know the difference, so a driver that
was killed and is started again continues behind the records whose rows it has.

A task may run twice (a worker that was thought dead, a driver that was started again): each run
writes a file of its own, and the rename that comes last puts the same bytes there. Dask starts the
tasks of a lost worker on others.

Memory: a worker's thread holds the compressed images of one record. The driver holds the plan, and
the rows of a few records a thread.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from dl2cli.cluster.dask_cluster import Build, DaskCluster, WorkersDied
from dl2cli.cluster.parts import attempt_name
from dl2cli.dataset.discovery import ImageFile
from dl2cli.errors import StorageError
from dl2cli.pcr.config import ConvertConfig, ConvertProgress
from dl2cli.pcr.index import RecordRows
from dl2cli.pcr.pipeline import OnProgress, Pipeline, split_records
from dl2cli.stores.path import is_remote

# Dask gives a task up after some workers died over it, which on a cluster whose machines are taken
# away at any time says little; a record that is to blame ends the conversion a little later.
MOST_DEATHS: Final = 3

_Record = tuple[int, list[ImageFile]]


def convert_record(
    config: ConvertConfig, build: Build, record: int, files: list[ImageFile]
) -> RecordRows:
    """Convert one record on a worker. Running it twice, even at the same time, does no harm.

    Raises:
        UsageError: this worker has another version of dl2 or of libjpeg than the driver.
        DataError: a bad file, with `on_error="fail"`.
        StorageError: the system refused; the sentence names the worker's machine.
    """
    host = socket.gethostname()
    build.check(host)
    try:
        with _folder(config.out) as folder:
            pipeline = Pipeline(
                config, lambda _: None, images=len(files), attempt=attempt_name(), folder=folder
            )
            (rows,) = pipeline.run([(record, files)])
    except StorageError as error:
        raise StorageError(f"On {host}: {error}") from error
    except OSError as error:
        raise StorageError(f"On {host}: {config.out}: {error.strerror or error}.") from error
    return replace(rows, host=host)


@contextlib.contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """Yield where to write record files: OUT, or for a store a folder that goes with the task."""
    if is_remote(out):
        with tempfile.TemporaryDirectory(prefix="dl2-", ignore_cleanup_errors=True) as name:
            yield Path(name)
    else:
        yield out


class DaskEngine:
    """Converts records on a cluster (`dl2cli.pcr.pipeline.RunRecords`).

    Args:
        scheduler: the address or the file of the scheduler, as `DaskCluster` takes it.
        on_note: called with sentences about what the user should know.
    """

    def __init__(self, scheduler: str, on_note: Callable[[str], None] | None = None) -> None:
        self._cluster = DaskCluster(scheduler, on_note)

    def __call__(
        self, config: ConvertConfig, order: list[ImageFile], done: set[int], tell: OnProgress
    ) -> Generator[RecordRows, None, None]:
        """Convert the records that are not done, and yield the rows of each as it comes."""
        records = split_records(config, order)
        todo = deque(each for each in records if each[0] not in done)
        progress = _RecordsProgress(len(order), sum(len(f) for r, f in records if r in done), tell)
        # A task has one thread, and paths that mean the same in another working directory.
        source, out = config.source.absolute(), config.out.absolute()
        config = replace(config, source=source, out=out, workers=1, measure_fidelity=None)
        build = Build.here()
        deaths: Counter[int] = Counter()  # how often workers died over a record, one after another
        under_way: dict[object, _Record] = {}
        with self._cluster.connected() as cluster:
            while todo or under_way:
                while todo and len(under_way) < cluster.room():
                    each = todo.popleft()
                    future = cluster.submit(convert_record, config, build, *each)
                    under_way[future.key] = each
                future = cluster.next_finished()
                each = under_way.pop(future.key)
                try:
                    rows: RecordRows = cluster.result(future, f"record {each[0]}")
                except WorkersDied:
                    deaths[each[0]] += 1
                    if deaths[each[0]] == MOST_DEATHS:
                        raise
                    todo.appendleft(each)
                    continue
                self.check_unread(config, rows)
                progress.add(rows)
                yield rows

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


class _RecordsProgress:
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
