"""What child processes of the tests run: apart from the tests, so as not to import torch."""

from collections.abc import Iterable
from multiprocessing.queues import Queue

from dl2cli.loaders.pytorch.shared_cache import SharedCache
from dl2cli.loaders.throttle import SharedThrottle


def fill(cache: SharedCache, numbers: Iterable[int]) -> None:
    """Put in what is not there: 100 + n bytes of the value n."""
    for number in numbers:
        content = bytes([number]) * (100 + number)
        got, _ = cache.get(number, lambda content=content: content)
        assert got == content


def ask(throttle: SharedThrottle, queue: "Queue[float]") -> None:
    """Ask 50 times for 1000 bytes, and tell when they arrive."""
    for _ in range(50):
        queue.put(throttle.arrival(1000))


def still() -> float:
    """A clock that stands still."""
    return 1000.0
