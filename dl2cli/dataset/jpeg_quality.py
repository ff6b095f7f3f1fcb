"""The JPEG quality of an image, as ImageMagick estimates it from the quantisation tables.

A JPEG does not hold the quality that it was saved with. ImageMagick compares two numbers of its
tables, their sum and a sum of four of their entries, with the same two numbers of the IJG
software's tables for quality 1 to 100, and takes the first quality that is coarse enough. The
standard tables are in ITU-T T.81, annex K.1; `scaled_table` is how the IJG's software scales them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

# fmt: off
LUMINANCE = (
    16, 11, 10, 16,  24,  40,  51,  61,
    12, 12, 14, 19,  26,  58,  60,  55,
    14, 13, 16, 24,  40,  57,  69,  56,
    14, 17, 22, 29,  51,  87,  80,  62,
    18, 22, 37, 56,  68, 109, 103,  77,
    24, 35, 55, 64,  81, 104, 113,  92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103,  99,
)
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
)
# fmt: on


def scaled_table(table: Sequence[int], quality: int) -> tuple[int, ...]:
    """Return a standard table as the IJG's software scales it for a quality of 1 to 100."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(min(max((step * percent + 50) // 100, 1), 255) for step in table)


def _key(tables: Mapping[int, Sequence[int]]) -> tuple[int, int]:
    """Return the two numbers that ImageMagick compares: four entries' sum, and the sum of all."""
    entries = tables[0][2] + tables[0][53]
    if 1 in tables:
        entries += tables[1][0] + tables[1][63]
    return entries, sum(map(sum, tables.values()))


def standard_tables(quality: int, *, colour: bool) -> dict[int, tuple[int, ...]]:
    """Return the IJG's tables of a quality, by their index."""
    tables = {0: scaled_table(LUMINANCE, quality)}
    return tables | {1: scaled_table(CHROMINANCE, quality)} if colour else tables


_KEYS = {
    colour: [_key(standard_tables(quality, colour=colour)) for quality in range(1, 101)]
    for colour in (False, True)
}


def estimate(tables: Mapping[int, Sequence[int]]) -> int | None:
    """Return ImageMagick's estimate of 1 to 100, or None where it has none (it reports 92 then).

    Args:
        tables: Quantisation tables by their index (0 to 3): 64 steps each, in row order.
    """
    return _estimate(*_key(tables), 1 in tables) if 0 in tables else None


@functools.lru_cache(maxsize=4096)
def _estimate(entries: int, total: int, colour: bool) -> int | None:
    for quality, (entries_q, total_q) in enumerate(_KEYS[colour], start=1):
        if entries < entries_q and total < total_q:
            continue
        # The first quality at which one of the numbers is reached. From 51 on that is enough.
        if (entries <= entries_q and total <= total_q) or quality > 50:
            return quality
        return None
    return None
