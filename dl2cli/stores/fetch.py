"""Fetching ranges: in parts side by side, again after failures, and twice where that pays.

One thread of the process runs an event loop with all requests; threads that read wait for it
without the GIL. obstore's own threads (tokio) do the work, so that a request costs the loop about
0.1 ms. Neither survives a fork: a forked child is refused with a sentence.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import errno
import itertools
import os
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from dl2cli.errors import UsageError
from dl2cli.stores.client import Answer, Client, RequestError, ShortObject, split_root
from dl2cli.stores.client import ByteRange as _Range
from dl2cli.stores.counters import Counters
from dl2cli.stores.options import StoreOptions
from dl2cli.stores.path import StorePath

if TYPE_CHECKING:
    from typing_extensions import Buffer

FIRST_RETRIES: Final = 3  # of the request that a command begins with
_CANCEL_EVERY_S: Final = 0.05
_ENOUGH_LATENCIES: Final = 100  # before a 99th percentile means anything
_SIDE_BY_SIDE: Final = 16
_T = TypeVar("_T")


@dataclass(frozen=True)
class Fetched:
    """A range, in the pieces that it came in.

    Attributes:
        pieces: its bytes.
        size: the size of the whole object in bytes.
        etag: the version of the object; None if the server names none.
    """

    pieces: tuple[Buffer, ...]
    size: int
    etag: str | None


class Fetcher:
    """Fetches from one bucket or server, for any number of threads."""

    def __init__(self, root: str, options: StoreOptions) -> None:
        self.options = options
        self.counters = Counters()
        self._client = Client(root, options)
        self._room: asyncio.Semaphore | None = None  # made in the loop

    def fetch_beginning(self, path: StorePath, most: int, etag: str | None = None) -> Fetched:
        """Fetch the first `most` bytes of an object, or all of it where it is shorter.

        A command begins with it: a wrong name of a server should not keep the user waiting, so that
        there are few retries.

        Args:
            path: the object.
            most: how many bytes, at least 1.
            etag: the version that the caller has.

        Raises:
            NotModified: the object is still that version.
            OSError, ValueError: as `fetch` does; an empty object is too short.
        """
        part = _Range(0, most, whole=False, etag=etag)
        retries = min(self.options.retries, FIRST_RETRIES)
        answer = self._wait(self._persistently(path, part, retries), path)
        return Fetched((answer.body,), answer.size, answer.etag)

    def fetch(
        self,
        path: StorePath,
        begin: int,
        end: int,
        under_way: set[concurrent.futures.Future[Any]] | None = None,
    ) -> Fetched:
        """Fetch bytes [begin, end) of an object.

        Args:
            path: the object.
            begin: the first byte.
            end: the byte behind the last.
            under_way: where the request is kept while it lasts, so that it can be cancelled.

        Raises:
            OSError: with a code: ENOENT if there is no such object, ECANCELED if the request was
                cancelled, EREMOTEIO if the store failed; names the URL, the attempt, the reason.
            ValueError: the object is too short, or was replaced meanwhile; names it, too.
        """
        return self._wait(self._fetch(path, begin, end), path, under_way)

    def put(
        self,
        path: StorePath,
        body: bytes,
        under_way: set[concurrent.futures.Future[Any]] | None = None,
    ) -> str | None:
        """Write an object, and return its etag if the server names one.

        `under_way` is as for `fetch`. Raises OSError as `fetch` does.
        """
        key = split_root(path)[1]

        async def once() -> str | None:
            self.counters.add_request()
            return await self._client.put(key, body)

        return self._wait(self._again(path, once, self.options.retries), path, under_way)

    def delete(self, path: StorePath) -> None:
        """Remove an object; one that is not there may be an error. Raises OSError as `fetch`."""

        async def once() -> None:
            self.counters.add_request()
            await self._client.delete(split_root(path)[1])

        self._wait(self._again(path, once, self.options.retries), path)

    def _wait(
        self,
        work: Coroutine[Any, Any, _T],
        path: StorePath,
        under_way: set[concurrent.futures.Future[Any]] | None = None,
    ) -> _T:
        future = _run(work)
        under_way = set() if under_way is None else under_way
        under_way.add(future)
        try:
            return future.result()
        except (asyncio.CancelledError, concurrent.futures.CancelledError):
            raise OSError(errno.ECANCELED, f"{path} is not wanted any more") from None
        finally:
            future.cancel()  # Ctrl-C in the middle
            under_way.discard(future)

    async def _fetch(self, path: StorePath, begin: int, end: int) -> Fetched:
        if begin == end:  # no request has an empty range
            return Fetched((), 0, None)
        parts = parts_of(begin, end, self.options.part_bytes)
        retries = self.options.retries
        tasks = [
            asyncio.create_task(self._persistently(path, _Range(*part), retries)) for part in parts
        ]
        try:
            answers = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        if len({answer.etag for answer in answers}) > 1:
            raise ValueError(f"{path} was replaced while it was read")
        return Fetched(tuple(a.body for a in answers), answers[0].size, answers[0].etag)

    async def _persistently(self, path: StorePath, part: _Range, retries: int) -> Answer:
        return await self._again(path, lambda: self._perhaps_twice(path, part), retries)

    async def _again(
        self, path: StorePath, request: Callable[[], Coroutine[Any, Any, _T]], retries: int
    ) -> _T:
        """Repeat a request until it succeeds, or until another attempt cannot help."""
        options, attempt = self.options, 1
        while True:
            try:
                return await request()
            except ShortObject as error:
                raise ValueError(f"{path} is too short, {error}") from error
            except RequestError as error:
                hopeless = self._hopeless(error, attempt, retries)
                if hopeless is not None:
                    message = f"{path}, attempt {attempt}{hopeless}, {error.reason}"
                    raise OSError(error.code, message) from error
            longest = min(options.longest_backoff_s, options.first_backoff_s * 2 ** (attempt - 1))
            await asyncio.sleep(random.uniform(longest / 10, longest))
            self.counters.add_retry()
            attempt += 1

    def _hopeless(self, error: RequestError, attempt: int, retries: int) -> str | None:
        """Say why a request is not made again, or return None."""
        options = self.options
        if not error.passing:
            return ""
        if attempt > retries:
            return "" if retries == 0 else f", the last of {retries + 1}"
        if not self.counters.may_add_extra(options.extra_share, options.extra_burst):
            return f" (no more, {options.extra_share:.0%} of all requests were retries)"
        return None

    async def _perhaps_twice(self, path: StorePath, part: _Range) -> Answer:
        """Make a request, and with `hedge` a second one where the first is slower than most."""
        slow = self.counters.percentile(0.99, _ENOUGH_LATENCIES) if self.options.hedge else None
        first = asyncio.create_task(self._once(path, part))
        running = {first}
        try:
            if slow is not None:
                await asyncio.wait(running, timeout=slow)
                allowed = self.counters.may_add_extra(self.options.extra_share, 1)
                if not first.done() and allowed:
                    self.counters.add_hedge()
                    running.add(asyncio.create_task(self._once(path, part)))
            return await _first_good(running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _once(self, path: StorePath, part: _Range) -> Answer:
        if self._room is None:
            self._room = asyncio.Semaphore(self.options.parts_in_flight)
        async with self._room:
            self.counters.add_request()
            start = time.perf_counter()
            # obstore's own limit is of the request; this one holds whatever it waits for.
            limit = self.options.request_timeout_s + self.options.connect_timeout_s
            try:
                async with asyncio.timeout(limit):
                    answer = await self._client.get(split_root(path)[1], part)
            except TimeoutError:
                raise RequestError(f"there was no answer in {limit:g} s", passing=True) from None
            self.counters.add_answer(len(memoryview(answer.body)), time.perf_counter() - start)
            return answer


async def _first_good(running: set[asyncio.Task[Answer]]) -> Answer:
    """Return the first answer that succeeds; raise the last failure if all fail."""
    left = set(running)
    while True:
        done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None or not left:
                return task.result()


def parts_of(begin: int, end: int, part_bytes: int) -> list[tuple[int, int]]:
    """Cut a range into equal parts, each at least `part_bytes` unless the range is shorter."""
    count = max(1, (end - begin) // part_bytes)
    edges = [begin + (end - begin) * i // count for i in range(count + 1)]
    return list(itertools.pairwise(edges))


def cancel_until_done(
    futures: Iterable[concurrent.futures.Future[Any]], cancel: Callable[[], None]
) -> None:
    """End work in threads that wait for a store: cancel their requests until all have ended.

    Ctrl-C reaches the main thread only, and a thread that waits for a silent server would keep the
    process for minutes.
    """
    left = [future for future in futures if not future.cancel()]
    while left:
        cancel()
        left = list(concurrent.futures.wait(left, timeout=_CANCEL_EVERY_S).not_done)


def side_by_side(work: Sequence[Callable[[], _T]], cancel: Callable[[], None]) -> list[_T]:
    """Make short requests from several threads, and return their results in order.

    `cancel` ends the requests that are under way when one fails, or at Ctrl-C.
    """
    with concurrent.futures.ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
        futures = [pool.submit(each) for each in work]
        try:
            return [future.result() for future in futures]
        except BaseException:
            cancel_until_done(futures, cancel)
            raise


class _Loop:
    """The thread with the event loop: one for the process, started when it is needed."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="dl2-store", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def close(self) -> None:
        """End all requests before Python does: obstore's threads would call into its ruins."""
        if os.getpid() != self.owner or self.loop.is_closed():
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop).result(timeout=5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout=5)
        if not self._thread.is_alive():
            self.loop.close()


