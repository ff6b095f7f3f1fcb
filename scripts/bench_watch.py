#!/usr/bin/env python3
"""What `dl2cli.watch` costs: the same loop with it and without, epoch by epoch in turn.

    scripts/bench_watch.py [--step-ms 5] [--steps 400] [--workers 1] [--rounds 15]

A step is a small network's real one, repeated until it takes `--step-ms`; the DataLoader decodes
JPEGs with Pillow in its workers, which are watched, too. Epochs are compared by the clock, which
the user feels, and by the CPU time of this process and its workers, which other programs on the
machine change less. They are long, and their workers persist, because a training's epoch takes
minutes. Two plain loaders are compared, too, which shows how much of a ratio is chance. What an
epoch costs once, with workers that start anew, is measured on empty ones.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

import dl2cli
from dl2cli.bench.storage.counters import process_tree_cpu_s


class Photos(Dataset):
    """JPEGs in memory, decoded for each access."""

    def __init__(self, images: int, size: int = 96) -> None:
        self.images = images
        random = np.random.default_rng(0)
        small = Image.fromarray(random.integers(0, 255, (12, 12, 3), dtype=np.uint8))
        file = io.BytesIO()
        small.resize((size, size)).save(file, "JPEG")
        self.jpeg = file.getvalue()

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(io.BytesIO(self.jpeg)).convert("RGB")
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def make_step(step_ms: float) -> Callable[[torch.Tensor], None]:
    """Return a step of about so many milliseconds: forward and backward, again and again."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 96 * 96, 16))

    def once(images: torch.Tensor) -> None:
        model(images.float()).sum().backward()

    images = torch.zeros(16, 3, 96, 96, dtype=torch.uint8)
    once(images)
    began = time.thread_time()
    for _ in range(10):
        once(images)
    repeat = max(round(10 * step_ms / 1e3 / (time.thread_time() - began)), 1)

    def step(images: torch.Tensor) -> None:
        for _ in range(repeat):
            once(images)

    return step


Loader = Iterable[torch.Tensor]


def run(loader: Loader, step: Callable[[torch.Tensor], None]) -> tuple[float, float]:
    """Return the seconds of an epoch by the clock, and of CPU with the workers."""
    cpu_s, began = process_tree_cpu_s(), time.perf_counter()
    for images in loader:
        step(images)
    wall_s = time.perf_counter() - began
    return wall_s, process_tree_cpu_s() - cpu_s


def in_turn(
    pairs: int, plain: Callable[[], tuple[float, float]], watched: Callable[[], tuple[float, float]]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """Return pairs of results, plain and watched; which goes first changes by turns."""
    results = []
    for number in range(pairs):
        if number % 2:
            second, first = watched(), plain()
        else:
            first, second = plain(), watched()
        results.append((first, second))
    return results


def spread(values: list[float], digits: int) -> str:
    """Return the median and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.{digits}f} (quartiles {low:.{digits}f} and {high:.{digits}f})"


def show_epochs(options: argparse.Namespace, folder: str) -> None:
    """Compare long epochs whose workers persist, also of two plain loaders: that is noise."""
    step = make_step(options.step_ms)
    dataset = Photos(16 * options.steps)

    def make() -> DataLoader:
        persist = options.workers > 0
        return DataLoader(dataset, 16, num_workers=options.workers, persistent_workers=persist)

    loaders = {
        "watched": dl2cli.watch(make(), log=Path(folder, "run")),
        "plain": make(),
        "other": make(),
    }
    for loader in loaders.values():
        run(loader, step)
    rounds = []
    for _ in range(options.rounds):
        order = random.sample(list(loaders), len(loaders))
        rounds.append({name: run(loaders[name], step) for name in order})
    epoch_s = statistics.median(each["plain"][0] for each in rounds)
    print(f"{options.rounds} rounds of epochs of {options.steps} steps, {epoch_s:.1f} s each")
    for kind, name in enumerate(("clock", "CPU time")):
        triples = [tuple(each[n][kind] for n in loaders) for each in rounds]
        ratios = [watched / statistics.mean((plain, other)) for watched, plain, other in triples]
        print(f"watched / plain by {name}: {spread(ratios, 3)}")
        ratios = [other / plain for _, plain, other in triples]
        print(f"plain / plain by {name}: {spread(ratios, 3)}")


def show_fixed_cost(options: argparse.Namespace, folder: str) -> None:
    """Measure what an epoch costs once: two steps with nothing to do, and workers that start."""
    dataset = TensorDataset(torch.zeros(2))
    plain = DataLoader(dataset, num_workers=options.workers)
    watched = dl2cli.watch(
        DataLoader(dataset, num_workers=options.workers), log=Path(folder, "fixed")
    )
    for loader in (plain, watched):
        run(loader, lambda _: None)
    pairs = in_turn(
        4 * options.rounds, lambda: run(plain, lambda _: None), lambda: run(watched, lambda _: None)
    )
    costs = [1e3 * (watched[0] - plain[0]) for plain, watched in pairs]
    print(f"an epoch costs {spread(costs, 1)} ms more once")


def show_look_cost(seconds: float = 10.0) -> None:
    """Measure the CPU time of the thread that looks, beside one that decodes."""
    # A worker's thread looks in just this way; from outside its clock cannot be read.
    watched = dl2cli.watch(DataLoader(Photos(10**9), 16), log=False)
    batches = iter(watched)
    ids = {each.native_id for each in threading.enumerate() if each.name == "dl2-watch"}
    (clock,) = [(~number << 3) | 6 for number in ids if number is not None]
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        next(batches)
    spent_s, took_s = time.clock_gettime(clock), time.perf_counter() - began
    watched.stop_watching()
    looks = int(watched.watched.epochs[0].basis.split()[0])
    print(
        f"a look costs {1e3 * spent_s / looks:.2f} ms of CPU time, all of them "
        f"{spent_s / took_s:.2%} of a core in the first {took_s:.0f} s"
    )


def show_step_cost(folder: str, steps: int = 20_000) -> None:
    """Measure what a step costs, on batches that cost nothing."""
    batches = [torch.zeros(16, 3, 8, 8)] * steps

    def spent(loader: Loader) -> tuple[float, float]:
        began = time.thread_time()
        for _ in loader:
            pass
        return time.thread_time() - began, 0.0

    loader = dl2cli.watch(batches, log=Path(folder, "bare"), print_freq=steps)
    pairs = in_turn(5, lambda: spent(batches), lambda: spent(loader))
    costs = [1e6 * (watched[0] - plain[0]) / steps for plain, watched in pairs]
    print(f"a step costs {spread(costs, 1)} us more")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--step-ms", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"load of the machine at the beginning: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as folder:
        show_look_cost()
        show_step_cost(folder)
        show_fixed_cost(options, folder)
        show_epochs(options, folder)
    print(f"load of the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
