#!/usr/bin/env python3
"""Raw sequential reads of one file: dl2's reader beside fio, on one thread, both orders, in turn.

    scripts/bench_storage.py FILE [--rounds 8] [--block 1048576] [--mode warm ...]

Three ways: warm (buffered, the file in the page cache), cold (buffered, its pages dropped just
before) and direct (O_DIRECT, where the file system allows it). In each round both read the same
file once (warm: often enough to take half a second), first dl2 and then fio in even rounds, first
fio and then dl2 in odd ones; the page cache is brought into its state anew before each run. fio
runs with ioengine=psync, the same blocks, and no hints to the kernel (fadvise_hint=0), as dl2 does.

GB/s are bytes over wall time; medians over the rounds. A ratio is the median of dl2/fio of the
rounds, which a slow minute of the machine leaves alone. "from device" is the share that the kernel
saw dl2 fetch from the device: 1 in a cold or direct run that was one, 0 in a warm one. Use a file
of 100 MB or more, or fio's clock of whole milliseconds counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from dl2cli.bench.storage import page_cache
from dl2cli.bench.storage.counters import IoCounters
from dl2cli.bench.storage.file_reader import ReadOptions, read_extents, refuses_direct
from dl2cli.bench.storage.read_plan import Extent

WARM_S = 0.5
MODES = ("warm", "cold", "direct")


@dataclass
class Rounds:
    """GB/s of each round, by whether dl2 was first, and the shares that the device delivered."""

    ours: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    fio: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})
    shares: list[float] = field(default_factory=list)

    def line(self, mode: str, first: bool) -> str:
        """Return a row of the table."""
        ours, fio = self.ours[first], self.fio[first]
        ratios = [a / b for a, b in zip(ours, fio, strict=True)]
        low, mid, high = min(ratios), statistics.median(ratios), max(ratios)
        return (
            f"{mode:>7} {'dl2, fio' if first else 'fio, dl2':>9} {statistics.median(ours):8.2f} "
            f"{statistics.median(fio):8.2f} {mid:8.2f} {low:6.2f} to {high:4.2f} "
            f"{statistics.median(self.shares):12.2f}"
        )


def read_dl2(file: Path, mode: str, block: int) -> float:
    """Read with dl2; GB/s."""
    options = ReadOptions(threads=1, block_bytes=block, direct=mode == "direct")
    extents = [Extent(str(file), file.stat().st_size, 1)]
    run = read_extents(extents, options, min_s=WARM_S if mode == "warm" else 0.0)
    if run.failed:
        sys.exit(f"{file}: {run.failed[0].reason}.")
    return run.bytes_read / run.wall_s / 1e9


def read_fio(file: Path, mode: str, block: int, loops: int) -> float:
    """Read with fio; GB/s."""
    command = [
        "fio", "--name=read", f"--filename={file}", "--readonly", "--rw=read", f"--bs={block}",
        "--ioengine=psync", "--invalidate=0", "--fadvise_hint=0", f"--loops={loops}",
        f"--direct={int(mode == 'direct')}", "--output-format=json",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    job = json.loads(result.stdout)["jobs"][0]
    return job["read"]["io_bytes"] / (job["read"]["runtime"] / 1e3) / 1e9


def measure(file: Path, mode: str, block: int, rounds: int) -> Rounds:
    """Do all rounds of one way."""
    found = Rounds()
    size = file.stat().st_size
    loops = 1
    for number in range(-1, rounds):  # round -1 finds out how fast it is
        dl2_first = number % 2 == 0
        for who in ("dl2", "fio") if dl2_first else ("fio", "dl2"):
            (page_cache.warm if mode == "warm" else page_cache.drop)([file])
            before = IoCounters.now(file)
            if who == "dl2":
                rate = read_dl2(file, mode, block)
                fetched = IoCounters.now(file).difference(before).process_read_bytes or 0
            else:
                rate = read_fio(file, mode, block, loops)
            if number >= 0:
                (found.ours if who == "dl2" else found.fio)[dl2_first].append(rate)
            elif mode == "warm":
                loops = max(1, int(WARM_S * rate * 1e9 / size))
        if number >= 0:
            found.shares.append(min(fetched / size, 1.0))
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=8, help="an even number: half in each order")
    parser.add_argument("--block", type=int, default=1 << 20, help="bytes a read call takes")
    parser.add_argument("--mode", choices=MODES, nargs="+", default=MODES)
    options = parser.parse_args()
    if not shutil.which("fio"):
        sys.exit("fio is not installed; there is nothing to compare with (apt install fio).")
    if not options.file.is_file() or not options.file.stat().st_size:
        sys.exit(f"{options.file} is no file with something in it.")
    if options.rounds < 2:
        sys.exit("At least 2 rounds are needed, one in each order.")
    size = options.file.stat().st_size
    print(f"{options.file}, {size / 1e6:.0f} MB, blocks of {options.block} bytes, one thread,")
    print(f"{options.rounds} rounds: GB/s, medians; dl2/fio: median and range over the rounds")
    print(f"{'':>7} {'order':>9} {'dl2':>8} {'fio':>8} {'dl2/fio':>8} {'':>14} {'from device':>12}")
    for mode in options.mode:
        refusal = refuses_direct(str(options.file)) if mode == "direct" else None
        if refusal:
            print(f"{mode:>7} {refusal}")
            continue
        found = measure(options.file, mode, options.block, options.rounds)
        for first in (True, False):
            print(found.line(mode, first))


if __name__ == "__main__":
    main()
