#!/usr/bin/env python3
"""Conversion: `dl2 convert` beside the published way and beside the limit, in turn, in one run.

    scripts/bench_convert.py FOLDER [--rounds 5] [--threads N] [--published-images 200]

FOLDER is an ImageFolder of JPEGs. Three things are timed, one after the other, in each round:

* dl2: the whole conversion, from the files to the durable dataset, with dl2's own pool of threads;
* limit: libjpeg-turbo transcoding the same images from memory, on as many threads, with no files,
  no splitting, no checksums (scripts/transcode_limit.cpp);
* published: a jpegtran process an image (as many at once as the published tool starts: four a
  core), then the scans are split and grouped with protobuf and written; on the first images only.

Medians of images/s, and of the ratios within a round, which a noisy machine disturbs least.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from published_messages import MetadataRecord, ScanGroup

from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli_native import _core

ROOT = Path(__file__).parent


def build_limit(folder: Path) -> Path:
    """Compile the limit program."""
    program = folder / "transcode_limit"
    source = ROOT / "transcode_limit.cpp"
    command = ["g++", "-O2", "-std=c++17", str(source), "-o", str(program), "-ljpeg", "-pthread"]
    subprocess.run(command, check=True)
    return program


def time_limit(program: Path, files: list[Path], threads: int) -> float:
    """Return the seconds that libjpeg-turbo alone takes."""
    names = "\n".join(map(str, files))
    run = subprocess.run(
        [str(program), str(threads)], input=names, capture_output=True, text=True, check=True
    )
    return float(run.stdout)


def time_dl2(source: Path, out: Path, threads: int) -> float:
    """Return the seconds of a whole conversion."""
    start = time.perf_counter()
    convert(ConvertConfig(source, out, workers=threads, force=True))
    return time.perf_counter() - start


def time_published(files: list[Path], out: Path) -> float:
    """Return the seconds of the published way: a process an image, split, group, write."""

    def progressive(path: Path) -> bytes:
        command = ["jpegtran", "-copy", "none", "-progressive", str(path)]
        return subprocess.run(command, capture_output=True, check=True).stdout

    start = time.perf_counter()
    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        jpegs = list(pool.map(progressive, files))
    scans = [[jpeg[a:b] for a, b in pairwise(_core.find_scans(jpeg))] for jpeg in jpegs]
    groups = max(map(len, scans))
    metadata = MetadataRecord(labels=[0] * len(files), progressive_levels=groups)
    parts = [metadata.SerializeToString()]
    for group in range(groups):
        fragments = [each[group] if group < len(each) else b"" for each in scans]
        parts.append(ScanGroup(image_bytes=fragments).SerializeToString())
    out.write_bytes(b"".join(parts))
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--published-images", type=int, default=200)
    options = parser.parse_args()
    files = sorted(options.folder.rglob("*.jpg"))
    some = files[:: max(1, len(files) // options.published_images)][: options.published_images]
    rates: dict[str, list[float]] = {"dl2": [], "limit": [], "published": []}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        program = build_limit(work)
        time_dl2(options.folder, work / "out", options.threads)  # warms the page cache
        for _ in range(options.rounds):
            rates["dl2"].append(
                len(files) / time_dl2(options.folder, work / "out", options.threads)
            )
            rates["limit"].append(len(files) / time_limit(program, files, options.threads))
            rates["published"].append(len(some) / time_published(some, work / "published"))
    megabytes = sum(path.stat().st_size for path in files) / len(files) / 1e6
    print(f"{len(files)} images, {megabytes * 1e3:.0f} kB each, {options.threads} threads,")
    print(f"median of {options.rounds} rounds (least to most)")
    for name, values in rates.items():
        middle = statistics.median(values)
        spread = f"({min(values):.0f} to {max(values):.0f})"
        print(f"  {name:<10} {middle:7.1f} images/s {spread:>16} {middle * megabytes:7.1f} MB/s")
    for other in ("limit", "published"):
        ratio = statistics.median(a / b for a, b in zip(rates["dl2"], rates[other], strict=True))
        print(f"  dl2 / {other}: {ratio:.2f} (median of the rounds' ratios)")


if __name__ == "__main__":
    main()
