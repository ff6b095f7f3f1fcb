#!/usr/bin/env python3
"""The what-if model: predicted against measured throughput over a sweep of throttles and k.

    scripts/bench_what_if.py DATASET [--scans 1,2,5,10] [--shares 0.25,0.5,1,2] [--repeat 3]

DATASET is a PCR dataset. Its decoding is measured from the page cache, without limits, at a few k.
Then storage is throttled to shares of the bandwidth at which full fidelity stops being bound by it,
and each k is predicted and measured; k that was not measured for the model is predicted from its
bytes. The accelerator is a sleep (--compute-rate), so that nothing else needs the cores. Two
figures are aimed at: a median error of at most 10 %; and, where storage is throttled so that full
fidelity is bound by it, k=5 gives at least 1.9 times what all scans give. Each run reads a whole
epoch; within a round, throttles and k are measured in turn. The model is calibrated anew in each
round, so that a machine that others slow down meanwhile is not held against it.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from dl2cli.bench.config import BenchConfig, ComputeConfig
from dl2cli.bench.model.calibrate import calibrate_model
from dl2cli.bench.model.rates import EpochModel
from dl2cli.bench.model.scenario import Scenario, throttled
from dl2cli.bench.probes.compute import ComputeProbe, make_step
from dl2cli.bench.probes.loader import LoaderProbe
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.cores import usable_cores
from dl2cli.loaders.contents import data_files
from dl2cli.loaders.throttle import Throttle

AIM_ERROR = 0.10
AIM_RATIO = 1.9


def numbers(text: str) -> tuple[float, ...]:
    """Read "1,2,5"."""
    return tuple(float(part) for part in text.split(","))


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--scans", type=numbers, default=(1, 2, 3, 5, 7, 10))
    parser.add_argument("--model-scans", type=numbers, default=(1, 5, 10))
    parser.add_argument("--shares", type=numbers, default=(0.25, 0.5, 1, 2))
    parser.add_argument("--latency", default="", help="as ,latency=10ms, of each throttle")
    parser.add_argument("--compute-rate", type=float, default=5000)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    return parser.parse_args()


class Sweep:
    """The probes of a sweep, and what each run gave."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.config = BenchConfig(
            args.dataset,
            batch_size=args.batch_size,
            run_s=3600,
            compute=ComputeConfig(rate_img_s=args.compute_rate),
        )
        self.args = args
        self.step = make_step(self.config, 2)
        files = data_files(args.dataset)
        ks = sorted({int(k) for k in (*args.scans, *args.model_scans)})
        variants = [LoaderVariant("pcr", args.dataset, k, usable_cores()) for k in ks]
        self.alone = {
            int(k): LoaderProbe(self.config, r, files)
            for k in args.model_scans
            for r in variants
            if r.scans == k
        }
        self.probes = {r.scans: LoaderProbe(self.config, r, files, self.step) for r in variants}
        self.target = variants[-1]
        self.loader = self.target.create(self.config, normalized=False)
        for probe in (*self.alone.values(), *self.probes.values()):
            probe.warm_up()
        self.throttles = self.choose(self.calibrate())
        self.predicted: dict[tuple[int, str], list[float]] = {}
        self.measured: dict[tuple[int, str], list[float]] = {}

    def round(self) -> None:
        """Calibrate, predict, and measure every throttle at every k."""
        for throttle in self.throttles:
            model = self.calibrate()
            for k in (int(k) for k in self.args.scans):
                times = self.probes[k].measure_throttled(throttle, throttle)
                key = (k, throttle)
                predicted = model.predict(k, throttled(throttle), images=times.images)
                self.predicted.setdefault(key, []).append(predicted)
                self.measured.setdefault(key, []).append(times.rate_img_s)

    def calibrate(self) -> EpochModel:
        """Measure decoding from the page cache, and make the model of what was just measured."""
        results = []
        compute = ComputeProbe(replace(self.config, run_s=0.2), self.step)
        compute.measure()
        for probe in self.alone.values():
            probe.runs("warm").clear()
            probe.measure("warm")
            results.append(probe.result("warm"))
        return calibrate_model(
            self.loader,
            self.config,
            self.target,
            warm=results,
            trained=[],
            compute=compute.result(),
        )

    def choose(self, model: EpochModel) -> list[str]:
        """Return throttles around the bandwidth at which full fidelity is just not bound by it."""
        full = self.target.scans
        free = model.predict(full, Scenario("", math.inf)) * model.costs[full].bytes_per_image
        return [
            str(Throttle(float(f"{share * free:.2g}"))) + self.args.latency
            for share in self.args.shares
        ]


def show(sweep: Sweep) -> tuple[float, float]:
    """Print the table; return the median error, and k=5 over all scans at the lowest throttle."""
    errors = []
    print(
        f"{'throttle':>24} {'k':>3} {'predicted':>10} {'measured':>9} {'min':>7} {'max':>7} error"
    )
    for key, runs in sweep.measured.items():
        pairs = zip(sweep.predicted[key], runs, strict=True)
        error = statistics.median(abs(predicted / run - 1) for predicted, run in pairs)
        errors.append(error)
        print(
            f"{key[1]:>20} {key[0]:>3} {statistics.median(sweep.predicted[key]):9.1f} "
            f"{statistics.median(runs):9.1f} {min(runs):7.1f} {max(runs):7.1f} {error:6.1%}"
        )
    slowest, full = sweep.throttles[0], sweep.target.scans
    ratio = math.nan
    if (5, slowest) in sweep.measured:
        both = zip(sweep.measured[5, slowest], sweep.measured[full, slowest], strict=True)
        ratio = statistics.median(a / b for a, b in both)
    return statistics.median(errors), ratio


def main() -> None:
    """Sweep and print; exit with 1 if an aim is missed."""
    args = options()
    sweep = Sweep(args)
    for _ in range(args.repeat):
        sweep.round()
    error, ratio = show(sweep)
    sizes = {k: cost.bytes_per_image for k, cost in sweep.calibrate().costs.items()}
    full = sweep.target.scans
    print(f"\nmedian error of {len(sweep.measured)} predictions: {error:.1%}, aim {AIM_ERROR:.0%}")
    if not math.isnan(ratio):
        print(
            f"k=5 / k={full} at {sweep.throttles[0]}: {ratio:.2f}, aim {AIM_RATIO}; "
            f"the bytes are {sizes[full] / sizes[5]:.2f} times as few"
        )
    sys.exit(error > AIM_ERROR or ratio < AIM_RATIO)


if __name__ == "__main__":
    main()
