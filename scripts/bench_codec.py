#!/usr/bin/env python3
"""Decoding: dl2's native codec beside libjpeg-turbo, on one thread.

    scripts/bench_codec.py FOLDER [--images 60] [--rounds 5]

FOLDER is an ImageFolder of baseline JPEGs. Photos of 4:4:4 and of 4:2:0 are measured apart; of a
kind with fewer than ten, photos of the other are encoded again. Each image is decoded in turn by
both codecs, as it is and at k = 1, 2, 5 and 10 of the default script: to coefficients, to pixels,
and a random resized crop of it. Shown are the means over the images of the median CPU times, the
ratios, and what the ratios should be. DL2_CODEC_ISA chooses the instruction set.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dl2cli.dataset.discovery import discover
from dl2cli.environment import environment
from dl2cli.pcr.scan_script import DEFAULT
from dl2cli_native import _core

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"4:4:4": [(1, 1)] * 3, "4:2:0": [(2, 2), (1, 1), (1, 1)]}
FEW = 10
# What the ratios to libjpeg-turbo should be with AVX-512; 0.9 of it with AVX2.
GOALS = {
    "coefficients k=10": 3.5,
    "pixels k=10": 2.8,
    "pixels k=5": 2.3,
    "pixels baseline": 1.7,
}
# And those to libjpeg-turbo's decode of the baseline original.
BASELINE_GOALS = {"pixels k=10": 1.0, "crop k=10": 1.0}


@dataclass
class Photos:
    """The photos of one kind; `encoded` is how many of them were encoded for this."""

    kind: str
    jpegs: list[bytes]
    encoded: int = 0


def build() -> Path:
    """Compile the program that measures, and return it."""
    folder = ROOT / "build" / "bench"
    configure = [
        *("cmake", "-S", str(ROOT / "dl2cli_native"), "-B", str(folder)),
        *("-DDL2_PYTHON=OFF", "-DDL2_BENCH=ON", "-DCMAKE_BUILD_TYPE=Release"),
    ]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(folder), "--parallel"], check=True, capture_output=True)
    return folder / "bench_codec"


def encode(jpeg: bytes, kind: str) -> bytes:
    """Return the picture in the sampling of a kind."""
    out = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(out, "JPEG", quality=90, subsampling=kind)
    return out.getvalue()


def sort_photos(paths: list[Path], most: int) -> list[Photos]:
    """Return the photos by kind, at most so many of each."""
    found: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for path in paths:
        jpeg = path.read_bytes()
        header = _core.read_jpeg_header(jpeg)
        for kind, sampling in KINDS.items():
            if header.frame == 0 and list(header.sampling) == sampling and len(found[kind]) < most:
                found[kind].append(jpeg)
    photos = []
    for kind, jpegs in found.items():
        others = [jpeg for other, those in found.items() if other != kind for jpeg in those]
        missing = [encode(jpeg, kind) for jpeg in others] if len(jpegs) < FEW else []
        photos.append(Photos(kind, [*jpegs, *missing][:most], len(missing[: most - len(jpegs)])))
    return [each for each in photos if each.jpegs]


def measure(program: Path, photos: Photos, rounds: int) -> tuple[str, dict[str, float]]:
    """Return the instruction set, and milliseconds by measurement."""
    scans = [(list(s.components), s.ss, s.se, s.ah, s.al) for s in DEFAULT.scans]
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for number, jpeg in enumerate(photos.jpegs):
            name = Path(folder) / str(number)
            name.with_suffix(".jpg").write_bytes(jpeg)
            whole = b"".join(_core.transcode(jpeg, scans).fragments) + b"\xff\xd9"
            name.with_suffix(".pjpg").write_bytes(whole)
            names.append(str(name))
        run = subprocess.run(
            [str(program), str(rounds)],
            input="".join(f"{name}\n" for name in names),
            capture_output=True,
            text=True,
            check=True,
        )
    isa, *lines = run.stdout.splitlines()
    rows = (line.split("\t") for line in lines)
    return isa, {name: float(ms) for name, ms in rows}


def show(photos: Photos, isa: str, ms: dict[str, float]) -> None:
    """Print the table of one kind."""
    share = 1.0 if isa == "avx512" else 0.9
    size = sum(map(len, photos.jpegs)) / len(photos.jpegs) / 1000
    made = f", {photos.encoded} of them encoded again" if photos.encoded else ""
    print(f"\n{isa}, {photos.kind}: {len(photos.jpegs)} photos of {size:.0f} kB{made}")
    heads = f"{'ratio':>6} {'goal':>5} {'/baseline':>9} {'goal':>5}"
    print(f"{'':22} {'libjpeg':>9} {'native':>9} {heads}")
    for name in (key.removeprefix("native ") for key in ms if key.startswith("native ")):
        libjpeg, native = ms[f"libjpeg {name}"], ms[f"native {name}"]
        what = name.split()[0]
        goal = f"{GOALS[name] * share:.2f}" if name in GOALS else ""
        beside = f"{BASELINE_GOALS[name] * share:.2f}" if name in BASELINE_GOALS else ""
        to_baseline = ms[f"libjpeg {what} baseline"] / native
        print(
            f"{name:22} {libjpeg:6.3f} ms {native:6.3f} ms {libjpeg / native:6.2f} {goal:>5}"
            f" {to_baseline:9.2f} {beside:>5}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    program = build()
    files = [options.folder / file.path for file in discover(options.folder).files]
    here = environment()
    print(f"{here.cpu.model}; libjpeg-turbo {here.libjpeg.version if here.libjpeg else '?'}")
    for photos in sort_photos(files, options.images):
        isa, ms = measure(program, photos, options.rounds)
        show(photos, isa, ms)


if __name__ == "__main__":
    main()
