"""What `dl2 train` costs beside a bare PyTorch loop, and whether its account of stalls is right.

    scripts/bench_train.py [--arch resnet18] [--image-size 96] [--batch-size 32] [--steps 20]
    scripts/bench_train.py --stalls DATASET [--rates 1MB/s,2MB/s]

Each round times the same number of training steps in a bare loop and in `dl2cli.training` with the
synthetic loader, in turn, in one process; and the time from nothing to the first steps in a process
of its own. The figures are medians over rounds of ratios within a round.

With `--stalls` a PCR dataset is read as from slow storages: the share of stalls that the run log
has, beside the difference between that run and the same run on the synthetic loader.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from dl2cli.loaders import TransformConfig
from dl2cli.loaders.throttle import Throttle
from dl2cli.training.config import CheckpointConfig, DataConfig, TrainConfig
from dl2cli.training.events import Observer, PhaseReport, StepReport
from dl2cli.training.lr_schedule import LrConfig
from dl2cli.training.models import ModelConfig, create_model
from dl2cli.training.trainer import train

CLASSES = 1000
WARM_UP = 3  # steps that are not timed


@dataclass(frozen=True)
class Options:
    """What both loops train."""

    arch: str
    image_size: int
    batch_size: int
    steps: int


def bare_loop(options: Options) -> float:
    """Return the seconds of a step in the shortest loop that trains."""
    torch.manual_seed(0)
    model = create_model(ModelConfig(arch=options.arch, num_classes=CLASSES)).train()
    sgd = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "fused": True}  # as dl2 has it
    optimizer = torch.optim.SGD(model.parameters(), **sgd)
    images = torch.rand(options.batch_size, 3, options.image_size, options.image_size)
    labels = torch.randint(0, CLASSES, (options.batch_size,))
    for step in range(WARM_UP + options.steps):
        if step == WARM_UP:
            start = time.perf_counter()
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return (time.perf_counter() - start) / options.steps


class Stopwatch(Observer):
    """Takes the time behind the warm-up and behind the last step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def stepped(self, report: StepReport) -> None:
        """Take the time."""
        self.times.append(time.perf_counter())


def train_config(options: Options, folder: Path) -> TrainConfig:
    """Return the training that does what the bare loop does."""
    images = (WARM_UP + options.steps) * options.batch_size
    return TrainConfig(
        folder=folder,
        data=DataConfig(
            train=Path("no/real/dataset"),
            loader="synthetic",
            batch_size=options.batch_size,
            transform=TransformConfig(size=options.image_size),
            synthetic_train=images,
        ),
        model=ModelConfig(arch=options.arch, num_classes=CLASSES),
        lr=LrConfig(lr=0.01, epochs=1),
        epochs=1,
        print_freq=10,
        seed=0,
        device="cpu",
        checkpoint=CheckpointConfig(save=False),
    )


def dl2_loop(options: Options) -> float:
    """Return the seconds of a step in `dl2cli.training`, with its log, clock and meters."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        train(train_config(options, Path(folder)), [watch])
    return (watch.times[-1] - watch.times[WARM_UP - 1]) / options.steps


def log_stalls(options: Options, data: Path, rates: list[str], rounds: int) -> None:
    """Print the logged share of stalls beside the measured one, for each rate of a storage."""
    print("storage  logged  against synthetic")
    for rate in rates:
        shares = [stall_shares(options, data, Throttle.parse(rate)) for _ in range(rounds)]
        logged, measured = (statistics.median(column) for column in zip(*shares, strict=True))
        print(f"{rate:>7}  {logged:6.1%}  {measured:6.1%}")


def stall_shares(options: Options, data: Path, throttle: Throttle) -> tuple[float, float]:
    """Return the share of an iteration that waited for data: as logged, and by difference."""
    slow = epoch_times(options, "pcr", data, throttle)
    free = epoch_times(options, "synthetic", data, None)
    return slow.data_time_s / slow.iteration_time_s, 1 - free.iteration_time_s / (
        slow.iteration_time_s
    )


def epoch_times(
    options: Options, loader: str, data: Path, throttle: Throttle | None
) -> PhaseReport:
    """Return the account of an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        config = train_config(options, Path(folder))
        real = replace(
            config.data,
            train=data,
            loader=loader,
            workers=1,
            synthetic_train=None,
            throttle=throttle,
        )
        result = train(replace(config, data=real))
    assert result.final is not None
    assert result.final.train is not None
    return result.final.train


def start_up(what: str, arguments: list[str]) -> float:
    """Return the seconds of a process that makes one step of one of the loops."""
    start = time.perf_counter()
    subprocess.run([sys.executable, __file__, *arguments, "--once", what], check=True)
    return time.perf_counter() - start


def main() -> None:
    """Time both loops in turn, and print their ratios."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stalls", type=Path, metavar="DATASET")
    parser.add_argument("--rates", default="500kB/s,1MB/s,2MB/s")
    parser.add_argument("--once", choices=["bare", "dl2"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    options = Options(given.arch, given.image_size, given.batch_size, given.steps)
    if given.stalls:
        log_stalls(options, given.stalls, given.rates.split(","), given.rounds)
        return
    loops = {"bare": bare_loop, "dl2": dl2_loop}
    if given.once:
        loops[given.once](Options(given.arch, given.image_size, given.batch_size, 1))
        return
    named = ["--arch", given.arch, "--image-size", str(given.image_size)]
    named += ["--batch-size", str(given.batch_size)]
    rows = []
    for number in range(given.rounds):
        order = ["bare", "dl2"] if number % 2 == 0 else ["dl2", "bare"]
        steps = {name: loops[name](options) for name in order}
        starts = {name: start_up(name, named) for name in order}
        rows.append((steps, starts))
        print(
            f"round {number + 1}: bare {steps['bare'] * 1e3:.1f} ms a step, dl2 "
            f"{steps['dl2'] * 1e3:.1f} ms ({steps['dl2'] / steps['bare']:.3f}); from nothing "
            f"through {WARM_UP + 1} steps: bare {starts['bare']:.2f} s, dl2 {starts['dl2']:.2f} s"
        )
    print(f"\n{options.arch}, {options.image_size} px, batches of {options.batch_size}:")
    for title, index in (("a step", 0), ("start-up", 1)):
        ratios = [row[index]["dl2"] / row[index]["bare"] for row in rows]
        print(
            f"  {title}: dl2 / bare {statistics.median(ratios):.3f} "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
