"""What reads a dataset's records from a store: the object that the native core calls."""

from __future__ import annotations

import concurrent.futures
import errno
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from dl2cli.stores.cache import RecordCache, RecordExtent
from dl2cli.stores.counters import StoreStats
from dl2cli.stores.fetch import Fetcher, fetcher_of
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath

if TYPE_CHECKING:
    from typing_extensions import Buffer

REREADS: Final = 2  # of a range whose bytes have a wrong checksum


class StoreReader:
    """Reads ranges of the objects below one prefix. Thread-safe.

    Memory: each read holds its range until the native core has copied it, so that `fetch_threads`
    ranges are in memory beside the records that a loader keeps.
    """

    rereads = REREADS

    def __init__(
        self,
        prefix: StorePath,
        options: StoreOptions | None = None,
        records: Sequence[RecordExtent] = (),
    ) -> None:
        """Open the store; no request is made.

        Args:
            prefix: where the objects are.
            options: how the store is asked, and what is kept on this machine.
            records: the records of the dataset, for the cache.

        Raises:
            UsageError, MissingDependency: as `Client` does.
            StorageError: the cache cannot be written.
        """
        self.prefix = prefix
        self.options = options or StoreOptions()
        self._fetcher: Fetcher = fetcher_of(prefix, self.options)
        self._under_way: set[concurrent.futures.Future[Any]] = set()
        self._lock = threading.Lock()
        self._sizes: dict[str, int] = {}
        self._kept: dict[tuple[str, int, int], Sequence[Buffer]] = {}
        self._kept_bytes = 0
        self.cache: RecordCache | None = None
        if self.options.cache_dir is not None and records:
            folder, size = self.options.cache_dir, self.options.cache_bytes
            self.cache = RecordCache(folder, prefix.url, records, size)

    def read(self, name: str, offset: int, length: int) -> Sequence[Buffer]:
        """Return bytes [offset, offset + length) of an object, in pieces.

        Raises:
            OSError: with a code: ENOENT if there is no such object, EREMOTEIO if the store failed,
                ECANCELED after `cancel`; names the URL, the attempt and the reason.
            ValueError: the object is too short, or was replaced while it was read.
        """
        if self.options.memory_bytes:
            return self._from_memory(name, offset, length)
        extent = self.cache.extent(name, offset, length) if self.cache is not None else None
        if extent is None or self.cache is None:
            return self._fetch(name, offset, length)
        record, groups = extent
        here, found = self.cache.read(record, groups)
        begin = sum(len(memoryview(piece)) for piece in found)
        self._fetcher.counters.add_cached(begin)
        if begin == length:
            return found
        pieces = self._fetch(name, begin, length - begin)
        self.cache.add(record, here, groups, pieces)
        return [*found, *pieces]

    def _from_memory(self, name: str, offset: int, length: int) -> Sequence[Buffer]:
        key = (name, offset, length)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None:
            kept = self._fetch(name, offset, length)
            with self._lock:
                if self._kept_bytes + length <= self.options.memory_bytes:
                    self._kept_bytes += length
                    self._kept[key] = kept
        return kept

    def _fetch(self, name: str, offset: int, length: int) -> Sequence[Buffer]:
        try:
            fetched = self._fetcher.fetch(
                self._path(name), offset, offset + length, under_way=self._under_way
            )
        except PermissionError as error:
            # Of a file, this would be said of the file itself, which a damage policy may skip. A
            # store says it when credentials have expired.
            raise OSError(errno.EREMOTEIO, error.strerror) from error
        if length:
            with self._lock:
                self._sizes[name] = fetched.size
        return fetched.pieces

    def size(self, name: str) -> int:
        """Return the size of an object in bytes, as its last answer said; raises as `read`."""
        with self._lock:
            known = self._sizes.get(name)
        if known is None:
            self.read(name, 0, 1)
            known = self._sizes[name]
        return known

    def cancel(self) -> None:
        """End the reads that are under way: each raises OSError (ECANCELED)."""
        for future in list(self._under_way):
            future.cancel()

    def stats(self) -> StoreStats:
        """Return what reading took, of all readers of this bucket or server together."""
        return self._fetcher.counters.stats()

    def _path(self, name: str) -> StorePath:
        return self.prefix / name
