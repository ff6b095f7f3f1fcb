#!/usr/bin/env python3
"""Reading: JPEG bytes from records with a warm page cache, on one thread, in turn, in one run.

    scripts/bench_read.py DATASET [--rounds 9]

DATASET is a PCR dataset. For each fidelity k, four things are timed in each round, over the same
bytes, [0, end of group k) of every record:

* dl2: `Dataset.read`, checksums included: whole JPEGs side by side in one buffer;
* protobuf: the same in Python, with the protobuf runtime (a C library) and b"".join;
* read: reading the bytes into memory that is there already, and nothing more;
* copy: one pass of memcpy over as many bytes, the price of putting images together afterwards.

GB/s are bytes of the prefixes over wall time; medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from published_messages import MetadataRecord, ScanGroup

from dl2cli import pcr


def read_dl2(dataset: pcr.Dataset, scans: int) -> None:
    """Read every record with dl2."""
    for number in range(len(dataset.records)):
        dataset.read(number, scans)


def read_protobuf(dataset: pcr.Dataset, scans: int) -> None:
    """Read every record with the protobuf runtime; no checksums."""
    for info in dataset.records:
        with (dataset.path / info.file).open("rb") as file:
            MetadataRecord.FromString(file.read(info.lengths[0]))
            groups = [
                ScanGroup.FromString(file.read(length)).image_bytes
                for length in info.lengths[1 : scans + 1]
            ]
        for fragments in zip(*groups, strict=True):
            b"".join((*fragments, b"\xff\xd9"))


class Floor:
    """What the memory allows: reading into a buffer that is there, and copying it once."""

    def __init__(self, size: int) -> None:
        self.source = np.ones(size, np.uint8)
        self.target = np.ones(size, np.uint8)

    def read(self, dataset: pcr.Dataset, scans: int) -> None:
        """Read every prefix."""
        for info in dataset.records:
            with (dataset.path / info.file).open("rb", buffering=0) as file:
                file.readinto(self.target[: sum(info.lengths[: scans + 1])])

    def copy(self, dataset: pcr.Dataset, scans: int) -> None:
        """Copy as many bytes as every prefix has."""
        for info in dataset.records:
            size = sum(info.lengths[: scans + 1])
            self.target[:size] = self.source[:size]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    dataset = pcr.open(options.dataset)
    floor = Floor(max(sum(info.lengths) for info in dataset.records))
    ways: dict[str, Callable[[pcr.Dataset, int], None]] = {
        "dl2": read_dl2,
        "protobuf": read_protobuf,
        "read": floor.read,
        "copy": floor.copy,
    }
    print(f"{dataset.image_count} images in {len(dataset.records)} records, GB/s, one thread,")
    print(f"median of {options.rounds} rounds")
    print(f"{'k':>4} {'MB':>7} " + " ".join(f"{name:>9}" for name in ways))
    for scans in (k for k in (1, 2, 5, 10) if k <= dataset.groups):
        size = dataset.prefix_bytes(scans)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for round_number in range(options.rounds + 1):
            for name, way in ways.items():
                start = time.perf_counter()
                way(dataset, scans)
                if round_number > 0:  # the first warms caches and buffers
                    rates[name].append(size / (time.perf_counter() - start) / 1e9)
        row = " ".join(f"{statistics.median(values):9.2f}" for values in rates.values())
        print(f"{scans:>4} {size / 1e6:7.1f} {row}")


if __name__ == "__main__":
    main()
