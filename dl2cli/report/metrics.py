"""The definitions: what is computed from a run's log.

Means over epochs exclude the first `drop_first` epochs of each file (default 1: the first epoch
meets a cold cache), so of each stage in a regimen; deviations are sample deviations (ddof 1).
Every quotient is a total over a total, or a mean over a mean: the mean of the logged
per-iteration speeds is kept (`rate_speedmean_img_s`) only to show how wrong it gets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace

from dl2cli.report.model import (
    NO_STORE,
    CodecRun,
    Epoch,
    RegimenRun,
    StandaloneRun,
    Step,
    StoreUse,
    TrainingRun,
)
from dl2cli.report.read.values import finite

# The published notebooks divide by all of ImageNet, training and validation.
NOTEBOOK_DATASETS = ("imagenet", "synthetic")
NOTEBOOK_TRAIN, NOTEBOOK_VAL = 1_281_167, 50_000


@dataclass(frozen=True, slots=True)
class Images:
    """Images an epoch (the mean, where stages differ); None where no source tells."""

    train: float | None = None
    val: float | None = None


@dataclass(frozen=True, slots=True)
class Timing:
    """How fast a run was. Seconds are per epoch (`epoch_*`) or per training iteration."""

    epochs_done: int = 0
    epoch_first_s: float | None = None
    epoch_mean_s: float | None = None
    epoch_std_s: float | None = None
    epoch_min_s: float | None = None
    epoch_max_s: float | None = None
    epoch_sum_s: float | None = None  # of all epochs, the first included
    images_train: float | None = None
    images_val: float | None = None
    rate_epoch_img_s: float | None = None  # (training + validated images) / mean epoch time
    rate_notebook_img_s: float | None = None  # as the published notebooks do it
    rate_train_img_s: float | None = None  # global batch / mean iteration time
    rate_speedmean_img_s: float | None = None  # mean of per-iteration speeds: wrong, a detector
    data_s: float | None = None  # waiting for a batch, mean an iteration
    fetch_stall_s: float | None = None
    prep_stall_s: float | None = None
    compute_s: float | None = None
    iteration_s: float | None = None
    stall_frac: float | None = None  # data_s / iteration_s: a lower bound of the stall
    stall_frac_first: float | None = None
    steps: int = 0  # T records of the whole run
    steps_last_iteration: int | None = None
    steps_data_s: float | None = None
    steps_compute_s: float | None = None
    steps_iteration_s: float | None = None
    steps_stall_frac: float | None = None
    v_data_s: float | None = None
    v_iteration_s: float | None = None
    startup_s: float | None = None  # before the first epoch
    bytes_per_image: float | None = None
    store: StoreUse = NO_STORE  # means over epochs


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How well a run learned; epochs are 1-based, of ties the first counts."""

    best_top1_pct: float | None = None
    best_top1_epoch: int | None = None
    top5_at_best_top1_pct: float | None = None
    best_top5_pct: float | None = None
    best_top5_epoch: int | None = None
    final_top1_pct: float | None = None
    final_top5_pct: float | None = None
    summary_top1_pct: float | None = None
    summary_top5_pct: float | None = None
    final_train_top1_pct: float | None = None
    final_train_loss: float | None = None


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the finite values, or None."""
    kept = [v for value in values if (v := finite(value)) is not None]
    return math.fsum(kept) / len(kept) if kept else None


def sample_std(values: Iterable[float | None]) -> float | None:
    """Return the deviation with n - 1, or None for fewer than two values."""
    kept = [v for value in values if (v := finite(value)) is not None]
    if len(kept) < 2:
        return None
    centre = math.fsum(kept) / len(kept)
    return math.sqrt(math.fsum((v - centre) ** 2 for v in kept) / (len(kept) - 1))


def standard_error(values: Iterable[float | None]) -> float | None:
    """Return the standard error of the mean, or None for fewer than two values."""
    kept = [v for value in values if (v := finite(value)) is not None]
    deviation = sample_std(kept)
    return None if deviation is None else deviation / math.sqrt(len(kept))


def ratio(over: float | None, under: float | None) -> float | None:
    """Return over / under, or None where that is not a finite number."""
    if over is None or under is None or under == 0:
        return None
    return finite(over / under)


def total(values: Iterable[float | None]) -> float | None:
    """Return the sum of the finite values, or None when there is none."""
    kept = [v for value in values if (v := finite(value)) is not None]
    return math.fsum(kept) if kept else None


def training_timing(run: TrainingRun | RegimenRun, images: Images, drop_first: int = 1) -> Timing:
    """Compute the timing of a training, or of a regimen over its stages pooled."""
    stages = run.stages if isinstance(run, RegimenRun) else (run,)
    everything = [epoch for stage in stages for epoch in stage.epochs]
    if not everything:
        return Timing(images_train=images.train, images_val=images.val)
    kept = _whole([epoch for stage in stages for epoch in stage.epochs[drop_first:]])
    times = [t for epoch in kept if (t := finite(epoch.total_s)) is not None]
    epoch_mean = mean(times)
    iteration_s = mean(epoch.iteration_s for epoch in kept)
    data_s = mean(epoch.data_s for epoch in kept)
    val = images.val if any(stage.validated for stage in stages) else 0
    timing = Timing(
        epochs_done=sum(epoch.total_s is not None for epoch in everything),
        epoch_first_s=everything[0].total_s,
        epoch_mean_s=epoch_mean,
        epoch_std_s=sample_std(times),
        epoch_min_s=min(times, default=None),
        epoch_max_s=max(times, default=None),
        epoch_sum_s=total(epoch.total_s for epoch in everything),
        images_train=images.train,
        images_val=val,
        rate_train_img_s=ratio(run.setup.global_batch, iteration_s),
        rate_speedmean_img_s=mean(epoch.iteration_speed_img_s for epoch in kept),
        data_s=data_s,
        fetch_stall_s=mean(epoch.fetch_stall_s for epoch in kept),
        prep_stall_s=mean(epoch.prep_stall_s for epoch in kept),
        compute_s=mean(epoch.compute_s for epoch in kept),
        iteration_s=iteration_s,
        stall_frac=ratio(data_s, iteration_s),
        stall_frac_first=ratio(everything[0].data_s, everything[0].iteration_s),
        v_data_s=mean(epoch.v_data_s for epoch in kept),
        v_iteration_s=mean(epoch.v_iteration_s for epoch in kept),
        startup_s=_startup(stages[0]),
        bytes_per_image=ratio(mean(epoch.bytes_read for epoch in kept), images.train),
        store=StoreUse(
            *(mean(getattr(epoch.store, each.name) for epoch in kept) for each in fields(StoreUse))
        ),
    )
    steps = [
        step for stage in stages for step in _steps_after(stage.steps, stage.epochs[:drop_first])
    ]
    timing = _with_steps(timing, steps, [s for stage in stages for s in stage.steps])
    return with_rates(timing, run.setup.dataset, all(s.setup.subset_frac == 1 for s in stages))


def _whole(epochs: list[Epoch]) -> list[Epoch]:
    """Leave out epochs whose records are incomplete, unless all are: means must go together."""
    return [epoch for epoch in epochs if epoch.total_s is not None] or epochs


def _steps_after(steps: Sequence[Step], dropped: Sequence[Epoch]) -> list[Step]:
    indices = {epoch.index for epoch in dropped}
    return [step for step in steps if step.epoch not in indices]


def _with_steps(timing: Timing, kept: Sequence[Step], everything: Sequence[Step]) -> Timing:
    data_s = mean(step.data_s for step in kept)
    iteration_s = mean(step.iteration_s for step in kept)
    return replace(
        timing,
        steps=len(everything),
        steps_last_iteration=max((step.iteration for step in everything), default=None),
        steps_data_s=data_s,
        steps_compute_s=mean(step.compute_s for step in kept),
        steps_iteration_s=iteration_s,
        steps_stall_frac=ratio(data_s, iteration_s),
    )


def with_rates(timing: Timing, dataset: str | None, whole: bool) -> Timing:
    """Add the rates that need the number of images; `whole`: of the data set, not a subset."""
    rate = notebook = None
    if timing.images_train is not None and timing.images_val is not None:
        rate = ratio(timing.images_train + timing.images_val, timing.epoch_mean_s)
    if dataset in NOTEBOOK_DATASETS and whole:
        validated = timing.images_val != 0
        notebook = ratio(NOTEBOOK_TRAIN + NOTEBOOK_VAL * validated, timing.epoch_mean_s)
    return replace(timing, rate_epoch_img_s=rate, rate_notebook_img_s=notebook)


def _startup(run: TrainingRun) -> float | None:
    first = run.epochs[0]
    if first.end_s is None or first.total_s is None:
        return None
    return first.end_s - first.total_s


def training_accuracy(run: TrainingRun | RegimenRun) -> Accuracy:
    """Find the best and the last accuracies, over all stages of a regimen."""
    stages = run.stages if isinstance(run, RegimenRun) else (run,)
    epochs = [epoch for stage in stages for epoch in stage.epochs]
    if not epochs:
        return Accuracy()
    best1 = _best(epochs, lambda epoch: epoch.v_top1_pct)
    best5 = _best(epochs, lambda epoch: epoch.v_top5_pct)
    last = epochs[-1]
    summary = stages[-1].summary
    return Accuracy(
        best_top1_pct=best1.v_top1_pct if best1 else None,
        best_top1_epoch=best1.index + 1 if best1 else None,
        top5_at_best_top1_pct=finite(best1.v_top5_pct) if best1 else None,
        best_top5_pct=best5.v_top5_pct if best5 else None,
        best_top5_epoch=best5.index + 1 if best5 else None,
        final_top1_pct=finite(last.v_top1_pct),
        final_top5_pct=finite(last.v_top5_pct),
        summary_top1_pct=summary.get("v.top1"),
        summary_top5_pct=summary.get("v.top5"),
        final_train_top1_pct=finite(last.top1_pct),
        final_train_loss=finite(last.loss),
    )


def standalone_timing(run: StandaloneRun, images: Images, drop_first: int = 1) -> Timing:
    """Compute the timing of a loader without a model: all of an iteration is waiting."""
    times = run.epoch_times_s[drop_first:]
    waits = [wait for epoch in run.data_times_s[drop_first:] for wait in epoch]
    wait_s = mean(waits)
    timing = Timing(
        epochs_done=len(run.epoch_times_s),
        epoch_first_s=run.epoch_times_s[0] if run.epoch_times_s else None,
        epoch_mean_s=mean(times),
        epoch_std_s=sample_std(times),
        epoch_min_s=min(times, default=None),
        epoch_max_s=max(times, default=None),
        epoch_sum_s=total(run.epoch_times_s),
        images_train=images.train,
        images_val=0,
        rate_train_img_s=ratio(run.setup.global_batch, wait_s),
        data_s=wait_s,
        iteration_s=wait_s,
        stall_frac=1.0 if wait_s is not None else None,
        steps_last_iteration=len(run.data_times_s[0]) if run.data_times_s else None,
    )
    timing = with_rates(timing, run.setup.dataset, whole=True)
    # The notebooks count the validation images here too, which no epoch of these runs reads.
    notebook = ratio(NOTEBOOK_TRAIN + NOTEBOOK_VAL, timing.epoch_mean_s)
    known = timing.rate_notebook_img_s is not None
    return replace(timing, rate_notebook_img_s=notebook if known else None)


@dataclass(frozen=True, slots=True)
class CodecStats:
    """How fast a codec was; `rate_total_img_s` includes start-up and writing."""

    images: int | None
    times: int
    time_sum_s: float | None
    time_mean_s: float | None
    time_p50_s: float | None
    time_p99_s: float | None
    time_per_image_s: float | None  # time_sum_s / images
    rate_total_img_s: float | None  # images / wall time of the whole experiment
    rate_times_img_s: float | None  # images / time_sum_s
    bpp_mean: float | None
    shared: int = 1
    cpu_per_image_s: float | None = None
    ms_ssim_mean: float | None = None
    psnr_mean_db: float | None = None


def codec_stats(run: CodecRun, images: int | None) -> CodecStats:
    """Compute a codec's figures; `images` None: the count of times, where they are per image."""
    if images is None and run.time_key != "batch_times":
        images = len(run.times_s)
    ordered = sorted(run.times_s)
    time_sum = total(ordered)
    return CodecStats(
        images=images,
        times=len(ordered),
        time_sum_s=time_sum,
        time_mean_s=mean(ordered),
        time_p50_s=quantile(ordered, 0.5),
        time_p99_s=quantile(ordered, 0.99),
        time_per_image_s=ratio(time_sum, images),
        rate_total_img_s=ratio(images, run.total_s),
        rate_times_img_s=ratio(images, time_sum),
        bpp_mean=mean(run.bpp),
        shared=run.shared,
        cpu_per_image_s=mean(run.cpu_s),
        ms_ssim_mean=mean(run.ms_ssim),
        psnr_mean_db=mean(run.psnr_db),
    )


def quantile(ordered: Sequence[float], fraction: float) -> float | None:
    """Return the nearest-rank quantile of sorted values, as the published logger takes it."""
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, max(0, math.ceil(fraction * len(ordered)) - 1))]


def _best(epochs: Sequence[Epoch], value: Callable[[Epoch], float | None]) -> Epoch | None:
    known = [epoch for epoch in epochs if finite(value(epoch)) is not None]
    return max(known, key=lambda epoch: value(epoch) or 0.0, default=None)
