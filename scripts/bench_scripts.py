#!/usr/bin/env python3
"""Scan scripts: what quality each one gives for its bytes and its decode time.

    scripts/bench_scripts.py FOLDER [--images 60] [--rounds 3] [--script NAME|FILE ...]

FOLDER is an ImageFolder of colour JPEGs. Each photo is transcoded to each script, and decoded whole
at every k by the native codec; quality is the mean of PSNR and of MS-SSIM to the photo itself. The
first table shows every k. The second asks what a reader gets for a share of the photos' bytes: of
the scripts, where the share lies between two k, a mix of both (some images at one, some at the
other); and of photos that Pillow encodes anew, with fitted Huffman tables, as progressive JPEGs of
a lower quality, which takes a second copy of the data for each quality. Shares are of the bytes of
the photos in the script `default`, so that all rows mean the same number of bytes.

Decode times are CPU times on one thread, medians over the rounds, in which the forms take turns.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dl2cli.analysis.fidelity.metrics import ms_ssim, psnr
from dl2cli.dataset.discovery import discover
from dl2cli.pcr.scan_script import BUILT_IN, ScanScript, load
from dl2cli_native import _core

SHARES = (0.20, 0.25, 0.30, 0.40, 0.60)
QUALITIES = (10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90)
END = b"\xff\xd9"

Pixels = npt.NDArray[np.uint8]


@dataclass
class Form:
    """The photos in one form: the fragments that a reader takes of each."""

    name: str
    images: list[list[bytes]]
    psnr_db: float = 0
    ms_ssim: float = 0
    cpu_ms: list[float] = field(default_factory=list)

    @property
    def size(self) -> float:
        """The mean bytes of an image."""
        return statistics.fmean(sum(map(len, fragments)) for fragments in self.images)

    @property
    def decode_ms(self) -> float:
        """The median over the rounds of the mean CPU time of an image."""
        return statistics.median(self.cpu_ms)

    def compare(self, photos: list[Pixels]) -> None:
        """Measure the quality."""
        pairs = []
        for fragments, photo in zip(self.images, photos, strict=True):
            shown = np.asarray(_core.decode(fragments))
            same = np.array_equal(shown, photo)
            pairs.append((99.0, 1.0) if same else (psnr(shown, photo), ms_ssim(shown, photo)))
        self.psnr_db, self.ms_ssim = map(float, np.mean(pairs, axis=0))

    def decode(self) -> None:
        """Decode all images once, and note the CPU time."""
        start = time.thread_time()
        for fragments in self.images:
            _core.decode(fragments)
        self.cpu_ms.append(1e3 * (time.thread_time() - start) / len(self.images))


def read_photos(folder: Path, count: int) -> list[bytes]:
    """Return colour JPEGs from all over the folder."""
    paths = [folder / file.path for file in discover(folder).files]
    jpegs = []
    for path in paths[:: max(1, len(paths) // count)]:
        with Image.open(path) as image:
            if image.format == "JPEG" and image.mode == "RGB" and min(image.size) >= 176:
                jpegs.append(path.read_bytes())
    return jpegs[:count]


def forms_of(script: ScanScript, jpegs: list[bytes]) -> list[Form]:
    """Return the photos at each k of a script."""
    whole = [_core.transcode(jpeg, script.native).fragments for jpeg in jpegs]
    return [
        Form(f"{script.name} k={k}", [fragments[:k] for fragments in whole])
        for k in range(1, script.groups + 1)
    ]


def reencoded(photos: list[Pixels]) -> list[Form]:
    """Return the photos encoded anew at several qualities."""

    def encode(photo: Pixels, quality: int) -> list[bytes]:
        out = io.BytesIO()
        options = {"quality": quality, "optimize": True, "progressive": True}
        Image.fromarray(photo).save(out, "JPEG", **options)
        return [out.getvalue()]

    return [Form(f"jpeg:{q}", [encode(photo, q) for photo in photos]) for q in QUALITIES]


def at_share(forms: list[Form], size: float) -> tuple[float, float, float] | None:
    """Return PSNR, MS-SSIM and decode time at a number of bytes, between two forms.

    None where there is nothing to mix: PSNR has no mean with identical images.
    """
    for below, above in pairwise(forms):
        if below.size <= size <= above.size and above.ms_ssim < 1:
            part = (size - below.size) / (above.size - below.size)
            values = ((f.psnr_db, f.ms_ssim, f.decode_ms) for f in (below, above))
            mixed = [a + part * (b - a) for a, b in zip(*values, strict=True)]
            return mixed[0], mixed[1], mixed[2]
    return None


def print_forms(forms: list[Form], base: float) -> None:
    """Print a row for each form."""
    print(f"{'':16}{'bytes':>7}{'PSNR':>10}{'MS-SSIM':>9}{'decode':>10}")
    for form in forms:
        quality = (
            f"{'identical':>19}"
            if form.ms_ssim == 1
            else f"{form.psnr_db:7.2f} dB{form.ms_ssim:9.4f}"
        )
        print(f"{form.name:16}{form.size / base:7.1%}{quality}{form.decode_ms:7.2f} ms")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--script", action="append", help="also this one; may be repeated")
    options = parser.parse_args()
    jpegs = read_photos(options.folder, options.images)
    photos = [np.asarray(_core.decode([jpeg])) for jpeg in jpegs]
    scripts = [*BUILT_IN.values(), *map(load, options.script or ())]
    groups = [forms_of(script, jpegs) for script in scripts]
    groups.append(reencoded(photos))
    original = Form("original", [[jpeg] for jpeg in jpegs])
    every = [original, *(form for forms in groups for form in forms)]
    for form in every:
        form.compare(photos)
    for _ in range(options.rounds):
        for form in every:
            form.decode()
    base = groups[0][-1].size  # the whole photos in the script `default`
    print(
        f"{len(jpegs)} photos, {original.size / 1e3:.0f} kB each; {_core.codec_instruction_set()}"
    )
    print_forms(every, base)
    print("\nFor a share of the bytes")
    for share in SHARES:
        for name, forms in zip((*(s.name for s in scripts), "jpeg"), groups, strict=True):
            found = at_share(forms, share * base)
            if found is None:
                continue
            decibels, similarity, cpu_ms = found
            print(f"  {share:4.0%}  {name:14}{decibels:7.2f} dB{similarity:9.4f}{cpu_ms:7.2f} ms")


if __name__ == "__main__":
    main()
