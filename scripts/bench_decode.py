#!/usr/bin/env python3
"""Decoding: what each fidelity costs and shows, by scan script, with and without block smoothing.

    scripts/bench_decode.py FOLDER [--images 80] [--rounds 5]

FOLDER is an ImageFolder of baseline JPEGs. In each round each variant decodes the same images,
whole and in turn, on one thread: the originals, and every k of the scan scripts `default` and
`spectral`, the former also with libjpeg's block smoothing, which changes nothing at full fidelity.
Shown are the medians of images/s, and of their ratio to the originals' within each round; the
bytes; and the mean PSNR and MS-SSIM to the whole image. Full fidelity is identical.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dl2cli.analysis.fidelity.metrics import ms_ssim, psnr
from dl2cli.dataset.discovery import discover
from dl2cli.pcr.scan_script import DEFAULT, SPECTRAL, ScanScript
from dl2cli_native import _core


@dataclass
class Variant:
    """The images in one form."""

    name: str
    images: list[list[bytes]]  # the fragments of each
    smoothing: bool = False
    rates_img_s: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Decode all images once."""
        start = time.perf_counter()
        for fragments in self.images:
            _core.decode(fragments, smoothing=self.smoothing)
        self.rates_img_s.append(len(self.images) / (time.perf_counter() - start))

    def bytes_an_image(self) -> float:
        """Return the mean of what a reader takes."""
        return statistics.fmean(sum(map(len, fragments)) for fragments in self.images)

    def quality(self, whole: list[list[bytes]]) -> str:
        """Return the mean PSNR and MS-SSIM to the whole images."""
        found = []
        for fragments, reference in zip(self.images, whole, strict=True):
            wanted = np.asarray(_core.decode(reference))
            shown = np.asarray(_core.decode(fragments, smoothing=self.smoothing))
            if np.array_equal(shown, wanted):
                return "identical"
            found.append((psnr(shown, wanted), ms_ssim(shown, wanted)))
        decibels, similarity = np.mean(found, axis=0)
        return f"{decibels:.2f} dB  {similarity:.4f}"


def make_variants(jpegs: list[bytes]) -> list[Variant]:
    """Transcode the images and put them in all forms."""
    variants = [Variant("originals", [[jpeg] for jpeg in jpegs])]
    for script in (DEFAULT, SPECTRAL):
        whole = [transcode(jpeg, script) for jpeg in jpegs]
        groups = len(whole[0])
        for k in range(1, groups + 1):
            prefixes = [fragments[:k] for fragments in whole]
            variants.append(Variant(f"{script.name} k={k}", prefixes))
            if script is DEFAULT and k < groups:
                variants.append(Variant(f"{script.name} k={k} smooth", prefixes, smoothing=True))
    return variants


def transcode(jpeg: bytes, script: ScanScript) -> list[bytes]:
    """Return the scans of an image."""
    scans = [(list(scan.components), scan.ss, scan.se, scan.ah, scan.al) for scan in script.scans]
    return _core.transcode(jpeg, scans).fragments


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    files = discover(options.folder).jpegs()
    step = max(len(files) // options.images, 1)
    paths = files[::step][: options.images]
    variants = make_variants([path.read_bytes() for path in paths])
    for _ in range(options.rounds):
        for variant in variants:
            variant.run()
    originals = variants[0]
    print(f"{len(paths)} images, one thread, median of {options.rounds} rounds")
    print(f"{'':20} {'images/s':>8} {'/originals':>10} {'bytes/image':>11}  PSNR, MS-SSIM")
    for variant in variants:
        pairs = zip(variant.rates_img_s, originals.rates_img_s, strict=True)
        print(
            f"{variant.name:20} {statistics.median(variant.rates_img_s):8.0f}"
            f" {statistics.median(a / b for a, b in pairs):10.2f}"
            f" {variant.bytes_an_image():11.0f}  {variant.quality(originals.images)}"
        )


if __name__ == "__main__":
    main()
