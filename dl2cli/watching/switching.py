"""Has threads give up Python's lock (the GIL) soon after another one asks for it."""

from __future__ import annotations

import os
import sys
import threading
from typing import Final

# A look costs a few microseconds more for each such time that a C function keeps the GIL.
_QUICK_S: Final = 5e-5


class QuickSwitches:
    """A block in which threads give up the GIL within 50 us instead of 5 ms.

    A thread that asks for the GIL gets it when the one that has it comes to a place that gives it
    up (open(), most operations of torch), or, after the switch interval, wherever that is in
    Python code. The former are not where time is spent. Blocks of several threads may overlap.
    """

    def __init__(self) -> None:
        """Change nothing yet."""
        self._lock = threading.Lock()
        self._inside = 0
        self._usual_s = self._changed_s = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._usual_s = sys.getswitchinterval()
                sys.setswitchinterval(min(_QUICK_S, self._usual_s))
                self._changed_s = sys.getswitchinterval()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            # If it is another one now, the program has just set its own.
            if not self._inside and sys.getswitchinterval() == self._changed_s:
                sys.setswitchinterval(self._usual_s)

    def forked(self) -> None:
        """Make good in a forked process, which has none of the threads that were inside."""
        if self._inside:
            sys.setswitchinterval(self._usual_s)
        self.__init__()  # type: ignore[misc]


quick_switches: Final = QuickSwitches()
os.register_at_fork(after_in_child=quick_switches.forked)
