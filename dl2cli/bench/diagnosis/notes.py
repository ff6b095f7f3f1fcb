"""What a reader of the figures must know: a noisy machine, a cold run that was not cold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import psutil

from dl2cli.bench.diagnosis.bottleneck import Verdict
from dl2cli.bench.diagnosis.derived import stalls_of
from dl2cli.bench.diagnosis.stalls import MLPERF_STEPS
from dl2cli.bench.measured import Measured, TrainedVariant
from dl2cli.bench.probes.compute import ComputeResult
from dl2cli.bench.probes.loader_variant import bytes_per_image
from dl2cli.bench.statistics import Spread
from dl2cli.stores.path import is_remote

_AU: Final = "AU counts decoding as waiting, unlike MLPerf Storage's, whose loaders decode nothing."
BUSY: Final = 0.3  # share of the cores that others used before the measurement began


def make_notes(measured: Measured, verdict: Verdict | None) -> tuple[str, ...]:
    """Return sentences, the weightiest first."""
    notes = [*_noise(measured), *measured.remarks]
    if verdict is not None and not verdict.certain:
        notes.append("The verdict is not certain: runs differ by more than the gain that it names.")
    if measured.trained:
        notes += _cache(measured)
    if measured.target is not None and measured.compute is not None:
        notes += _target(measured, measured.target, measured.compute)
    if measured.trained:  # also of a measurement that was interrupted: the table has AU
        notes.append(_AU)
    return tuple(notes)


def _noise(measured: Measured) -> Iterator[str]:
    spreads = list(_spreads(measured))
    noisy = [each for each in spreads if each[1].noisy]
    if noisy:
        name, worst = max(noisy, key=lambda each: each[1].relative)
        yield (
            f"This machine is noisy: {len(noisy)} of {len(spreads)} measurements differ by more "
            f"than 10 % between rounds (marked !), {name} by {worst.relative:.0%}. Close what else "
            "runs here, or raise --repeat."
        )
    if measured.config.repeat == 1:
        yield "Each run was measured once: how much it varies is not known."
    if measured.machine.load > BUSY * measured.machine.cores:
        yield (
            "Others used this machine before the measurement began: load "
            f"{measured.machine.load:.1f} on {measured.machine.cores} cores."
        )


def _cache(measured: Measured) -> Iterator[str]:
    if measured.config.throttle:
        return
    if any(each.cold.served == "page cache" for each in measured.trained):
        yield (
            "The cold runs were served from a cache below or in this kernel, not from the device: "
            "they say nothing of storage."
        )
    target = measured.plan.target
    if is_remote(target.data):
        yield (
            "Cached runs had the store's answers in memory; no epoch of a training has that. "
            "`dl2 train --cache-dir` keeps the first scan groups of every record on a local disk."
        )
        return
    size = bytes_per_image(target)[target.scans] * measured.images
    if size < psutil.virtual_memory().available / 2:
        yield (
            f"The dataset ({size / 1e6:,.0f} MB) fits into this machine's memory: epochs after the "
            "first read it from the page cache, and run as the cached runs do."
        )


def _target(measured: Measured, target: TrainedVariant, compute: ComputeResult) -> Iterator[str]:
    if target.variant.is_custom:
        yield (
            f"{target.variant.loader} was run as it is, {measured.config.batch_size} images a "
            "batch; the start of its workers is part of each run. What it reads it does not tell: "
            "its bytes are those of the dataset's files."
        )
    if measured.untrained:
        left_out = ", ".join(f"k={variant.scans}" for variant in measured.untrained)
        yield (
            f"Loading alone at {left_out} is more than 5 times as fast as the training step: it "
            "was not run with the step, because it can make no difference."
        )
    if not target.cold.whole_epoch:
        yield (
            f"Runs of {target.variant.name} were cut to {target.cold.images:,} of "
            f"{measured.images:,} images; verdict and predictions are for a whole epoch, by the "
            "model. Raise --seconds to measure more."
        )
    if compute.shares_cores:
        yield (
            "The model computes on the CPU, on the decoders' cores: the prep stall includes what "
            "decoding takes from it. --compute-rate shows what an accelerator elsewhere would see."
        )
    steps = stalls_of(target, compute).steps
    if steps < MLPERF_STEPS:
        run_s = target.cold.images / target.cold.rate_img_s.median
        share = min(target.cold.first_batch_s / run_s, 1)
        what = f"{steps} steps, without the wait for the first ({share:.0%} of the run)"
        if steps == 1:
            what = f"a single step, with the wait for it ({share:.0%} of the run)"
        yield f"AU was measured over {what}; MLPerf Storage asks for {MLPERF_STEPS} steps."


def _spreads(measured: Measured) -> Iterator[tuple[str, Spread]]:
    for result in measured.loading:
        yield f"{result.variant.name} alone", result.rate_img_s
    for each in measured.trained:
        yield f"{each.variant.name} cached", each.warm.rate_img_s
        yield f"{each.variant.name} {each.cold.condition}", each.cold.rate_img_s
    if measured.compute is not None:
        yield "the model's step", measured.compute.rate_img_s
