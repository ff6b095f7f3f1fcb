#!/usr/bin/env python3
"""What `dl2cli.watch` costs: the same loop with it and without, epoch by epoch in turn.

    scripts/bench_watch.py [--step-ms 5] [--steps 100] [--workers 2] [--rounds 9]

A step is a small network's real one, repeated until it takes `--step-ms`; the DataLoader decodes
JPEGs with Pillow in its workers, which are watched, too. What counts is the CPU time of this
process and its workers, which other programs on the machine change little, and the clock beside it.
The bare cost of a step is measured on batches that cost nothing.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

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


def run(
    loader: Iterable[torch.Tensor], step: Callable[[torch.Tensor], None]
) -> tuple[float, float]:
    """Return the seconds of an epoch by the clock, and of CPU with the workers."""
    cpu_s, began = process_tree_cpu_s(), time.perf_counter()
    for images in loader:
        step(images)
    wall_s = time.perf_counter() - began
    return wall_s, process_tree_cpu_s() - cpu_s


def in_turn(pairs: int, plain: Callable[[], float], watched: Callable[[], float]) -> list[float]:
    """Return the ratios watched / plain of pairs, the first of which changes by turns."""
    ratios = []
    for number in range(pairs):
        if number % 2:
            second, first = watched(), plain()
        else:
            first, second = plain(), watched()
        ratios.append(second / first)
    return ratios


def bare_cost_us(steps: int, rounds: int, folder: str) -> float:
    """Return the median cost of watching a step that takes nothing, in microseconds."""
    batches = [torch.zeros(16, 3, 8, 8)] * steps

    def spent(loader: Iterable[torch.Tensor]) -> float:
        began = time.thread_time()
        for _ in loader:
            pass
        return time.thread_time() - began

    loader = dl2cli.watch(batches, log=Path(folder, "bare"), print_freq=steps)
    return statistics.median(spent(loader) - spent(batches) for _ in range(rounds)) / steps * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--step-ms", type=float, default=5.0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    step = make_step(options.step_ms)
    dataset = Photos(16 * options.steps)
    plain = DataLoader(dataset, 16, num_workers=options.workers)
    with tempfile.TemporaryDirectory() as folder:
        watched = dl2cli.watch(
            DataLoader(dataset, 16, num_workers=options.workers), log=Path(folder, "run")
        )
        run(plain, step)
        for number, name in enumerate(("clock", "CPU time")):
            ratios = in_turn(
                options.rounds,
                lambda n=number: run(plain, step)[n],
                lambda n=number: run(watched, step)[n],
            )
            print(
                f"watched / plain by {name}: {statistics.median(ratios):.4f} "
                f"({min(ratios):.3f} to {max(ratios):.3f}), {options.rounds} pairs of epochs of "
                f"{options.steps} steps"
            )
        print(f"a step costs {bare_cost_us(20_000, 5, folder):.1f} us more")


if __name__ == "__main__":
    main()
