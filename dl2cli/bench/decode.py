"""Decoding variants of a dataset to pixels: images/s of one thread, and the processor's seconds.

The same images are taken of each variant, by their names without endings, and are in memory before
the clock starts. Variants are decoded in turn, round by round, so that a machine that is slow for a
while is slow for all. What decodes is what decodes everywhere: dl2's codec for JPEGs, Pillow for
other formats.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np

from dl2cli import pcr
from dl2cli.bench.config import BenchConfig
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.bench.probes.plan import parse_loader_variant
from dl2cli.bench.statistics import Spread
from dl2cli.dataset.discovery import discover
from dl2cli.dataset.naming import parse_variant
from dl2cli.dataset.pillow_limits import pillow_limits
from dl2cli.dataset.pixels import decode_source
from dl2cli.errors import DataError, UsageError, system_failure
from dl2cli.output_file import write_output
from dl2cli.provenance import provenance
from dl2cli_native import _core

KIND: Final = "dl2-bench-io-decoding"


@dataclass(frozen=True)
class DecodedVariant:
    """One variant.

    Attributes:
        name: as `jpeg-10`, or the folder's name.
        data: the dataset.
        scans: the fidelity of a PCR dataset, else None.
        bytes_per_image: of the sample.
        bits_per_pixel: of the sample.
        rate_img_s: images/s of one thread in each round.
        cpu_s: the processor's seconds an image.
        dec_times_s: seconds of each image, all rounds.
        cpu_times_s: the same of the processor.
        total_s: wall time of its rounds.
    """

    name: str
    data: Path
    scans: int | None
    bytes_per_image: float
    bits_per_pixel: float
    rate_img_s: Spread
    cpu_s: float
    dec_times_s: tuple[float, ...]
    cpu_times_s: tuple[float, ...]
    total_s: float


@dataclass(frozen=True)
class DecodingResult:
    """What decoding variants costs; `images` are those of each variant in a round."""

    kind: str
    images: int
    rounds: int
    variants: tuple[DecodedVariant, ...]


def decode_variants(
    config: BenchConfig,
    names: Sequence[str],
    on_round: Callable[[int, int], None] | None = None,
) -> DecodingResult:
    """Measure the decoding of variants.

    Args:
        config: `sample_images`, `repeat` and `seed` count.
        names: datasets; a PCR dataset may end in ":K", a fidelity.
        on_round: told of the rounds that are done, and of how many there are.

    Raises:
        UsageError: a name is no dataset, or two have no image in common.
        DataError: an image is damaged.
        StorageError: the system failed to read one.
    """
    variants = [parse_loader_variant(config, name) for name in names]
    listings = [_listing(variant) for variant in variants]
    common = sorted(set.intersection(*(set(each) for each in listings)))
    if not common:
        raise UsageError(
            f"{' and '.join(map(str, names))} have no image of the same class and name."
        )
    random = np.random.default_rng(config.seed)
    count = min(config.sample_images or len(common), len(common))
    chosen = [common[i] for i in sorted(random.choice(len(common), count, replace=False))]
    runs = [
        _Run(variant, _read(variant, [listing[key] for key in chosen]))
        for variant, listing in zip(variants, listings, strict=True)
    ]
    for turn in range(config.repeat + 1):  # the first one warms up and does not count
        for run in runs if turn % 2 else runs[::-1]:
            run.decode(counts=turn > 0)
        if on_round is not None:
            on_round(turn, config.repeat)
    return DecodingResult(KIND, count, config.repeat, tuple(run.result() for run in runs))


_Place = tuple[int, int] | Path  # record and slot, or a file


def _listing(variant: LoaderVariant) -> dict[str, _Place]:
    """Return where each image is, by its path without the ending."""
    if variant.reads_records:
        dataset = pcr.open(variant.data)
        return {_key(source.path): (source.record, source.slot) for source in dataset.sources()}
    return {_key(file.path): variant.data / file.path for file in discover(variant.data).files}


def _key(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _read(variant: LoaderVariant, places: Sequence[_Place]) -> list[bytes]:
    if not variant.reads_records:
        return [_read_file(place) for place in places if isinstance(place, Path)]
    dataset = pcr.open(variant.data)
    wanted = [place for place in places if isinstance(place, tuple)]
    found: dict[tuple[int, int], bytes] = {}
    for record in sorted({record for record, _ in wanted}):
        content = dataset.read(record, variant.scans)
        found |= {(r, slot): bytes(content.image(slot)) for r, slot in wanted if r == record}
    return [found[place] for place in wanted]


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise system_failure(path, error) from error


class _Run:
    """A variant's images in memory, and what their decoding took."""

    def __init__(self, variant: LoaderVariant, images: list[bytes]) -> None:
        self._variant = variant
        self._images = images
        self._pixels = 0
        self._times: list[float] = []
        self._cpu: list[float] = []
        self._rates: list[float] = []
        self._total_s = 0.0

    def decode(self, *, counts: bool) -> None:
        """Decode all images once. Raises DataError."""
        limits = _core.Limits()
        whole = not self._variant.reads_records
        self._pixels = 0
        begun = time.perf_counter()
        with pillow_limits(limits):
            for number, content in enumerate(self._images):
                cpu, wall = time.thread_time(), time.perf_counter()
                try:
                    image = decode_source(content, limits, whole_file=whole)
                except DataError as error:
                    raise DataError(
                        f"{self._variant.data}: image {number + 1} of the sample does not decode: "
                        f"{error}."
                    ) from error
                wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
                self._pixels += image.width * image.height
                if counts:
                    self._times.append(wall)
                    self._cpu.append(cpu)
        if counts:
            seconds = time.perf_counter() - begun
            self._rates.append(len(self._images) / seconds)
            self._total_s += seconds

    def result(self) -> DecodedVariant:
        """Sum up."""
        size = sum(map(len, self._images))
        return DecodedVariant(
            name=_name(self._variant),
            data=self._variant.data,
            scans=self._variant.scans,
            bytes_per_image=size / len(self._images),
            bits_per_pixel=size * 8 / max(self._pixels, 1),
            rate_img_s=Spread.of(self._rates),
            cpu_s=sum(self._cpu) / len(self._cpu),
            dec_times_s=tuple(self._times),
            cpu_times_s=tuple(self._cpu),
            total_s=self._total_s,
        )


def _name(variant: LoaderVariant) -> str:
    if variant.scans is not None:
        return f"pcr-{variant.scans}"
    folder = variant.data
    if folder.name in ("train", "val"):
        folder = folder.parent
    known = parse_variant(folder.name)
    return known.name if known else "raw"


def write_logs(config: BenchConfig, result: DecodingResult, folder: Path) -> list[Path]:
    """Write a log of each variant in the form of the published codec logs.

    `dec-st-jpeg-10/decode.json` (`st`: a single thread) has `dataset`, `total_time` (s) and
    `dec_times` (s an image) as published, and behind them `cpu_times` (s), which says that pixels
    were decoded, `bpp` and `provenance`.

    Raises:
        UsageError, StorageError: the folder cannot be written.
    """
    written = []
    for each in result.variants:
        document = {
            "dataset": str(each.data.absolute()).encode("utf-8", "backslashreplace").decode(),
            "total_time": each.total_s,
            "dec_times": each.dec_times_s,
            "cpu_times": each.cpu_times_s,
            "bpp": [each.bits_per_pixel] * len(each.dec_times_s),
            "provenance": provenance(config, data=each.data),
        }
        path = folder / f"dec-st-{each.name}" / "decode.json"
        write_output(path, json.dumps(document, allow_nan=False).encode())
        written.append(path)
    return written
