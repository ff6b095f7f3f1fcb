"""The built-in sample set: generated photos-to-be in train/ and val/, made once and kept.

Six classes, three structures (spots, stripes, lattice) in two colours (warm, cool). The structures
cover the same share of a picture, the ground under them has any colour, and both lie at any scale
and angle under uneven light: the mean colour tells two groups of three classes apart at best, the
structure alone three groups of two, and only both together the class.

What makes the pictures behave like photos under JPEG is their spectrum: texture whose amplitude
falls with 1/f (Field 1987, "Relations between the statistics of natural images and the response
properties of cortical cells"), smooth light, hard edges that hide one another, and sensor noise.
"""

from __future__ import annotations

import colorsys
import contextlib
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dl2cli.cores import usable_cores
from dl2cli.errors import StorageError, UsageError
from dl2cli.user_folders import cache_dir

VERSION = 1  # of the pictures: count up when a change in this file changes them
STRUCTURES = ("lattice", "spots", "stripes")
COLOURS = ("cool", "warm")
CLASSES = tuple(f"{colour}_{structure}" for colour in COLOURS for structure in STRUCTURES)
COVERAGE = 0.4  # the share of the ground that each structure covers
ASPECTS = ((4, 3), (3, 2), (3, 4), (1, 1))
TEMPORARY_PREFIX = ".making-"
STALE_S = 3600.0

Floats = NDArray[np.float32]  # single precision throughout: half the time of double


@dataclass(frozen=True, slots=True)
class SampleConfig:
    """What to generate; `long_side_px` is the longer side of the largest pictures."""

    train_per_class: int = 50
    val_per_class: int = 10
    long_side_px: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if (
            self.train_per_class < 1
            or self.val_per_class < 1
            or not 32 <= self.long_side_px <= 4096
        ):
            raise UsageError(
                "A sample set has at least one image a class and split, of 32 to 4096 pixels."
            )

    @property
    def name(self) -> str:
        """Return the name of the folder that holds this set."""
        counts = f"{self.train_per_class}+{self.val_per_class}"
        return f"sample-v{VERSION}-{counts}-{self.long_side_px}px-seed{self.seed}"


@dataclass(frozen=True, slots=True)
class _Picture:
    """One image to make: everything that its bytes depend on."""

    path: Path
    label: int
    key: tuple[int, ...]
    long_side_px: int


