"""How many processors this process may use: its affinity, and the CPU quota of its container."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return how many processors this process may keep busy, at least 1.

    It is the number of processors that the scheduler may put it on, or fewer where a container's
    CPU quota (`docker run --cpus`, a Kubernetes limit) gives it less time than that.
    """
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(_own_cgroups(), _CGROUPS)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def cpu_quota(own: str, root: Path) -> float | None:
    """Return how many processors' time the control groups allow; None means no limit.

    The tightest limit counts, of the process's group and all groups above.

    Args:
        own: the content of /proc/self/cgroup, in which each line is `id:controllers:path`.
        root: where control groups are mounted.
    """
    quotas = []
    for line in own.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        mounts = (root / "cpu", root / controllers) if controllers else (root, root / "unified")
        for mount in mounts:
            # In a container, the container's own group may be mounted as the root.
            for folder in (*_with_parents(mount, path), mount):
                quota = _quota_v1(folder) if controllers else _quota_v2(folder)
                if quota is not None:
                    quotas.append(quota)
    return min(quotas, default=None)


def _own_cgroups() -> str:
    try:
        return Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _with_parents(mount: Path, path: str) -> list[Path]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [mount.joinpath(*parts[:count]) for count in range(len(parts), 0, -1)]


def _quota_v2(folder: Path) -> float | None:
    """Read cpu.max: `QUOTA PERIOD` in microseconds, or `max PERIOD`."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None


def _quota_v1(folder: Path) -> float | None:
    """Read cpu.cfs_quota_us, which is -1 without a limit, and cpu.cfs_period_us."""
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
