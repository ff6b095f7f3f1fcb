"""Differential stall analysis: three runs of the real thing, and what their differences mean.

Source: Mohan, Phanishayee, Raniwala and Chidambaram, "Analyzing and mitigating data stalls in DNN
training", VLDB 2021, section 4 (DS-Analyzer). The same training is run with data that costs
nothing (synthetic), with data that is in memory (cached), and with data from storage (cold, or
throttled). What cached takes longer than synthetic is the prep stall: the accelerator waits for
decoding. What cold takes longer than cached is the fetch stall: it waits for storage.

Accelerator utilisation (AU) is computed as in MLPerf Storage (Submission Guidelines v2.0, section
4)::

    AU = total compute time / total running time

where the running time leaves out the wait for the first step, which the rate includes. MLPerf's
loaders decode nothing; here the running time includes the waits for decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dl2cli.bench.probes.timed_run import RunTimes
from dl2cli.bench.statistics import Spread

MLPERF_STEPS = 500  # an epoch has at least so many steps there


@dataclass(frozen=True)
class Stalls:
    """Where the time of an image goes, in seconds; the three parts add up to `total_s`.

    Attributes:
        compute_s: seconds of the synthetic run.
        prep_s: stall for decoding; 0 where the cached run was not slower.
        fetch_s: stall for storage; 0 where the cold run was not slower.
        total_s: seconds of the cold run, or of the slowest of the three.
        au: accelerator utilisation of the cold run, 0 to 1.
        steps: how many steps the utilisation was measured over.
    """

    compute_s: float
    prep_s: float
    fetch_s: float
    total_s: float
    au: float
    steps: int

    @property
    def shares(self) -> tuple[float, float, float]:
        """Return the shares of compute, prep stall and fetch stall in the total."""
        return tuple(s / self.total_s for s in (self.compute_s, self.prep_s, self.fetch_s))  # type: ignore[return-value]


def differential(
    synthetic_s: float, cached_s: float, cold_s: float, cold_runs: Sequence[RunTimes]
) -> Stalls:
    """Split the time of an image.

    Args:
        synthetic_s: seconds an image of the synthetic run.
        cached_s: seconds an image of the cached run.
        cold_s: seconds an image of the cold (or throttled) run.
        cold_runs: the runs behind `cold_s`, for the utilisation.
    """
    prep_s = max(cached_s - synthetic_s, 0.0)
    fetch_s = max(cold_s - max(cached_s, synthetic_s), 0.0)
    return Stalls(
        compute_s=synthetic_s,
        prep_s=prep_s,
        fetch_s=fetch_s,
        total_s=synthetic_s + prep_s + fetch_s,
        au=Spread.of(utilisation(times, synthetic_s) for times in cold_runs).median,
        steps=max(times.batches for times in cold_runs),
    )


def utilisation(times: RunTimes, compute_s: float) -> float:
    """Return the accelerator utilisation of a run, 0 to 1.

    In a run of one step the wait for that step counts: without it, AU would always be 1.

    Args:
        times: what the run took.
        compute_s: seconds of compute an image, when data costs nothing.
    """
    running_s = times.wall_s - (times.first_batch_s if times.batches > 1 else 0.0)
    return min(times.images * compute_s / max(running_s, 1e-9), 1.0)
