"""What an epoch's account means, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dl2cli.watching.account import EpochSummary
from dl2cli.watching.stages import STORAGE

# The limits of `dl2 report`: below the first the model bounds, from the second on the data.
COMPUTE_BOUND: Final = 0.05
DATA_BOUND: Final = 0.30
CPU_RULE: Final = 0.40
_OFTEN_IDLE: Final = 0.5
_FIRST: Final = (0.1, 0.5)  # the share of an epoch, and the seconds, that make a first batch slow
_FASTER_STEPS: Final = 1.1  # on kept batches: more than waiting is gained
_APART: Final = 0.05  # of a step's time, by which a straggler must wait longer than others
MODEL: Final = "the model"
LOADER: Final = "the loader"


def bottleneck(summary: EpochSummary) -> str:
    """Return what bounds the loop: MODEL, one of `stages.STAGES`, or LOADER if no more is known.

    Where little time is spent waiting although the loader's workers often have nothing to do, its
    batches come unevenly, and the model bounds all the same.
    """
    idle = summary.idle_share is not None and summary.idle_share >= _OFTEN_IDLE
    if summary.stall < (DATA_BOUND if idle else COMPUTE_BOUND) or not summary.steps:
        return MODEL
    if not summary.stages:
        return LOADER
    return max(summary.stages, key=summary.stages.__getitem__)


def verdict(summary: EpochSummary) -> str:
    """Say what the loop waits for, in a sentence or two."""
    if not summary.steps:
        return "No step ended, so nothing can be said."
    bound, stall = bottleneck(summary), summary.stall
    spent = f"{stall:.0%} of the time is spent waiting for batches"
    if bound == MODEL:
        uneven = ", which come unevenly" if stall >= COMPUTE_BOUND else ""
        return f"The model bounds this loop: {spent}{uneven}."
    how = "bounds" if stall >= DATA_BOUND else "slows down"
    name = bound[0].upper() + bound[1:]
    text = f"{name} {how} this loop: {spent}"
    if bound == LOADER:
        return f"{text}; what the loader itself waits for is not known."
    text += f", and {summary.stages[bound]:.0%} of the loader's work is {_work(bound)}"
    if place := summary.busiest.get(bound):
        state = "blocked" if summary.blocked.get(bound) else "computing"
        text += f", mostly {state} at {place}"
    return f"{text} ({summary.basis})."


def _work(stage: str) -> str:
    return "waiting for storage, the network or a sleep" if stage == STORAGE else stage


def cpu_sentence(summaries: Sequence[EpochSummary]) -> str | None:
    """Say that the CPUs are too busy, of the machine that is busiest; None where they are not.

    SPDL's optimisation guide ("Noisy Neighbour") advises to keep the CPUs below 40 %: above it the
    training loop itself grows slower, because it comes late to launching the GPU's kernels. Where
    the model computes on the CPUs, only the loader's own processes count.
    """
    shares: dict[str, float] = {}
    for each in summaries:
        share = each.cpu_share if each.on_gpu else each.workers_cpu_share
        if share is not None:
            shares[each.host] = shares.get(each.host, 0.0) + share
    if not shares or (busiest := max(shares.values())) <= CPU_RULE:
        return None
    who = "This training and its loader use" if summaries[0].on_gpu else "The loader's workers use"
    return (
        f"{who} {busiest:.0%} of the processor cores. Above 40 % the training loop itself slows "
        "down, as SPDL's guide found: the loop comes late to its own work."
    )


def straggler(summaries: Sequence[EpochSummary]) -> EpochSummary | None:
    """Return the rank that the others wait for, or None where none stands out.

    Ranks that exchange gradients take their steps together, so a rank whose data is late shows by
    its waits; where they exchange nothing, it shows by its steps.
    """
    ranks = [each for each in summaries if each.steps]
    if len(ranks) < 2:
        return None
    for cost in (_wait_s, _whole_s):
        ordered = sorted(ranks, key=cost)
        worst, next_worst = ordered[-1], ordered[-2]
        step_s = sum(_whole_s(each) for each in ranks) / len(ranks)
        if cost(worst) - cost(next_worst) > _APART * step_s:
            return worst
    return None


def _wait_s(summary: EpochSummary) -> float:
    return summary.wait_s / summary.steps


def _whole_s(summary: EpochSummary) -> float:
    return (summary.wait_s + summary.step_s) / summary.steps


def straggler_sentence(slow: EpochSummary, summaries: Sequence[EpochSummary]) -> str:
    """Name the rank that the others wait for."""
    others = [each for each in summaries if each.rank != slow.rank and each.steps]
    usual = sorted(_wait_s(each) for each in others)[len(others) // 2]
    text = f"Rank {slow.rank} ({slow.host}) is the straggler: "
    if _wait_s(slow) > max(_wait_s(each) for each in others):
        text += f"it waits {_wait_s(slow) * 1e3:.1f} ms for each batch, and the others "
        text += f"{usual * 1e3:.1f} ms"
    else:
        usual = sorted(_whole_s(each) for each in others)[len(others) // 2]
        text += f"its steps take {_whole_s(slow) * 1e3:.1f} ms, and the steps of the others "
        text += f"{usual * 1e3:.1f} ms"
    return f"{text}. Where ranks exchange gradients, all of them go at its pace. {verdict(slow)}"


def sentences(summary: EpochSummary, ranks: Sequence[EpochSummary]) -> Iterator[str]:
    """Yield everything that is worth saying of an epoch, the verdict first."""
    yield verdict(summary)
    if summary.first_batch_s > max(_FIRST[0] * summary.wall_s, _FIRST[1]):
        yield (
            f"The first batch took {summary.first_batch_s:.1f} s of the epoch's "
            f"{summary.wall_s:.1f} s: that is the start of the loader and its workers."
        )
    if summary.replay is not None:
        replay = summary.replay
        yield (
            f"A perfect loader would give {replay.rate_img_s:.0f} images/s instead of "
            f"{replay.loaded_img_s:.0f} ({replay.gain:.2f} times as many): so fast were "
            f"{replay.steps} steps on batches that were kept."
        )
        if replay.step_speedup > _FASTER_STEPS:
            yield (
                f"Only {replay.gain / replay.step_speedup:.2f} times of that are the waits: the "
                f"steps alone were {replay.step_speedup:.2f} times as fast, because the loader's "
                "workers no longer took processors from them, or because the first steps of a "
                "program warm up."
            )
    if cpu := cpu_sentence(ranks or [summary]):
        yield cpu
    if (slow := straggler(ranks)) is not None:
        yield straggler_sentence(slow, ranks)
