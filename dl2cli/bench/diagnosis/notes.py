"""What a reader of the figures must know: a noisy machine, a cold run that was not cold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import psutil

from dl2cli.bench.diagnosis import derived as evidence
from dl2cli.bench.diagnosis.bottleneck import Verdict
from dl2cli.bench.diagnosis.derived import Trained
from dl2cli.bench.diagnosis.stalls import MLPERF_STEPS
from dl2cli.bench.probes.loader_variant import bytes_per_image
from dl2cli.bench.statistics import Spread

if TYPE_CHECKING:
    from dl2cli.bench.run import Measurement

BUSY: Final = 0.3  # of the cores, by others, before the measurement began


def make_notes(
    m: Measurement, trained: Sequence[Trained], verdict: Verdict | None
) -> tuple[str, ...]:
    """Return sentences, the weightiest first."""
    notes = [*_noise(m, trained), *m.notes]
    if verdict is not None and not verdict.certain:
        notes.append("The verdict is not certain: runs differ by more than the gain that it names.")
    if trained:
        notes += [*_cache(m, trained), *_subject(m, trained[-1])]
    return tuple(notes)


def _noise(m: Measurement, trained: Sequence[Trained]) -> Iterator[str]:
    spreads = list(_spreads(m, trained))
    noisy = [each for each in spreads if each[1].noisy]
    if noisy:
        name, worst = max(noisy, key=lambda each: each[1].relative)
        yield (
            f"This machine is noisy: {len(noisy)} of {len(spreads)} measurements differ by more "
            f"than 10 % between rounds (marked !), {name} by {worst.relative:.0%}. Close what else "
            "runs here, or raise --repeat."
        )
    if m.config.repeat == 1:
        yield "Each run was measured once: how much it varies is not known."
    if m.machine.load > BUSY * m.machine.cores:
        yield (
            f"Others used this machine before the measurement began: load {m.machine.load:.1f} on "
            f"{m.machine.cores} cores."
        )


def _cache(m: Measurement, trained: Sequence[Trained]) -> Iterator[str]:
    if m.config.throttle:
        return
    if any(each.cold.served == "page cache" for each in trained):
        yield (
            "The cold runs were served from a cache below or in this kernel, not from the device: "
            "they say nothing of storage."
        )
    subject = m.plan.subject
    size = bytes_per_image(subject)[subject.scans] * m.images
    if size < psutil.virtual_memory().available / 2:
        yield (
            f"The dataset ({size / 1e6:,.0f} MB) fits into this machine's memory: epochs after the "
            "first read it from the page cache, and run as the cached runs do."
        )


def _subject(m: Measurement, subject: Trained) -> Iterator[str]:
    if m.untrained:
        left_out = ", ".join(f"k={reading.scans}" for reading in m.untrained)
        yield (
            f"Loading alone at {left_out} is more than 5 times as fast as the step: it was not run "
            "with it, because it can make no difference."
        )
    if not subject.cold.whole_epoch:
        yield (
            f"Runs of {subject.probe.reading.name} were cut to {subject.cold.images:,} of "
            f"{m.images:,} images; verdict and predictions are of a whole epoch, by the model. "
            "Raise --seconds to measure more."
        )
    if m.compute.result().shares_cores:
        yield (
            "The model computes on the CPU, on the decoders' cores: the prep stall includes what "
            "decoding takes from it. --compute-rate shows what an accelerator elsewhere would see."
        )
    if subject.stalls.steps < MLPERF_STEPS:
        wait_s, run_s = (
            subject.cold.first_batch_s,
            subject.cold.images / subject.cold.rate_img_s.median,
        )
        what = f"{subject.stalls.steps} steps, without the wait for the first"
        if subject.stalls.steps == 1:
            what = "a single step, with the wait for it"
        yield (
            f"AU is of {what} ({min(wait_s / run_s, 1):.0%} of the run); MLPerf Storage asks for "
            f"{MLPERF_STEPS} steps."
        )


def _spreads(m: Measurement, trained: Sequence[Trained]) -> Iterator[tuple[str, Spread]]:
    for result in evidence.loading(m):
        yield f"{result.reading.name} alone", result.rate_img_s
    for each in trained:
        yield f"{each.warm.reading.name} cached", each.warm.rate_img_s
        yield f"{each.cold.reading.name} {each.cold.condition}", each.cold.rate_img_s
    if m.compute.measured:
        yield "the model's step", m.compute.result().rate_img_s
