"""Makes the model of the predictions from what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dl2cli import pcr
from dl2cli.bench.config import BenchConfig
from dl2cli.bench.model.pipeline import MAX_IMAGES, EpochShape
from dl2cli.bench.model.rates import Cost, EpochModel
from dl2cli.bench.probes.compute import ComputeResult
from dl2cli.bench.probes.loader import EPOCH, LoadResult
from dl2cli.bench.probes.loader_variant import LoaderVariant, bytes_per_image
from dl2cli.cores import usable_cores
from dl2cli.loaders import Loader
from dl2cli.loaders.records import fetch_threads

_IDLE = 0.5  # of its time: such an accelerator does not hold decoding up


def epoch_shape(loader: Loader, config: BenchConfig, variant: LoaderVariant) -> EpochShape:
    """Return the order in which a loader reads and decodes, at all fidelities."""
    order = loader.order.epoch(EPOCH)
    count = min(len(order), MAX_IMAGES)
    in_worker = not variant.reads_records
    visits = order.visits[: int(order.visit[:count].max()) + 1]
    sizes: dict[int | None, Sequence[float]] = {}
    if in_worker:
        sizes[None] = [bytes_per_image(variant)[None]] * len(visits)
    else:
        dataset = pcr.open(variant.data)
        for scans in range(1, dataset.groups + 1):
            sizes[scans] = [float(sum(dataset.records[v].lengths[: scans + 1])) for v in visits]
    return EpochShape(
        batch_size=config.batch_size,
        visit=order.visit[:count].astype(np.int64),
        visit_bytes=sizes,
        max_visits=loader.order.max_records,
        prefetch=loader.config.prefetch,
        fetchers=variant.workers if in_worker else fetch_threads(loader.config),
        in_worker=in_worker,
        workers=variant.workers,
    )


def calibrate_model(
    loader: Loader,
    config: BenchConfig,
    target: LoaderVariant,
    *,
    warm: Sequence[LoadResult],
    trained: Sequence[LoadResult],
    compute: ComputeResult,
) -> EpochModel:
    """Make the model of the target variant and its other fidelities.

    Args:
        loader: the loader of the target.
        config: the options of the measurement.
        target: the variant that the verdict is about.
        warm: loaders alone, from the page cache, at some fidelities.
        trained: loaders with the training step, from the page cache.
        compute: the training step alone.
    """
    shape = epoch_shape(loader, config, target)
    alone = [r for r in warm if _same(r.variant, target)]
    costs = _costs(bytes_per_image(target), alone, _decoding_bound(trained, compute))
    if shape.in_worker:  # what a worker decodes, it has fetched in the same time
        costs = {k: replace(cost, fetch_s_per_byte=0.0) for k, cost in costs.items()}
    model = EpochModel(
        shape=shape,
        costs=costs,
        images=loader.image_count,
        cores=min(target.workers, usable_cores()),
        compute_s=compute.compute_s,
        shares_cores=compute.shares_cores,
    )
    shares = [
        1 / (r.rate_img_s.median * (costs[r.variant.scans].decode_s + compute.compute_s))
        for r in trained
    ]
    sharing = float(np.median(shares)) if shares and compute.shares_cores else 1.0
    return replace(model, sharing=sharing)


def _same(variant: LoaderVariant, target: LoaderVariant) -> bool:
    return (variant.loader, variant.workers) == (target.loader, target.workers)


def _costs(
    per_image: dict[int | None, float], warm: Sequence[LoadResult], trained: Sequence[LoadResult]
) -> dict[int | None, Cost]:
    """Return the cost at each fidelity; what was not measured lies between what was, by bytes."""
    runs: dict[int | None, list[float]] = {r.variant.scans: [] for r in warm}
    for result in (*warm, *trained):
        runs[result.variant.scans] += result.rate_img_s.runs
    measured = {k: 1 / float(np.median(rates)) for k, rates in runs.items()}
    each_byte = float(np.median([_per_byte(r) for r in warm]))
    known = sorted((per_image[k], decode_s) for k, decode_s in measured.items())
    sizes, seconds = zip(*known, strict=True)
    return {
        k: Cost(k, size, float(np.interp(size, sizes, seconds)), each_byte, measured=k in measured)
        for k, size in per_image.items()
    }


def _decoding_bound(trained: Sequence[LoadResult], compute: ComputeResult) -> Sequence[LoadResult]:
    """Return the runs with a step elsewhere that is so fast that they measure decoding, too."""
    if compute.shares_cores:
        return ()
    return [r for r in trained if r.rate_img_s.high < _IDLE * compute.rate_img_s.median]


def _per_byte(result: LoadResult) -> float:
    return 1 / result.fetch_bytes_s if result.fetch_bytes_s else 0.0
