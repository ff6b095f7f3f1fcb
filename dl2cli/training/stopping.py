"""Stops a training in order: signals and the time budget become a request that the loop asks for.

SIGINT, SIGTERM and SIGHUP stop; SIGUSR1, by which clusters warn of the end of a job's time, saves
or stops, as the configuration says.
"""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self

if TYPE_CHECKING:
    from dl2cli.training.distributed import Group

TIME_BUDGET: Final = "time budget"
SAVE: Final = "save"  # and go on
REASONS: Final = (SAVE, "SIGUSR1", "SIGHUP", "SIGINT", "SIGTERM", TIME_BUDGET)
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class StopRequest:
    """Catches signals while it is entered; a second SIGINT interrupts at once."""

    def __init__(
        self, time_budget_s: float | None = None, on_usr1: Literal["save", "stop"] = "save"
    ) -> None:
        """Start the time budget now."""
        self._reason: str | None = None
        self._save = False
        self._on_usr1 = on_usr1
        self._deadline = None if time_budget_s is None else time.monotonic() + time_budget_s
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in _SIGNALS:
            if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:
                continue  # nohup has said that the end of the terminal does not matter
            try:
                self._before[number] = signal.signal(number, self._take)
            except ValueError:  # not the main thread: its owner decides about signals
                break
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _take(self, number: int, frame: FrameType | None) -> None:
        # torchrun sends SIGTERM after the terminal's SIGINT: only a second SIGINT is impatience.
        if number == signal.SIGINT and self._reason == "SIGINT":
            raise KeyboardInterrupt
        if number == signal.SIGUSR1 and self._on_usr1 == "save":
            self._save = True
            return
        self._reason = self._reason or signal.Signals(number).name

    @property
    def signal_name(self) -> str | None:
        """The name of the signal that asks to stop, if one came."""
        return self._reason if self._reason != TIME_BUDGET else None

    @property
    def reason(self) -> str | None:
        """Why to stop, one of `REASONS` but `SAVE`; None while there is no reason."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        if late and self._reason is None:
            self._reason = TIME_BUDGET
        return self._reason

    def take(self) -> str | None:
        """Return why to stop, or `SAVE` (once for each request to save), or None."""
        if self.reason is not None:
            return self.reason
        save, self._save = self._save, False
        return SAVE if save else None


class StopAgreement:
    """Lets all ranks stop, or save, after the same step: each asks before it goes on."""

    def __init__(self, request: StopRequest, group: Group) -> None:
        """Agree with the ranks of `group`."""
        self._request = request
        self._group = group
        self._pending = group.start_maximum(0)
        self._save_later = False

    def finish(self) -> None:
        """Wait until all ranks have come to the end, so that none leaves while one still sends."""
        self._pending()

    def ask(self) -> str | None:
        """Return one of `REASONS` on which all ranks act now, or None."""
        asked = self._ask()
        if asked is None and self._save_later:
            self._save_later = False
            return SAVE
        return asked

    def ask_to_stop(self) -> str | None:
        """Return why all ranks stop now, or None; a request to save waits for the next `ask`."""
        asked = self._ask()
        if asked != SAVE:
            return asked
        self._save_later = True
        return None

    def _ask(self) -> str | None:
        """Tell the other ranks what this one is asked for, and return what they agree on.

        Ranks hear of each other a step later, so that nobody waits: what is asked now is sent on
        its way, and the answer of the step before is taken.
        """
        reason = self._request.take()
        if self._group.world_size == 1:
            return reason
        code = self._pending()
        self._pending = self._group.start_maximum(REASONS.index(reason) + 1 if reason else 0)
        return REASONS[code - 1] if code else None
