"""Which k of one scan script looks as good as a k of another, on given images."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from dl2cli.analysis.scripts.measure import RESIZE_MARGIN, State, states_of
from dl2cli.analysis.scripts.objective import Floats
from dl2cli.pcr.scan_script import ScanScript
from dl2cli_native import _core

SIZE: Final = 224  # pixels, after the crop and resize of an evaluation
_SMALLEST: Final = 11  # pixels: the window of SSIM


def equivalent_scans(
    jpegs: Iterable[bytes], now: ScanScript, scans: int, other: ScanScript
) -> int | None:
    """Return the smallest k of `other` with the mean MS-SSIM of fidelity `scans` of `now`.

    Images that cannot be measured (CMYK, damaged, tiny) are left out. None where no image is left,
    where `now` has no such fidelity, or where only the whole image of `other` is as good.
    """
    if not 1 <= scans < now.groups:
        return None
    states = [states_of(now.scans)[scans - 1], *states_of(other.scans)]
    quality = _ms_ssim(jpegs, states)
    if quality is None:
        return None
    enough = np.flatnonzero(quality[1:-1] >= quality[0])
    return int(enough[0]) + 1 if len(enough) else None


def _ms_ssim(jpegs: Iterable[bytes], states: list[State]) -> Floats | None:
    known = np.frombuffer(b"".join(states), np.uint8).reshape(-1, 3, 64)
    found = []
    for jpeg in jpegs:
        try:
            image = _core.TrialImage(jpeg)
        except _core.DataError:
            continue
        if min(image.width, image.height) >= _SMALLEST:
            found.append(image.compare(known, SIZE, SIZE + RESIZE_MARGIN)[:, 2])
    return np.array(found).mean(axis=0) if found else None