def ensure_sample_set(
    config: SampleConfig | None = None,
    *,
    cache: Path | None = None,
    workers: int | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> Path:
    """Return the folder of the sample set, which is made first if it is not there yet.

    The folder appears in one step, complete: a process that is killed leaves nothing that is taken
    for a sample set, and two processes may do this at once. The same configuration gives the same
    bytes with the same versions of numpy and Pillow, whatever the number of workers.

    Args:
        config: What to generate.
        cache: Where to keep it; None is `cache_dir()`.
        workers: Threads; None is one for each core.
        on_image: Called after each image with the number of images made, and of all images.

    Raises:
        StorageError: The folder cannot be written.
        UsageError: There is no cache folder: see `cache_dir`.
    """
    config = config or SampleConfig()
    cache = cache or cache_dir()
    target = cache / config.name
    if target.is_dir():
        return target
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_stale(cache)
        with tempfile.TemporaryDirectory(
            prefix=TEMPORARY_PREFIX, dir=cache, ignore_cleanup_errors=True
        ) as name:
            folder = Path(name) / "set"  # so that the cleanup of the parent never meets the set
            _make(config, folder, workers or usable_cores(), on_image)
            _move(folder, target)
    except OSError as error:
        raise StorageError(
            f"The sample set cannot be written to {cache}: {error.strerror or error}. "
            "Set DL2_HOME to a folder with 30 MB to spare."
        ) from error
    return target


def _remove_stale(cache: Path) -> None:
    """Remove the files that a killed process has left."""
    for folder in cache.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just finished with it
            if time.time() - folder.stat().st_mtime > STALE_S:
                shutil.rmtree(folder, ignore_errors=True)


def _move(folder: Path, target: Path) -> None:
    try:
        folder.rename(target)
    except OSError:
        if not target.is_dir():  # else another process was first, with the same bytes
            raise


def _make(
    config: SampleConfig, folder: Path, workers: int, on_image: Callable[[int, int], None] | None
) -> None:
    pictures = _pictures(config, folder)
    for parent in {picture.path.parent for picture in pictures}:
        parent.mkdir(parents=True)
    with ThreadPoolExecutor(workers) as pool:
        try:
            for done, _ in enumerate(pool.map(_write, pictures), start=1):
                if on_image:
                    on_image(done, len(pictures))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C: the images under way end, no more start
            raise


def _pictures(config: SampleConfig, folder: Path) -> list[_Picture]:
    return [
        _Picture(
            path=folder / split / name / f"{name}_{index:04}.jpg",
            label=label,
            key=(config.seed, split_key, label, index),
            long_side_px=config.long_side_px,
        )
        for split_key, (split, count) in enumerate(
            [("train", config.train_per_class), ("val", config.val_per_class)]
        )
        for label, name in enumerate(CLASSES)
        for index in range(count)
    ]


def _write(picture: _Picture) -> None:
    rng = np.random.default_rng(picture.key)
    colour, structure = divmod(picture.label, len(STRUCTURES))
    pixels = render(rng, STRUCTURES[structure], COLOURS[colour], picture.long_side_px)
    Image.fromarray(pixels).save(
        picture.path, "JPEG", quality=int(rng.integers(85, 93)), subsampling="4:2:0"
    )


def render(
    rng: np.random.Generator, structure: str, colour: str, long_side_px: int
) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) of `structure` in `colour`; `rng` draws all else about it."""
    width, height = _size(rng, long_side_px)
    y, x = np.ogrid[:height, :width]
    x = ((x - width / 2) / long_side_px).astype(np.float32)
    y = ((y - height / 2) / long_side_px).astype(np.float32)
    texture, tint = _one_over_f(rng, height, width)

    mask = _structure(rng, structure, x, y)[..., None]
    ground = _ground_colour(rng)
    scene = ground + mask * (_mark_colour(rng, colour) - ground)
    for _ in range(rng.integers(1, 4)):
        _cover(rng, scene, x, y)

    scene *= (_light(rng, x, y) * np.exp(rng.uniform(0.16, 0.26) * texture))[..., None]
    scene[..., 0] += 0.02 * tint
    scene[..., 2] -= 0.02 * tint
    # Cameras store about the root of the light: a gamma of 2 is near enough to sRGB.
    pixels = np.sqrt(np.clip(scene, 0, 1)) * 255
    pixels += rng.standard_normal(pixels.shape, np.float32) * np.float32(rng.uniform(1, 2.5))
    return np.clip(pixels + 0.5, 0, 255).astype(np.uint8)


def _size(rng: np.random.Generator, long_side_px: int) -> tuple[int, int]:
    across, down = ASPECTS[rng.integers(len(ASPECTS))]
    unit = long_side_px * rng.uniform(0.8, 1.0) / max(across, down)
    return round(across * unit), round(down * unit)


def _one_over_f(rng: np.random.Generator, height: int, width: int) -> tuple[Floats, Floats]:
    """Return two independent fields of unit variance: real and imaginary part of one transform."""
    # Cut from a size without large prime factors, which a Fourier transform takes long for.
    shape = -(-height // 32) * 32, -(-width // 32) * 32
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    frequency[0, 0] = np.inf  # no mean
    white = rng.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
    field = np.fft.ifft2(white / frequency.astype(np.float32))[:height, :width]
    real, imaginary = field.real.astype(np.float32), field.imag.astype(np.float32)
    return real / real.std(), imaginary / imaginary.std()


def _structure(rng: np.random.Generator, structure: str, x: Floats, y: Floats) -> Floats:
    """Return the share of each pixel (0 to 1) that the marks of a structure cover."""
    u, v, period = _surface(rng, x, y)
    if structure == "stripes":
        inside = COVERAGE / 2 - np.abs(u % 1 - 0.5)
    elif structure == "lattice":
        line = 1 - math.sqrt(1 - COVERAGE)
        inside = line / 2 - np.minimum(np.abs(u % 1 - 0.5), np.abs(v % 1 - 0.5))
    else:
        inside = _spots(rng, u, v)
    edge = 0.0025 / period  # about a pixel: lenses and sensors blur
    covered: Floats = np.clip(inside / edge + 0.5, 0, 1)
    return covered


def _surface(rng: np.random.Generator, x: Floats, y: Floats) -> tuple[Floats, Floats, float]:
    """Return coordinates on a surface at any angle, seen at a slant and not quite even.

    They count periods of the structure; the third value is the period in long sides.
    """
    angle, period = rng.uniform(0, 2 * math.pi), rng.uniform(0.07, 0.13)
    cos, sin = math.cos(angle), math.sin(angle)
    depth = 1 + rng.uniform(0, 0.5) * (cos * y - sin * x)
    height = rng.uniform(0, 0.012)
    phases, waves = rng.uniform(0, 2 * math.pi, 2).tolist(), rng.uniform(6, 12, 2).tolist()
    across = x / depth + height * np.sin(waves[0] * y + phases[0])
    down = y / depth + height * np.sin(waves[1] * x + phases[1])
    u = (cos * across + sin * down) / period + rng.uniform(0, 1)
    v = (cos * down - sin * across) / period + rng.uniform(0, 1)
    return u, v, period


def _spots(rng: np.random.Generator, u: Floats, v: Floats) -> Floats:
    """Return how deep a point lies in a disc: one disc a cell, off its centre, rows shifted."""
    row = np.floor(v).astype(np.intp)
    u = u + (row % 2).astype(np.float32) * np.float32(0.5)
    column = np.floor(u).astype(np.intp)
    radius = math.sqrt(COVERAGE / math.pi)
    offsets = rng.uniform(-1, 1, (2, 64 * 64)).astype(np.float32) * (0.48 - radius)
    cell = row % 64 * 64 + column % 64
    off_centre: Floats = np.hypot(u % 1 - 0.5 - offsets[0][cell], v % 1 - 0.5 - offsets[1][cell])
    return radius - off_centre


def _ground_colour(rng: np.random.Generator) -> Floats:
    """Any hue, so that the mean colour of a picture says little about its marks."""
    return _rgb(rng.uniform(0, 1), rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.5))


def _mark_colour(rng: np.random.Generator, colour: str) -> Floats:
    """Warm is red to yellow, cool is cyan to blue; no other hue is ever a mark's."""
    hue = rng.uniform(-0.04, 0.13) if colour == "warm" else rng.uniform(0.48, 0.68)
    return _rgb(hue % 1, rng.uniform(0.65, 0.95), rng.uniform(0.35, 0.8))


