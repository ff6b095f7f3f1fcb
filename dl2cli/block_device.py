"""The block device below a path, and the bytes that it has read.

Linux counts sectors of 512 bytes for each device and partition, whatever its real sector size
(Documentation/admin-guide/iostats.rst, field 3). It counts them for everybody on the machine.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECTOR: Final = 512
_MEMORY: Final = frozenset({"tmpfs", "ramfs", "rootfs", "devtmpfs"})


@dataclass(frozen=True, slots=True)
class BlockDevice:
    """What a path lies on.

    Attributes:
        file_system: its type, as "ext4" or "overlay"; "unknown" where it cannot be told.
        name: The device, such as "nvme0n1p2"; None if no device can be counted.
        counter: The file with its statistics; None if no device can be counted.
        missing: Why no device can be counted; None if one can.
        in_memory: whether the file system has nothing but memory behind it.
    """

    file_system: str
    name: str | None
    counter: Path | None
    missing: str | None
    in_memory: bool

    def read_bytes(self) -> int | None:
        """Return the bytes the device has read since the machine started, None if unknown."""
        if self.counter is None:
            return None
        try:
            return int(self.counter.read_text().split()[2]) * SECTOR
        except (OSError, ValueError, IndexError):
            return None


def find_device(path: str | Path) -> BlockDevice:
    """Find the device that holds `path`; this never fails, but it may find none."""
    try:
        number = Path(path).stat().st_dev
        kind, source = _mount(Path(path).resolve())
    except OSError as error:
        return BlockDevice("unknown", None, None, f"{path}: {error.strerror}", False)
    if os.major(number) == 0 and source.startswith("/dev/"):  # as btrfs, which numbers its own
        try:
            status = Path(source).stat()
            number = status.st_rdev if stat.S_ISBLK(status.st_mode) else number
        except OSError:
            pass
    folder = Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}")
    if os.major(number) and (folder / "stat").is_file():
        return BlockDevice(kind, folder.resolve().name, folder / "stat", None, False)
    in_memory = kind in _MEMORY
    reason = (
        f"{kind} keeps its files in memory"
        if in_memory
        else f"the file system ({kind}) does not say which block device of this machine is below it"
    )
    return BlockDevice(kind, None, None, reason, in_memory)


def _mount(path: Path) -> tuple[str, str]:
    """Return the type and the source of the file system that is mounted above a real path.

    The device number does not serve: a btrfs subvolume has one that no list contains.
    """
    best, kind, source = -1, "unknown", ""
    with Path("/proc/self/mountinfo").open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            # proc(5): id, parent, major:minor, root, mount point, options, [tags], -, type, source
            fields, _, rest = line.partition(" - ")
            point = Path(_unescaped(fields.split(" ")[4]))
            # Where two file systems are mounted at one point, the later one is seen.
            if path.is_relative_to(point) and len(point.parts) >= best:
                best = len(point.parts)
                kind, source = (_unescaped(field) for field in rest.split(" ")[:2])
    return kind, source


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)
