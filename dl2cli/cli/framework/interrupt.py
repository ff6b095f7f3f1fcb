"""Answer Ctrl-C at once, even if the work cannot stop at once.

Python runs a signal's handler between two instructions of its main thread, which may be minutes
away in a decoder or a training step on a CPU. The system wakes a thread of ours at once; if the
program has not ended a second later, that thread says that Ctrl-C was heard.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 1.0


def answer_interrupts(say: Callable[[], None]) -> None:
    """From now on, call `say` when a Ctrl-C has not ended the program after a second.

    Call this once, in the main thread; `say` is called in another thread.
    """
    wake, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)

    def listen() -> None:
        while numbers := os.read(wake, 64):
            if signal.SIGINT not in numbers:
                continue
            if not select.select([wake], [], [], PATIENCE_S)[0]:  # else there is another
                say()

    threading.Thread(target=listen, name="interrupts", daemon=True).start()
