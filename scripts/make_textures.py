"""Make an ImageFolder whose classes differ in coarse colour and in fine texture.

    python scripts/make_textures.py OUT [--images 2000] [--side 112] [--seed 0]

Each of the ten classes is a pair: one of two colours of a large, soft blob, which the fewest bytes
show, and one of five textures (stripes across, upright or slanting, a grid, or dots) of random
period and contrast, which needs the higher frequencies that lossy compression takes away first. So
accuracy falls with the bytes an image has, as it does for real tasks that hang on detail. A fifth
of the images is for validation. The same arguments give the same pixels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"warm": (200, 120, 80), "cool": (80, 120, 200)}
TEXTURES = ("across", "upright", "slanting", "grid", "dots")
VALIDATION = 5  # one image in so many


def background(random: np.random.Generator, side: int) -> np.ndarray:
    """Return (side, side) of noise as photos have it: amplitude falls with frequency, -1 to 1."""
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    spectrum = np.exp(2j * np.pi * random.random((side, side))) / np.maximum(f, 1 / side) ** 1.6
    noise = np.fft.ifft2(spectrum).real
    return noise / np.abs(noise).max()


def texture(random: np.random.Generator, side: int, kind: str) -> np.ndarray:
    """Return (side, side) of a texture, -1 to 1: of the same period range for every kind."""
    period = np.exp(random.uniform(np.log(2.3), np.log(6)))
    y, x = np.mgrid[0:side, 0:side] * (2 * np.pi / period)
    a, b = random.uniform(0, 2 * np.pi, 2)
    slant = random.choice((-1, 1)) * np.pi / 4
    waves = {
        "across": np.sin(y + a),
        "upright": np.sin(x + a),
        "slanting": np.sin(x * np.cos(slant) + y * np.sin(slant) + a),
        "grid": np.maximum(np.sin(x + a), np.sin(y + b)),
        "dots": np.sin(x + a) * np.sin(y + b),
    }
    wave = waves[kind]
    return (wave - wave.mean()) / np.abs(wave).max()


def image(random: np.random.Generator, side: int, colour: str, kind: str) -> Image.Image:
    """Return one image of a class."""
    y, x = np.mgrid[0:side, 0:side] / side
    centre = random.uniform(0.3, 0.7, 2)
    blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / random.uniform(0.03, 0.1))
    other = random.uniform(90, 160, 3)
    tint = np.array(COLOURS[colour]) + random.normal(0, 30, 3)
    pixels = other + blob[..., None] * (tint - other)
    pixels += 35 * background(random, side)[..., None]
    contrast = np.exp(random.uniform(np.log(5), np.log(28)))
    pixels += contrast * texture(random, side, kind)[..., None]
    return Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8))


def main() -> None:
    """Write the images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=112)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    classes = [(colour, kind) for colour in COLOURS for kind in TEXTURES]
    for number in range(options.images):
        colour, kind = classes[number % len(classes)]
        random = np.random.default_rng((options.seed, number))
        split = "val" if number // len(classes) % VALIDATION == 0 else "train"
        folder = options.out / split / f"{colour}-{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        made = image(random, options.side, colour, kind)
        made.save(folder / f"{number:06d}.jpg", quality=95, subsampling="4:2:0")


if __name__ == "__main__":
    main()
