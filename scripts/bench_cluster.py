#!/usr/bin/env python3
"""What a Dask cluster costs a conversion: processor time a record of scheduler, driver and worker.

    scripts/bench_cluster.py PHOTOS [--images-per-record 16] [--rounds 3]

PHOTOS is an ImageFolder. In turn, it is converted by one thread of this process, and by a cluster
on this machine: one scheduler, and one worker of one thread. Processor times hardly depend on what
else the machine does; what the worker needs beyond the one thread is the price of its tasks. The
figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "cluster"))
from dask_processes import Cluster

from dl2cli.cluster.dask_engine import DaskEngine
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert


def cpu_s(pid: int | None = None) -> float:
    """Return the processor time of a process, user and system."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def measure(photos: Path, images_per_record: int, rounds: int) -> dict[str, float]:
    """Return medians over the rounds, in seconds."""
    rows: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, Cluster(Path(folder, "dask"), workers=1) as dask:
        engine = DaskEngine(str(dask.file))
        processes = {"scheduler": dask.scheduler.pid, "worker": dask.workers[0].pid}
        for turn in range(rounds + 1):
            config = ConvertConfig(
                photos, Path(folder, f"here{turn}"), images_per_record=images_per_record
            )
            began, wall = cpu_s(), time.perf_counter()
            result = convert(config)
            row = {"here": cpu_s() - began, "here wall": time.perf_counter() - wall}
            config = ConvertConfig(
                photos, Path(folder, f"there{turn}"), images_per_record=images_per_record
            )
            before = {name: cpu_s(pid) for name, pid in processes.items()}
            began, wall = cpu_s(), time.perf_counter()
            convert(config, run_records=engine)
            row |= {"driver": cpu_s() - began, "there wall": time.perf_counter() - wall}
            row |= {name: cpu_s(pid) - before[name] for name, pid in processes.items()}
            row["records"] = result.records
            if turn:  # the first loads modules
                for name, value in row.items():
                    rows.setdefault(name, []).append(value)
    return {name: statistics.median(values) for name, values in rows.items()}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--images-per-record", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    found = measure(options.photos, options.images_per_record, options.rounds)
    records = found["records"]
    print(
        f"{records:.0f} records of {options.images_per_record} images, medians of {options.rounds}"
    )
    print(f"one thread here:      {1e3 * found['here'] / records:8.2f} ms CPU a record")
    for name in ("scheduler", "driver", "worker"):
        print(f"cluster, {name + ':':12} {1e3 * found[name] / records:8.2f} ms CPU a record")
    print(f"clock, cluster/here:  {found['there wall'] / found['here wall']:8.2f}")


if __name__ == "__main__":
    main()
