"""JPEGs for the tests of this room: photo-like, of any kind, odd, and damaged."""

import io
import random
import struct

import numpy as np
from PIL import Image


def picture(width: int = 64, height: int = 48, seed: int = 0) -> Image.Image:
    """A smooth RGB picture with noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, dtype=np.int16) + rng.integers(-9, 10, (height, width, 3))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image | None = None, **options) -> bytes:
    out = io.BytesIO()
    (image or picture()).save(out, "JPEG", **options)
    return out.getvalue()


def with_tables(source: bytes, tables: list[tuple[int, int, list[int]]]) -> bytes:
    """Replace a JPEG's quantisation tables by (index, 1 for 16 bits, 64 steps in zigzag order)."""
    result, position = bytearray(b"\xff\xd8"), 2
    for index, wide, steps in tables:
        values = struct.pack(">64H", *steps) if wide else bytes(steps)
        result += struct.pack(">HHB", 0xFFDB, 3 + len(values), wide << 4 | index) + values
    while source[position + 1] != 0xDA:
        end = position + 2 + int.from_bytes(source[position + 2 : position + 4], "big")
        if source[position + 1] != 0xDB:
            result += source[position:end]
        position = end
    return bytes(result) + source[position:]


def in_zigzag_order(steps: list[int]) -> list[int]:
    """Put 64 steps in row order into the order of a file, along the diagonals of the block."""
    diagonals: list[list[int]] = [[] for _ in range(15)]
    for place, step in enumerate(steps):
        diagonals[place // 8 + place % 8].append(step)
    turned = (d[:: 1 if number % 2 else -1] for number, d in enumerate(diagonals))
    return [step for diagonal in turned for step in diagonal]


def damaged(source: bytes, rng: random.Random) -> bytes:
    """Cut a file, flip bits of it, overwrite parts, or make it something else altogether."""
    data = bytearray(source)
    kind = rng.choice(("cut", "flip", "header", "zeros", "insert", "garbage"))
    if kind == "cut":
        return bytes(data[: rng.randrange(len(data))])
    if kind == "garbage":
        return rng.randbytes(rng.choice((0, 1, 2, 3, 10, 1000)))
    for _ in range(rng.choice((1, 3, 30))):
        place = rng.randrange(2, len(data))
        if kind == "flip":
            data[place] ^= 1 << rng.randrange(8)
        elif kind == "header":
            data[rng.randrange(2, min(len(data), 620))] = rng.randrange(256)
        elif kind == "zeros":
            data[place : place + 20] = bytes(20)
        else:
            data[place:place] = rng.randbytes(rng.randrange(1, 9))
    return bytes(data)
