#!/usr/bin/env python3
"""What curricula of scans, size and decoding save in a training, and what they cost in accuracy.

    scripts/bench_curriculum.py DATASET [--arch small_cnn] [--image-size 96] [--epochs 8]
                                [--seeds 5] [--minutes 20]

DATASET is a PCR dataset with train/ and val/. Four trainings are compared, with all seeds in turn:
`constant` (full fidelity), `scans` (few scans at first), `sizes` (small images at first) and
`progressive` (both, as built in). Bytes come from the run logs; CPU times of decoding and computing
are measured for each step of a curriculum by itself, on one thread, since a clock on a busy machine
tells little. Accuracy is that of the last epoch, at full size and fidelity; differences to
`constant` are taken seed by seed and have 95 % intervals (Student's t). The intervals hold for
other seeds on the same validation images, not for other images.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as dl2 train does; torch reads it at import

import torch

from dl2cli import pcr
from dl2cli.loaders import LoaderConfig, OutputConfig, TransformConfig, create_loader
from dl2cli.training.config import CheckpointConfig, DataConfig, TrainConfig
from dl2cli.training.fidelity.curriculum import Curriculum, Fidelity
from dl2cli.training.fidelity.curriculum_file import PROGRESSIVE, load_curriculum
from dl2cli.training.log.events import EpochReport, TrainResult
from dl2cli.training.models import ModelConfig, create_model
from dl2cli.training.optimization.lr_schedule import LrConfig
from dl2cli.training.trainer import train

CONSTANT: Final = "constant"
REPEATS: Final = 5  # of each measurement of CPU time; the median counts
# 97.5 % quantiles of Student's t by degrees of freedom.
STUDENT: Final = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201)


@dataclass
class Arm:
    """A way of training, and what came of it, seed by seed."""

    name: str
    curriculum: Curriculum | None
    bytes_epoch: float = 0.0
    epoch_s: list[float] = field(default_factory=list)
    top1_pct: list[float] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)

    def fidelities(self, epochs: int) -> list[Fidelity]:
        """Return the fidelity of each epoch."""
        return [self.curriculum.at(e) if self.curriculum else Fidelity() for e in range(epochs)]

    def take(self, result: TrainResult) -> None:
        """Note a training that has ended."""
        reports = [epoch.train for epoch in result.history if epoch.train is not None]
        self.bytes_epoch = statistics.mean(report.bytes_read for report in reports)
        self.epoch_s.append(statistics.mean(report.wall_s for report in reports))
        validation = _last(result.history).validation
        assert validation is not None
        self.top1_pct.append(validation.top1_pct)
        self.loss.append(validation.loss)


def _last(history: Sequence[EpochReport]) -> EpochReport:
    return history[-1]


def arms(args: argparse.Namespace, groups: int) -> list[Arm]:
    """Return the trainings to compare: the built-in curriculum, its scans and its sizes alone."""
    both = load_curriculum(PROGRESSIVE, epochs=args.epochs, image_px=args.image_size, groups=groups)
    scans = Curriculum(tuple((epoch, Fidelity(each.scans)) for epoch, each in both.points))
    sizes = Curriculum(
        tuple((e, Fidelity(None, each.size_px, each.scaled_decode)) for e, each in both.points)
    )
    return [Arm(CONSTANT, None), Arm("scans", scans), Arm("sizes", sizes), Arm(PROGRESSIVE, both)]


def loader_config(args: argparse.Namespace, workers: int) -> LoaderConfig:
    """Return how training images are loaded."""
    return LoaderConfig(
        args.data / "train",
        batch_size=args.batch_size,
        transform=TransformConfig(size=args.image_size),
        output=OutputConfig(normalized=True),
        workers=workers,
    )


def run(args: argparse.Namespace, arm: Arm, seed: int, folder: Path) -> TrainResult:
    """Train once."""
    return train(
        TrainConfig(
            folder=folder / f"{arm.name}-{seed}",
            data=DataConfig(loader_config(args, args.workers), val=args.data / "val"),
            model=ModelConfig(arch=args.arch, num_classes=0),
            lr=LrConfig(lr=args.lr, policy="cosine", warmup_epochs=1, epochs=args.epochs),
            epochs=args.epochs,
            fidelity=arm.curriculum,
            seed=seed,
            device="cpu",
            checkpoint=CheckpointConfig(save=False),
        )
    )


def decode_cpu_s(args: argparse.Namespace, fidelity: Fidelity) -> float:
    """Return the CPU time of reading and decoding an image, of all threads of this process."""
    loader = create_loader("pcr", loader_config(args, 1))
    loader.set_scans(fidelity.scans)  # type: ignore[attr-defined]
    size_px = fidelity.size_px or args.image_size
    loader.set_size(size_px, scaled_decode=bool(fidelity.scaled_decode))
    times = []
    for epoch in range(REPEATS):
        loader.set_epoch(epoch)
        images, began = 0, time.process_time()
        for batch in islice(loader, args.measured // args.batch_size):
            images += len(batch)
        times.append((time.process_time() - began) / max(images, 1))
    return statistics.median(times)


def compute_cpu_s(args: argparse.Namespace, size_px: int, classes: int) -> float:
    """Return the CPU time of forward, backward and update, per image, on one thread."""
    model = create_model(ModelConfig(arch=args.arch, num_classes=classes), lambda _text: None)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(args.batch_size, 3, size_px, size_px)
    labels = torch.randint(classes, (args.batch_size,))
    times = []
    for _ in range(2 * REPEATS):
        began = time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        times.append((time.process_time() - began) / args.batch_size)
    return statistics.median(times[REPEATS:])


def interval(values: Sequence[float]) -> str:
    """Return mean and 95 % interval of values."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.2f}"
    quantile = STUDENT[min(len(values) - 2, len(STUDENT) - 1)]
    half = quantile * statistics.stdev(values) / len(values) ** 0.5
    return f"{mean:.2f} ± {half:.2f}"


