#!/usr/bin/env python3
"""Loading: images/s and bytes read an image of every loader, in turn, in one run, warm page cache.

    scripts/bench_loaders.py DATASET [--work FOLDER] [--rounds 5] [--workers 2] [--only TEXT ...]

DATASET is an ImageFolder. Its JPEGs are put in other forms once, in FOLDER (a temporary one by
default): losslessly progressive files, the same cut after five scans and after one, PCR datasets
with the default and the spectral scan script. Files that a conversion would encode anew are left
out, so that all loaders read the same photos. Every loader makes the same batches from them: random
resized crops of 224 pixels, flipped, uint8, batches of 64, the same threads.

A round runs each variant once, for an epoch; the first epoch of each warms the cache and is not
counted. images/s are those of all batches but the first, over the time since the first arrived.
CPU is the processor time of an image, over all threads and workers: it holds also where other work
takes part of the machine. Shown are medians over the rounds, and of the ratios within each round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from dl2cli.dataset.discovery import discover
from dl2cli.dataset.location import is_pcr_dataset
from dl2cli.loaders import Loader, LoaderConfig, create_loader
from dl2cli.loaders.registry import has_dali
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.scan_script import DEFAULT, SPECTRAL
from dl2cli_native import _core

END_MARKER = b"\xff\xd9"
_WHOLE = ("originals", "progressive")
RATIOS = (
    ("jpeg originals", "dali-cpu originals"),
    ("jpeg originals", "pytorch originals"),
    ("pcr k=10", "jpeg originals"),
    ("pcr k=10", "dali-cpu originals"),
    ("pcr k=5", "dali-cpu originals"),
    ("pcr k=1", "dali-cpu originals"),
    ("pcr k=5", "pytorch originals"),
    ("pcr k=10", "dali-cpu progressive"),
    ("pcr k=1", "dali-cpu 1 scan"),
)


@dataclass
class Variant:
    """One loader on one form of the photos."""

    name: str
    loader: Loader
    rates_img_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    bytes_an_image: float = 0.0

    def run(self, epoch: int, *, count: bool) -> None:
        """Load an epoch."""
        self.loader.set_epoch(epoch)
        images = bytes_read = 0
        start = None
        cpu_s = processor_seconds()
        for batch in self.loader:
            bytes_read += batch.bytes_read
            images += len(batch)
            if start is None:
                start, first = time.perf_counter(), images
        if count and start is not None:
            self.rates_img_s.append((images - first) / (time.perf_counter() - start))
            self.cpu_ms.append(1000 * (processor_seconds() - cpu_s) / images)
            self.bytes_an_image = bytes_read / images


@dataclass(frozen=True)
class Plan:
    """A variant to be made."""

    loader: str
    form: str
    data: Path
    scans: int | None = None
    smoothing: bool = False

    @property
    def name(self) -> str:
        """The loader and the form of the photos."""
        return f"{self.loader} {self.form}".strip()

    def variant(self, workers: int) -> Variant:
        """Make the loader."""
        config = LoaderConfig(
            self.data, workers=workers, scans=self.scans, smoothing=self.smoothing
        )
        return Variant(self.name, create_loader(self.loader, config))


def processor_seconds() -> float:
    """Return the processor time of this process and of its workers that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def write_forms(source: Path, work: Path) -> dict[str, Path]:
    """Write the photos as progressive files: whole, and cut after five scans and after one.

    The originals are linked, so that what cannot be transcoded is left out of all forms.
    """
    folders = {"progressive": None, "5 scans": 5, "1 scan": 1}
    script = [(list(scan.components), scan.ss, scan.se, scan.ah, scan.al) for scan in DEFAULT.scans]
    originals = work / "originals"
    left_out = 0
    for file in discover(source).jpegs():
        name = file.relative_to(source)
        link = originals / name
        if link.exists():
            continue
        try:
            fragments = _core.transcode(file.read_bytes(), script).fragments
        except _core.DataError:
            left_out += 1
            continue
        for form, scans in folders.items():
            target = work / form.replace(" ", "_") / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"".join(fragments[:scans]) + END_MARKER)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    if left_out:
        print(f"{left_out} files are left out: they cannot be transcoded without loss")
    return {"originals": originals} | {form: work / form.replace(" ", "_") for form in folders}


def make_variants(source: Path, work: Path, workers: int, only: list[str]) -> list[Variant]:
    """Prepare the forms of the photos and a loader for each variant."""
    files = write_forms(source, work)
    for script in (DEFAULT, SPECTRAL):
        out = work / f"pcr-{script.name}"
        if not is_pcr_dataset(out):
            convert(ConvertConfig(files["originals"], out, images_per_record=128, script=script))
    plans = [Plan("synthetic", "", files["originals"])]
    plans += [Plan(name, form, files[form]) for name in ("pytorch", "jpeg") for form in _WHOLE]
    if has_dali():
        plans += [Plan("dali-cpu", name, path) for name, path in files.items()]
        plans += [Plan("pcr-dali", f"k={k}", work / "pcr-default", k) for k in (1, 5, 10)]
    plans += [Plan("pcr", f"k={k}", work / "pcr-default", k) for k in (1, 2, 5, 7, 10)]
    plans += [
        Plan("pcr", f"k={k}, smoothing", work / "pcr-default", k, smoothing=True) for k in (1, 2, 5)
    ]
    plans.append(Plan("pcr", "spectral, all scans", work / "pcr-spectral"))
    wanted = [plan for plan in plans if not only or any(text in plan.name for text in only)]
    return [plan.variant(workers) for plan in wanted]


def ratio(above: list[float], below: list[float]) -> float:
    """Return the median of the ratios within each round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[], help="variants whose name has such a text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        variants = make_variants(options.dataset, work, options.workers, options.only)
        for epoch in range(options.rounds + 1):
            for variant in variants:
                variant.run(epoch, count=epoch > 0)
    print(f"{'':26} {'images/s':>9} {'min':>7} {'max':>7} {'CPU ms/image':>13} {'bytes/image':>12}")
    for variant in variants:
        rates = variant.rates_img_s
        print(
            f"{variant.name:26} {statistics.median(rates):9.0f} {min(rates):7.0f}"
            f" {max(rates):7.0f} {statistics.median(variant.cpu_ms):13.2f}"
            f" {variant.bytes_an_image:12.0f}"
        )
    by_name = {variant.name: variant for variant in variants}
    print()
    for name, other in RATIOS:
        if name in by_name and other in by_name:
            a, b = by_name[name], by_name[other]
            wall, cpu = ratio(a.rates_img_s, b.rates_img_s), ratio(b.cpu_ms, a.cpu_ms)
            print(f"{name} / {other}: {wall:.2f} by the clock, {cpu:.2f} by CPU")


if __name__ == "__main__":
    main()
