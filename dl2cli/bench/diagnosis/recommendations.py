"""What to change, ranked by what it is predicted to gain, each with the command that does it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from dl2cli import pcr
from dl2cli.bench.config import BenchConfig
from dl2cli.bench.model.pipeline import long_run_rate, rate
from dl2cli.bench.model.rates import Cost, EpochModel
from dl2cli.bench.model.scenario import Scenario
from dl2cli.bench.probes.alternatives import Alternative
from dl2cli.bench.probes.loader import LoadResult
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.cores import usable_cores
from dl2cli.dataset.location import is_pcr_dataset

WORTH: Final = 1.05  # a smaller gain is within what measurements here vary by
SMALL_RECORD: Final = 128  # images
_LONG_EPOCH: Final = 64  # fetches; a pipeline this long has filled


@dataclass(frozen=True)
class Recommendation:
    """A change and what it brings.

    Attributes:
        change: what to do, and what it costs otherwise.
        gain: predicted throughput over the present one.
        rate_img_s: predicted images/s.
        command: the command that applies it, or None where none can.
        basis: where the prediction comes from.
    """

    change: str
    gain: float
    rate_img_s: float
    command: str | None
    basis: str


@dataclass(frozen=True)
class Advice:
    """What recommendations are made from.

    Attributes:
        config: what was measured, and how.
        target: the loader variant as it is.
        model: the calibrated model of an epoch.
        now: the situation as measured.
        warm: loaders alone, from the page cache.
        alternatives: other forms of the data.
        rate_img_s: images/s of the target, as measured.
    """

    config: BenchConfig
    target: LoaderVariant
    model: EpochModel
    now: Scenario
    warm: Sequence[LoadResult]
    alternatives: Sequence[Alternative]
    rate_img_s: float


def recommend(advice: Advice) -> tuple[Recommendation, ...]:
    """Return the changes that are worth it, the largest gain first."""
    makers = (_fewer_scans, _more_workers, _other_loaders, _other_forms, _records, _storage)
    found = [r for maker in makers for r in maker(advice) if r.gain >= WORTH]
    return tuple(sorted(found, key=lambda r: -r.gain))


def train_command(config: BenchConfig, variant: LoaderVariant) -> str:
    """Return the `dl2 train` command that loads as a variant does, as it was measured."""
    parts = ["dl2 train --data", shlex.quote(str(variant.data)), "--loader", variant.loader]
    if variant.scans is not None:
        parts += ["--scans", str(variant.scans)]
    parts += ["--workers", str(variant.workers)]
    if config.codec != "native":
        parts += ["--codec", config.codec]
    if config.exif_orientation != "ignore":
        parts += ["--exif-orientation", config.exif_orientation]
    return " ".join(parts)


def _make(
    advice: Advice, change: str, predicted: float, command: str | None, basis: str
) -> Recommendation:
    gain = predicted / advice.model.predict(advice.target.scans, advice.now)
    return Recommendation(change, gain, gain * advice.rate_img_s, command, basis)


def _fewer_scans(advice: Advice) -> Iterator[Recommendation]:
    target, model = advice.target, advice.model
    if target.scans is None:
        return
    fidelity = _fidelity(target.data)
    whole = model.costs[target.scans].bytes_per_image
    for scans, cost in model.costs.items():
        if scans is None or scans >= target.scans or not cost.measured:
            continue
        change = f"read {scans} of {target.scans} scan groups, {cost.bytes_per_image / whole:.0%} "
        change += f"of the bytes{fidelity.get(scans, '')}"
        command = train_command(advice.config, replace(target, scans=scans))
        predicted = model.predict(scans, advice.now)
        yield _make(advice, change, predicted, command, "pipeline model from measured rates")


def _fidelity(data: Path) -> dict[int, str]:
    """Return how good the images are at each k, if converting has measured it."""
    measured = pcr.open(data).properties.get("fidelity", ())
    try:
        return {int(f["scans"]): f", MS-SSIM {float(f['ms_ssim']):.3f}" for f in measured}
    except (TypeError, KeyError, ValueError):
        return {}


def _more_workers(advice: Advice) -> Iterator[Recommendation]:
    target, cores = advice.target, usable_cores()
    if target.workers >= cores or target.is_custom:
        return
    predicted = advice.model.predict(target.scans, replace(advice.now, cores=cores))
    change = f"decode with {cores} workers instead of {target.workers}: this machine has as many"
    command = train_command(advice.config, replace(target, workers=cores))
    yield _make(advice, change + " cores", predicted, command, "pipeline model, if workers scale")


def _other_loaders(advice: Advice) -> Iterator[Recommendation]:
    target, model = advice.target, advice.model
    ours = [each.variant.workers for each in advice.warm if not each.variant.is_custom]
    most = max(ours, default=0)
    for result in advice.warm:
        other = result.variant
        if other.loader == target.loader or other.is_custom:
            continue
        if target.is_custom:  # its workers and what it reads are its own affair
            if other.workers < most:
                continue
        elif (other.workers, other.scans) != (target.workers, target.scans):
            continue
        cost = replace(
            model.costs[target.scans],
            decode_s=1 / result.rate_img_s.median,
            bytes_per_image=result.bytes_per_image,
        )
        predicted = replace(model, costs={target.scans: cost}).predict(target.scans, advice.now)
        change = f"load with {other.loader} instead of {target.loader}"
        if target.is_custom:
            own = next(each for each in advice.warm if each.variant == target)
            change = (
                f"load with {other.name}: it gives {result.rate_img_s.median:,.0f} images/s of "
                f"this dataset, and {target.loader} {own.rate_img_s.median:,.0f}"
            )
        yield _make(
            advice,
            change,
            predicted,
            train_command(advice.config, other),
            "its rate from the page cache here",
        )


def _other_forms(advice: Advice) -> Iterator[Recommendation]:
    """Predict a converted dataset: records for files, or another scan script."""
    target, model = advice.target, advice.model
    at_hand = model.costs[target.scans]
    for other in advice.alternatives:
        cost = Cost(
            scans=target.scans,
            bytes_per_image=at_hand.bytes_per_image * other.relative_bytes,
            decode_s=at_hand.decode_s * other.relative_decode,
            fetch_s_per_byte=at_hand.fetch_s_per_byte,
        )
        converted = replace(model, costs={target.scans: cost})
        if model.shape.in_worker:
            service = converted.service(target.scans, advice.now)
            predicted = long_run_rate(cost.bytes_per_image, SMALL_RECORD, service)
        else:
            sizes = [size * other.relative_bytes for size in model.shape.visit_bytes[target.scans]]
            shape = replace(model.shape, visit_bytes={target.scans: sizes})
            predicted = replace(converted, shape=shape).predict(target.scans, advice.now)
        script = "" if other.script == "default" else f" --scan-script {other.script}"
        is_full = other.scans == other.groups
        full = "all scan groups" if is_full else f"{other.scans} of {other.groups} scan groups"
        source = "SOURCE" if is_pcr_dataset(target.data) else shlex.quote(str(target.data))
        then = replace(target, loader="pcr", data=Path("OUT"), scans=other.scans)
        what = "convert with the scan script" if script else "convert to PCR with the script"
        if other.same_as is not None:
            full += f", which gives what k = {other.same_as} gives now"
        yield _make(
            advice,
            f"{what} {other.script} and read {full}, {other.relative_bytes:.0%} of the bytes",
            predicted,
            f"dl2 convert {source} OUT{script} && {train_command(advice.config, then)}",
            f"{other.images} images converted and loaded here",
        )


def _records(advice: Advice) -> Iterator[Recommendation]:
    """Predict smaller records, where an epoch is too few of them to overlap anything."""
    target, model = advice.target, advice.model
    shape = model.shape
    if shape.in_worker or len(shape.visit_bytes[target.scans]) >= _LONG_EPOCH:
        return
    visits = -(-len(shape.visit) // SMALL_RECORD)
    whole = sum(shape.visit_bytes[target.scans])
    if visits <= len(shape.visit_bytes[target.scans]):
        return
    smaller = replace(
        shape,
        visit=np.arange(len(shape.visit)) // SMALL_RECORD,
        visit_bytes={target.scans: [whole / visits] * visits},
    )
    predicted = rate(smaller, target.scans, model.service(target.scans, advice.now))
    change = f"convert to records of {SMALL_RECORD} images: this epoch has only "
    change += f"{len(shape.visit_bytes[target.scans])}, too few to read ahead while decoding"
    command = f"dl2 convert SOURCE OUT --images-per-record {SMALL_RECORD}"
    yield _make(advice, change, predicted, command, "pipeline model")


def _storage(advice: Advice) -> Iterator[Recommendation]:
    target, model = advice.target, advice.model
    cached = model.predict(target.scans, replace(advice.now, bandwidth_bytes_s=float("inf")))
    needed = cached * model.costs[target.scans].bytes_per_image
    change = f"faster storage, or memory that holds the dataset: {needed / 1e6:.3g} MB/s feed "
    change += f"{cached:.0f} images/s"
    yield _make(advice, change, cached, None, "pipeline model")
