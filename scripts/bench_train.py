#!/usr/bin/env python3
"""What `dl2 train` costs beside a bare PyTorch loop, and whether its account of stalls is right.

    scripts/bench_train.py [--arch resnet18] [--image-size 96] [--batch-size 32] [--steps 20]
    scripts/bench_train.py --stalls DATASET [--rates 1MB/s,2MB/s]

Steps of `dl2cli.training` with the synthetic loader and steps of a bare loop are made in turn, one
by one, in one process; then processes of their own make the first steps of each, from nothing.
bench_gpu.py does the same on a GPU, in blocks of steps: there a single step must not be waited for.

With `--stalls` a PCR dataset is read as from slow storages: the share of stalls that the run log
has, beside the difference between that run and the same run on the synthetic loader.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as dl2 train does; torch reads it at import

import torch

from dl2cli.loaders import LoaderConfig, TransformConfig
from dl2cli.loaders.throttle import Throttle
from dl2cli.training.config import CheckpointConfig, DataConfig, TrainConfig
from dl2cli.training.data_source import NO_DATASET
from dl2cli.training.log.events import Observer, PhaseReport, StepReport
from dl2cli.training.models import ModelConfig, create_model
from dl2cli.training.optimization.lr_schedule import LrConfig
from dl2cli.training.optimization.precision import PrecisionConfig
from dl2cli.training.trainer import train

CLASSES = 1000
WARM_UP = 3  # steps that are not timed
LOSS_SCALE = 128.0  # of float16


@dataclass(frozen=True)
class Options:
    """What both loops train."""

    arch: str
    image_size: int
    batch_size: int
    steps: int
    device: str = "cpu"
    amp: Literal["float16", "bfloat16"] | None = None
    channels_last: bool = False
    compile: bool = False
    block: int = 1  # steps of the one before it is the turn of the other

    @property
    def warm_up(self) -> int:
        """Return the steps of each that are not timed."""
        return max(WARM_UP, self.block)

    @property
    def precision(self) -> PrecisionConfig:
        """Return the numbers that dl2 computes in."""
        if self.amp is None:
            return PrecisionConfig()
        scale = LOSS_SCALE if self.amp == "float16" else 1.0
        return PrecisionConfig(amp=True, dtype=self.amp, static_loss_scale=scale)

    def wait(self) -> None:
        """Wait for what the device was given to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()


class BareLoop:
    """The shortest loop that trains, a step at a time."""

    def __init__(self, options: Options) -> None:
        """Make a model, an optimiser as dl2 has it, and a batch."""
        torch.manual_seed(0)
        device = torch.device(options.device)
        layout = torch.channels_last if options.channels_last else torch.contiguous_format
        model = create_model(ModelConfig(arch=options.arch, num_classes=CLASSES)).train()
        model = model.to(device, memory_format=layout)
        sgd = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "fused": True}
        self.optimizer = torch.optim.SGD(model.parameters(), **sgd)
        self.model = torch.compile(model) if options.compile else model
        images = torch.rand(options.batch_size, 3, options.image_size, options.image_size)
        self.images = images.to(device, memory_format=layout)
        self.labels = torch.randint(0, CLASSES, (options.batch_size,), device=device)
        self.autocast: contextlib.AbstractContextManager = contextlib.nullcontext()
        self.scaler = None
        if options.amp:
            dtype = getattr(torch, options.amp)
            self.autocast = torch.autocast(device.type, dtype=dtype)
        if options.amp == "float16":
            self.scaler = torch.amp.GradScaler(device.type, LOSS_SCALE, growth_interval=1 << 30)

    def step(self) -> None:
        """Train with the batch."""
        with self.autocast:
            loss = torch.nn.functional.cross_entropy(self.model(self.images), self.labels)
        if self.scaler is None:
            loss.backward()
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)


class Alternation(Observer):
    """Makes bare steps after each block of steps of dl2, as many, and takes the time of both.

    So a machine that is busy now and then is as busy for the one as for the other.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.bare = BareLoop(options)
        self.pairs: list[tuple[Moment, Moment]] = []  # what a step of each took: dl2, bare
        self.begun: Moment | None = None

    def stepped(self, report: StepReport) -> None:
        """End a block of dl2's steps, make as many bare ones, and begin the next block."""
        block = self.options.block
        if report.iteration % block:
            return
        self.options.wait()
        ended = Moment.now()
        for _ in range(block):
            self.bare.step()
        self.options.wait()
        now = Moment.now()
        if self.begun is not None:
            self.pairs.append(((ended - self.begun) / block, (now - ended) / block))
        self.begun = now