def show(args: argparse.Namespace, all_arms: Sequence[Arm], images: int, classes: int) -> None:
    """Print the table."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    used = dict.fromkeys(each for arm in all_arms for each in arm.fidelities(args.epochs))
    decode = {each: decode_cpu_s(args, each) for each in used}
    sizes = {each.size_px or args.image_size for each in used}
    compute = {size_px: compute_cpu_s(args, size_px, classes) for size_px in sizes}
    torch.set_num_threads(threads)
    print(
        "| training | MB an epoch | decode CPU ms an image | compute CPU ms an image | CPU s an "
        "epoch | s an epoch | top-1 (%) | less constant | loss less constant |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    constant = all_arms[0]
    for arm in all_arms:
        fidelities = arm.fidelities(args.epochs)
        decode_s = statistics.mean(decode[each] for each in fidelities)
        compute_s = statistics.mean(compute[e.size_px or args.image_size] for e in fidelities)
        differences = [
            interval([a - b for a, b in zip(mine, theirs, strict=True)])
            for mine, theirs in ((arm.top1_pct, constant.top1_pct), (arm.loss, constant.loss))
        ]
        print(
            f"| `{arm.name}` | {arm.bytes_epoch / 1e6:.1f} | {1e3 * decode_s:.2f} | "
            f"{1e3 * compute_s:.2f} | {images * (decode_s + compute_s):.2f} | "
            f"{statistics.median(arm.epoch_s):.1f} | {interval(arm.top1_pct)} | "
            f"{' | '.join(differences if arm is not constant else ['', ''])} |"
        )


def main() -> None:
    """Train, measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="a PCR dataset with train/ and val/")
    parser.add_argument("--arch", default="small_cnn")
    parser.add_argument("--image-size", type=int, default=96)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--measured", type=int, default=320, help="images for each CPU time")
    parser.add_argument("--minutes", type=float, default=20.0, help="begin no seed after that")
    args = parser.parse_args()
    dataset = pcr.open(args.data / "train")
    all_arms = arms(args, dataset.groups)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        for seed in range(args.seeds):
            if seed and time.monotonic() - began > 60 * args.minutes:
                print(f"{seed} seeds in {args.minutes:g} minutes", file=sys.stderr)
                break
            for arm in all_arms:
                arm.take(run(args, arm, seed, Path(name)))
            scores = ", ".join(f"{arm.name} {arm.top1_pct[-1]:.1f} %" for arm in all_arms)
            print(f"seed {seed}: {scores}", file=sys.stderr, flush=True)
    seeds, val = len(all_arms[0].loss), pcr.open(args.data / "val").image_count
    print(
        f"{args.arch}, {args.image_size} pixels, {args.epochs} epochs, {dataset.image_count} "
        f"images, {val} for validation, {seeds} seeds\n"
    )
    show(args, all_arms, dataset.image_count, len(dataset.classes))


if __name__ == "__main__":
    main()
