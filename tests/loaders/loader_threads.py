"""The threads of this process, native ones too."""

import time
from pathlib import Path

_PATIENCE_S = 10


def native_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def only_threads_left(count: int) -> bool:
    """Tell whether no more than `count` threads are left.

    The kernel shows a thread for a moment longer than who joins it waits.
    """
    end = time.monotonic() + _PATIENCE_S
    while native_threads() > count and time.monotonic() < end:
        time.sleep(0.001)
    return native_threads() <= count