async def _cancel_all() -> None:
    own = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not own]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


_lock = threading.Lock()
_loop: _Loop | None = None
_fetchers: dict[tuple[str, StoreOptions, frozenset[tuple[str, str]]], Fetcher] = {}
# What obstore takes from the environment: a bucket at another endpoint is another bucket.
_VARIABLES: Final = ("AWS_", "GOOGLE_", "AZURE_")


def _run(work: Coroutine[Any, Any, _T]) -> concurrent.futures.Future[_T]:
    """Start work in the loop of the process. Raises UsageError in a forked child."""
    global _loop  # noqa: PLW0603 - one for the process
    with _lock:
        if _loop is None:
            _loop = _Loop()
        if os.getpid() != _loop.owner:
            work.close()
            raise UsageError(
                "This process was forked from one that had opened an object store, which does not "
                "work: start it with the method 'spawn' or 'forkserver' (for PyTorch's DataLoader, "
                "multiprocessing_context='spawn')."
            )
        return asyncio.run_coroutine_threadsafe(work, _loop.loop)


def fetcher_of(path: StorePath, options: StoreOptions) -> Fetcher:
    """Return the fetcher of a place's bucket or server; all that read from it share it."""
    root, _ = split_root(path)
    # What is kept on this machine makes no difference to the requests.
    options = replace(options, memory_bytes=0, cache_dir=None, cache_bytes=0)
    named = frozenset(each for each in os.environ.items() if each[0].startswith(_VARIABLES))
    key = root, options, named
    with _lock:
        if key not in _fetchers:
            _fetchers[key] = Fetcher(root, options)
        return _fetchers[key]
