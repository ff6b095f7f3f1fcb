#!/usr/bin/env python3
"""Conversion: the native codec beside libjpeg-turbo, in memory and from end to end.

    scripts/bench_convert.py FOLDER [--rounds 5] [--threads N] [--memory-images 200]
                             [--published-images 200]

FOLDER is an ImageFolder of JPEGs. Two tables, each of them measured in turn within a round:

1. In memory, on one thread: each image is transcoded to the default script by the native codec (on
   each instruction set that this processor has) and by libjpeg-turbo, through the same seam.
2. From end to end: `dl2 convert`, from the files to the durable dataset, with each codec; beside
   "limit", libjpeg-turbo alone transcoding the same images from memory on as many threads, with no
   files, no splitting and no checksums (scripts/transcode_limit.cpp); and beside the PCR_Release
   converter's method: a jpegtran process an image, four at once a core, then the scans are split
   and grouped with protobuf and written (on --published-images of them; 0 leaves it out).

Shown are medians over the rounds of images/s, of CPU time an image, and of the ratios within a
round. On a machine that does other work at the same time, CPU time says more than images/s. At the
end: what the native conversion spends CPU time on besides transcoding.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from published_messages import MetadataRecord, ScanGroup

from dl2cli.cores import usable_cores
from dl2cli.dataset.discovery import discover
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.scan_script import DEFAULT
from dl2cli_native import _core

ROOT = Path(__file__).parent


@dataclass
class Way:
    """One way to do the work: `run` does it once, on `images` images, and may say its seconds."""

    name: str
    images: int
    run: Callable[[], tuple[float, float] | None]
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def measure(self) -> None:
        """Do the work once, and note its wall and CPU seconds, child processes included.

        A program that also prepares its work measures and reports its own seconds.
        """
        start, cpu_start = time.perf_counter(), _cpu_s()
        told = self.run()
        wall_s, cpu_s = told or (time.perf_counter() - start, _cpu_s() - cpu_start)
        self.wall_s.append(wall_s / self.images)
        self.cpu_s.append(cpu_s / self.images)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def find_jpegs(folder: Path) -> list[Path]:
    """Return the JPEGs of an ImageFolder, whatever their endings."""

    def is_jpeg(path: Path) -> bool:
        with path.open("rb") as file:
            return file.read(3) == b"\xff\xd8\xff"

    return [path for file in discover(folder).files if is_jpeg(path := folder / file.path)]


def some_of(files: list[Path], count: int) -> list[Path]:
    """Return `count` of the files, spread over the folder."""
    return files[:: max(1, len(files) // max(1, count))][:count]


def ways_in_memory(jpegs: list[bytes]) -> list[Way]:
    """Return the codecs on one thread, libjpeg-turbo last."""

    def way(name: str, isa: str, codec: str) -> Way:
        transcoder = _core.Transcoder(DEFAULT.native, codec=codec)

        def run() -> None:
            _core.use_codec_instruction_set(isa)
            for jpeg in jpegs:
                transcoder.transcode(jpeg)

        return Way(name, len(jpegs), run)

    sets = _core.codec_instruction_sets()[::-1]
    ways = [way(f"native, {isa}", isa, "native") for isa in sets]
    return [*ways, way("libjpeg", sets[0], "libjpeg")]


def build_limit(folder: Path) -> Path:
    """Compile the limit program."""
    program = folder / "transcode_limit"
    source = ROOT / "transcode_limit.cpp"
    command = ["g++", "-O2", "-std=c++17", str(source), "-o", str(program), "-ljpeg", "-pthread"]
    subprocess.run(command, check=True)
    return program


def run_limit(program: Path, files: list[Path], threads: int) -> tuple[float, float]:
    """Return the wall and CPU seconds that libjpeg-turbo alone takes."""
    names = "\n".join(map(str, files))
    run = subprocess.run(
        [str(program), str(threads)], input=names, capture_output=True, text=True, check=True
    )
    wall_s, cpu_s = map(float, run.stdout.split())
    return wall_s, cpu_s


def run_published(files: list[Path], out: Path) -> None:
    """Convert as the PCR_Release converter does: a process an image, split, group, write."""

    def progressive(path: Path) -> bytes:
        command = ["jpegtran", "-copy", "none", "-progressive", str(path)]
        return subprocess.run(command, capture_output=True, check=True).stdout

    with ThreadPoolExecutor(4 * (os.cpu_count() or 1)) as pool:
        jpegs = list(pool.map(progressive, files))
    scans = [[jpeg[a:b] for a, b in pairwise(_core.find_scans(jpeg))] for jpeg in jpegs]
    groups = max(map(len, scans))
    metadata = MetadataRecord(labels=[0] * len(files), progressive_levels=groups)
    parts = [metadata.SerializeToString()]
    for group in range(groups):
        fragments = [each[group] if group < len(each) else b"" for each in scans]
        parts.append(ScanGroup(image_bytes=fragments).SerializeToString())
    out.write_bytes(b"".join(parts))


def ways_from_end_to_end(
    options: argparse.Namespace, files: list[Path], images: int, work: Path
) -> list[Way]:
    """Return the conversions and their limit; `images` counts those that are no JPEGs, too."""
    program = build_limit(work)
    some = some_of(files, options.published_images)
    config = ConvertConfig(options.folder, work / "out", workers=options.threads, force=True)
    native, libjpeg = (
        ConvertConfig(**{**vars(config), "codec": codec}) for codec in ("native", "libjpeg")
    )

    def run(config: ConvertConfig) -> Callable[[], None]:
        return lambda: convert(config) and None

    def published() -> None:
        run_published(some, work / "published")

    return [
        Way("dl2, native", images, run(native)),
        Way("dl2, libjpeg", images, run(libjpeg)),
        *([Way("PCR_Release", len(some), published)] if some else []),
        Way("limit", len(files), lambda: run_limit(program, files, options.threads)),
    ]


def print_table(ways: list[Way]) -> None:
    """Print medians, and the ratios to the last way."""
    base = ways[-1]

    def ratio(of: list[float], to: list[float]) -> float:
        return statistics.median(b / a for a, b in zip(of, to, strict=True))

    print(
        f"  {'':18}{'images/s':>9}  {'least to most':^15}{'CPU ms/image':>13}   x {base.name}: ",
        end="",
    )
    print("images/s, per CPU s")
    for way in ways:
        rates = [1 / seconds for seconds in way.wall_s]
        spread = f"{min(rates):.0f} to {max(rates):.0f}"
        print(
            f"  {way.name:18}{statistics.median(rates):9.0f}  {spread:^15}"
            f"{1e3 * statistics.median(way.cpu_s):13.3f}"
            f"{ratio(way.wall_s, base.wall_s):18.2f}{ratio(way.cpu_s, base.cpu_s):11.2f}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--memory-images", type=int, default=200)
    parser.add_argument("--published-images", type=int, default=200)
    options = parser.parse_args()
    for name, least in (
        ("rounds", 1),
        ("threads", 1),
        ("memory_images", 1),
        ("published_images", 0),
    ):
        if getattr(options, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    files = find_jpegs(options.folder)
    if not files:
        parser.error(f"there are no JPEGs in {options.folder}")
    jpegs = [path.read_bytes() for path in some_of(files, options.memory_images)]
    memory = ways_in_memory(jpegs)
    before = _core.codec_instruction_set()
    for _ in range(options.rounds):
        for way in memory:
            way.measure()
    _core.use_codec_instruction_set(before)
    left = [_core.transcode(jpeg, DEFAULT.native).declined != "" for jpeg in jpegs]
    size = sum(map(len, jpegs)) / len(jpegs) / 1e3
    print(f"In memory, one thread: {len(jpegs)} images, {size:.0f} kB each, of which the native")
    print(f"codec left {sum(left)} to libjpeg; medians of {options.rounds} rounds")
    print_table(memory)
    with tempfile.TemporaryDirectory() as folder:
        images = len(discover(options.folder).files)
        whole = ways_from_end_to_end(options, files, images, Path(folder))
        whole[0].run()  # warms the page cache
        for _ in range(options.rounds):
            for way in whole:
                way.measure()
    print(f"From end to end: {images} images, {options.threads} threads, {before}")
    print_table(whole)
    transcode_ms = 1e3 * statistics.median(memory[0].cpu_s)
    rest_ms = 1e3 * statistics.median(whole[0].cpu_s) - transcode_ms
    print(
        f"The native conversion spends {transcode_ms:.2f} ms of CPU an image on transcoding and "
        f"{rest_ms:.2f} ms on files, checksums and bookkeeping."
    )


if __name__ == "__main__":
    main()