@dataclass(frozen=True)
class Moment:
    """A moment, or the time between two: by the clock and of this process's processors."""

    wall_s: float
    cpu_s: float

    @staticmethod
    def now() -> Moment:
        """Return this moment."""
        return Moment(time.perf_counter(), time.process_time())

    def __sub__(self, other: Moment) -> Moment:
        return Moment(self.wall_s - other.wall_s, self.cpu_s - other.cpu_s)

    def __truediv__(self, steps: int) -> Moment:
        return Moment(self.wall_s / steps, self.cpu_s / steps)


def train_config(options: Options, folder: Path) -> TrainConfig:
    """Return the training that does what the bare loop does."""
    images = (options.warm_up + options.steps) * options.batch_size
    return TrainConfig(
        folder=folder,
        data=DataConfig(
            train=LoaderConfig(
                NO_DATASET,
                batch_size=options.batch_size,
                transform=TransformConfig(size=options.image_size),
                synthetic_images=images,
            ),
            loader="synthetic",
        ),
        model=ModelConfig(arch=options.arch, num_classes=CLASSES),
        lr=LrConfig(lr=0.01, epochs=1),
        epochs=1,
        precision=options.precision,
        channels_last=options.channels_last,
        compile=options.compile,
        print_freq=10,
        seed=0,
        device=options.device,
        checkpoint=CheckpointConfig(save=False),
    )


def alternate(options: Options) -> list[tuple[Moment, Moment]]:
    """Return what a step of dl2 took, with its log, clock and meters, and bare ones in between."""
    pairs = Alternation(options)
    with tempfile.TemporaryDirectory() as folder:
        train(train_config(options, Path(folder)), [pairs])
    return pairs.pairs[options.warm_up // options.block - 1 :]


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
    return slow.data_s / slow.iteration_s, 1 - free.iteration_s / (slow.iteration_s)


def epoch_times(
    options: Options, loader: str, data: Path, throttle: Throttle | None
) -> PhaseReport:
    """Return the account of an epoch."""
    with tempfile.TemporaryDirectory() as folder:
        config = train_config(options, Path(folder))
        loading = replace(
            config.data.train, data=data, workers=1, synthetic_images=None, throttle=throttle
        )
        real = replace(config.data, train=loading, loader=loader)
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
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3, help="of --stalls")
    parser.add_argument("--stalls", type=Path, metavar="DATASET")
    parser.add_argument("--rates", default="500kB/s,1MB/s,2MB/s")
    parser.add_argument("--once", choices=["bare", "dl2"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    options = Options(given.arch, given.image_size, given.batch_size, given.steps)
    if given.stalls:
        log_stalls(options, given.stalls, given.rates.split(","), given.rounds)
        return
    if given.once:
        first_steps(given.once, options)
        return
    pairs = alternate(options)
    print(f"{options.arch}, {options.image_size} px, batches of {options.batch_size}:")
    for title, unit in (("clock", "wall_s"), ("processor", "cpu_s")):
        dl2, bare = ([getattr(pair[i], unit) for pair in pairs] for i in range(2))
        middle = statistics.median(a / b for a, b in zip(dl2, bare, strict=True))
        print(
            f"  a step, by the {title}: dl2 {statistics.median(dl2) * 1e3:.1f} ms, bare "
            f"{statistics.median(bare) * 1e3:.1f} ms; dl2 / bare {middle:.3f} (median of "
            f"{len(dl2)} steps in turn), {sum(dl2) / sum(bare):.3f} of the totals"
        )
    rounds = [{what: start_up(what, sys.argv[1:]) for what in ("bare", "dl2")} for _ in range(3)]
    for what in ("bare", "dl2"):
        taken = statistics.median(each[what] for each in rounds)
        print(f"  a process of {what} with {WARM_UP + 1} steps: {taken:.2f} s")


def first_steps(what: str, options: Options) -> None:
    """Make the first steps of a loop, and nothing else."""
    if what == "bare":
        bare = BareLoop(options)
        for _ in range(WARM_UP + 1):
            bare.step()
        return
    with tempfile.TemporaryDirectory() as folder:
        train(train_config(replace(options, steps=1), Path(folder)), [])


if __name__ == "__main__":
    main()
