"""Ctrl-C is heard at once, also where what is running cannot stop at once.

Python runs a signal's handler between two instructions of its main thread, which may be minutes
away: within a decoder, or a training step on a CPU. The system tells a thread of ours at once; if
the program has not ended a second later, that thread says that it was heard.
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
    """From now on, let `say` tell of a Ctrl-C that has not ended the program after a second.

    To be called once, in the main thread; `say` is called in another.
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
