"""A trace of the first steps, by torch.profiler."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

TRACE: Final = "profile_trace.json"


class StepProfiler:
    """Traces the first `steps` steps into a folder; costs nothing before and after."""

    def __init__(self, folder: Path, steps: int) -> None:
        """Trace the first `steps` steps; with 0, trace nothing."""
        self.trace = folder / TRACE
        self._left = steps
        self._profiler = _start() if steps > 0 else None

    def step(self) -> bool:
        """End a step; True when the trace was written just now."""
        if self._profiler is None:
            return False
        self._profiler.step()
        self._left -= 1
        if self._left > 0:
            return False
        self.close()
        return True

    def close(self) -> None:
        """Write what was traced."""
        if self._profiler is not None:
            self._profiler.stop()
            self._profiler.export_chrome_trace(str(self.trace))
            self._profiler = None


def _start() -> torch.profiler.profile:
    import torch

    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    profiler = torch.profiler.profile(activities=activities, acc_events=True)
    profiler.start()
    return profiler