def _rgb(hue: float, saturation: float, value: float) -> Floats:
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def _cover(rng: np.random.Generator, scene: Floats, x: Floats, y: Floats) -> None:
    """Lay an ellipse of any colour, shaded like a pebble, over the scene."""
    at_x, at_y = rng.uniform(-0.5, 0.5, 2).tolist()
    wide, high = rng.uniform(0.04, 0.14, 2).tolist()
    angle, colour = rng.uniform(0, math.pi), _ground_colour(rng)
    cos, sin, reach = math.cos(angle), math.sin(angle), max(wide, high)
    rows = slice(*np.searchsorted(y[:, 0], [at_y - reach, at_y + reach]))
    columns = slice(*np.searchsorted(x[0], [at_x - reach, at_x + reach]))
    dx, dy = x[:, columns] - at_x, y[rows] - at_y
    u, v = (cos * dx + sin * dy) / wide, (cos * dy - sin * dx) / high
    inside = np.hypot(u, v)
    mask = np.clip((1 - inside) / 0.03, 0, 1)[..., None]
    shade = (1.1 - 0.5 * inside + 0.2 * u)[..., None]
    scene[rows, columns] += mask * (colour * shade - scene[rows, columns])


def _light(rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    """Return light that falls from one side and fades in the corners."""
    slope_x, slope_y = rng.uniform(-0.5, 0.5, 2).tolist()
    light: Floats = rng.uniform(0.8, 1.2) * (1 + slope_x * x + slope_y * y)
    light *= 1 - rng.uniform(0, 0.5) * (x * x + y * y)
    return light
