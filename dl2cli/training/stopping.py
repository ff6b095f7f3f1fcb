"""Stopping in order: signals and the time budget become a request that the loop asks for."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from dl2cli.training.distributed import Group

TIME_BUDGET: Final = "time budget"
REASONS: Final = ("SIGINT", "SIGTERM", TIME_BUDGET)


class StopRequest:
    """Catches SIGINT and SIGTERM while it is entered; a second SIGINT interrupts at once."""

    def __init__(self, time_budget_s: float | None = None) -> None:
        """The time budget counts from now."""
        self._reason: str | None = None
        self._deadline = None if time_budget_s is None else time.monotonic() + time_budget_s
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
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
        self._reason = self._reason or signal.Signals(number).name

    @property
    def signal(self) -> str | None:
        """The name of the signal that came, if one did."""
        return self._reason if self._reason != TIME_BUDGET else None

    @property
    def reason(self) -> str | None:
        """One of `REASONS`, or None while there is no reason to stop."""
        late = self._deadline is not None and time.monotonic() >= self._deadline
        if late and self._reason is None:
            self._reason = TIME_BUDGET
        return self._reason


class StopAgreement:
    """Lets all ranks stop after the same step: each asks before it goes on to the next."""

    def __init__(self, request: StopRequest, group: Group) -> None:
        """`group` is where the ranks agree."""
        self._request = request
        self._group = group
        self._pending = group.start_maximum(0)

    def finish(self) -> None:
        """Wait until all ranks have come to the end, so that none leaves while one still sends."""
        self._pending()

    def ask(self) -> str | None:
        """Return why all ranks stop now, or None.

        Ranks hear of each other a step later, so that nobody waits: what is asked now is sent on
        its way, and the answer of the step before is taken.
        """
        reason = self._request.reason
        if self._group.world_size == 1:
            return reason
        code = self._pending()
        self._pending = self._group.start_maximum(REASONS.index(reason) + 1 if reason else 0)
        return REASONS[code - 1] if code else None
