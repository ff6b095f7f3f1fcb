#!/usr/bin/env python3
"""Throughput of `dl2 analyze-images -a quality` beside one ImageMagick process a file.

bench_analyze.py DATASET [--images N] [--published N] [--rounds N] [--workers N]

The published script estimated qualities with a process of ImageMagick's `identify` for each file,
one after the other. Here the two ways take turns on the files of DATASET, with the same number of
workers (one by default), and the medians of their rates are compared. dl2 is timed as a user meets
it: the whole command, from its start to its CSV, over --images files (those of DATASET, linked as
often as need be, so that its start of about a second does not hide the rate). The published way has
no start to speak of, so --published files are enough. Needs identify; the magick engine needs wand.
"""

import argparse
import csv
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dl2cli.dataset.discovery import discover


def main() -> None:
    """Run the rounds and print the rates."""
    options = parse()
    files = discover(options.dataset).jpegs()
    if not files:
        sys.exit(f"{options.dataset} holds no JPEGs")
    rates: dict[str, list[float]] = {"published": [], "native": [], "magick": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "images"
        linked = link(files, folder, options.images)
        output = Path(name) / "qualities.csv"
        for number in range(1, options.rounds + 1):
            rate, printed = published(linked[: options.published], options.workers)
            rates["published"].append(rate)
            for engine in ("native", "magick"):
                rate, qualities = ours(folder, output, engine, options.workers)
                rates[engine].append(rate)
                assert len(qualities) == len(linked)
                assert all(qualities[file] == quality for file, quality in printed.items())
            shown = ", ".join(f"{way} {rate[-1]:,.0f}" for way, rate in rates.items())
            print(f"round {number}: {shown} images/s")
    report(rates, options)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--published", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    return parser.parse_args()


def link(files: list[Path], folder: Path, images: int) -> list[Path]:
    """Fill a flat folder with links to the files, in turns."""
    folder.mkdir()
    links = []
    for number, file in zip(range(images), itertools.cycle(files), strict=False):
        links.append(folder / f"{number:07d}.jpg")
        links[-1].symlink_to(file.resolve())
    return links


def published(files: list[Path], workers: int) -> tuple[float, dict[str, str]]:
    """Return the rate and the qualities of one process a file."""

    def quality(file: Path) -> str:
        return subprocess.check_output(["identify", "-format", "%Q", str(file)], text=True)

    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        qualities = list(pool.map(quality, files))
    rate = len(files) / (time.perf_counter() - began)
    return rate, dict(zip((file.name for file in files), qualities, strict=True))


def ours(folder: Path, output: Path, engine: str, workers: int) -> tuple[float, dict[str, str]]:
    """Return the rate of the whole command, and the qualities of its CSV."""
    command = [sys.executable, "-m", "dl2cli", "analyze-images", str(folder), "-a", "quality"]
    command += ["--engine", engine, "--workers", str(workers), "-o", str(output)]
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    elapsed_s = time.perf_counter() - began
    with output.open(newline="") as file:
        qualities = {row["file"]: row["quality"] for row in csv.DictReader(file)}
    return len(qualities) / elapsed_s, qualities


def report(rates: dict[str, list[float]], options: argparse.Namespace) -> None:
    """Print the medians, and how they compare."""
    medians = {way: statistics.median(values) for way, values in rates.items()}
    print(f"\nmedians of {options.rounds} rounds, {options.workers} workers, the same qualities:")
    for way, median in medians.items():
        spread = f"{min(rates[way]):,.0f} to {max(rates[way]):,.0f}"
        times = median / medians["published"]
        print(f"{way:>10} {median:>9,.0f} images/s ({spread}), {times:.1f} times the published way")


if __name__ == "__main__":
    main()
