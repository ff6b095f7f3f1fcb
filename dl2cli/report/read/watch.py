"""Follows logs that are being written."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from dl2cli.report.read.discover import Finder


def changes(
    finder: Finder, interval_s: float, sleep: Callable[[float], None] = time.sleep
) -> Iterator[int]:
    """Yield at once, and then whenever a file under the finder's roots appears or changes.

    Files are compared by size and time of change every `interval_s` seconds; it never ends by
    itself.
    """
    last: int | None = None
    while True:
        now = finder.signature()
        if now != last:
            last = now
            yield now
        sleep(interval_s)
