"""What is measured on the sample: bytes of scans, errors of bits, and the quality of states.

A state says what is known of an image: for each component and coefficient, the lowest bit. Bytes
and errors add up over scans and are measured once, for every scan that a candidate may hold. The
quality of a state (PSNR, SSIM, MS-SSIM) takes an inverse DCT, a resize and a comparison an image;
it is measured when a search asks for it, once, and kept in a journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dl2cli.analysis.scripts.candidate import BORDERS, Candidate, ladders
from dl2cli.analysis.scripts.journal import Journal, Key
from dl2cli.analysis.scripts.objective import MAX_PSNR_DB, Floats
from dl2cli.analysis.scripts.sample import ScriptSample
from dl2cli.pcr.scan_script import Scan
from dl2cli_native import _core

UNKNOWN: Final = 11
RESIZE_MARGIN: Final = 32  # pixels: an evaluation resizes to size + 32 and cuts size out
BANDS: Final = len(BORDERS)  # with that of the DC coefficient

# Decode time in ns on one core with AVX-512, fitted to the native codec's times for the built-in
# scripts (`scripts/bench_scripts.py`): a block's inverse DCT and colours, and what scans add. It
# need not be right for a processor, but about right for one script beside another.
_BLOCK_NS: Final = 17.0
_DC_BLOCK_NS: Final = 16.0
_FIRST_BLOCK_NS: Final = 20.0
_FIRST_BYTE_NS: Final = 0.5
_REFINE_BLOCK_NS: Final = 9.0
_REFINE_BYTE_NS: Final = 6.2

State = bytes
"""192 values: the lowest known bit of each coefficient (zigzag) of luma, Cb, Cr; 11 for none."""

NOTHING: Final[State] = bytes([UNKNOWN]) * 192
EVERYTHING: Final[State] = bytes(192)


@dataclass(frozen=True)
class Tables:
    """What adds up: measured once for all images of the sample.

    Attributes:
        bytes_of: mean bytes of each scan of one component, and of each DC scan.
        errors: float64 (images, 3, bands, 12): mean squared error a pixel and channel, by role,
            band (0 is DC) and lowest known bit.
        header_bytes: mean bytes in front of the first scan.
        blocks: mean number of blocks, by role.
    """

    bytes_of: dict[Scan, float]
    errors: Floats
    header_bytes: float
    blocks: tuple[float, float, float]

    def scan_bytes(self, scan: Scan) -> float:
        """Return the mean bytes that a line of a script comes to in an image."""
        alone = Scan(scan.components, scan.ss, scan.se, scan.ah, scan.al)
        if scan.ss == 0:
            return self.bytes_of[alone]
        return sum(
            self.bytes_of[Scan((component,), scan.ss, scan.se, scan.ah, scan.al)]
            for component in scan.components
        )

    def scan_decode_ms(self, scan: Scan) -> float:
        """Return about the decode time that a line adds to an image's."""
        blocks = sum(self.blocks[component] for component in scan.components)
        size = self.scan_bytes(scan)
        if scan.ss == 0:
            return 1e-6 * _DC_BLOCK_NS * blocks
        if scan.ah == 0:
            return 1e-6 * (_FIRST_BLOCK_NS * blocks + _FIRST_BYTE_NS * size)
        return 1e-6 * (_REFINE_BLOCK_NS * blocks + _REFINE_BYTE_NS * size)

    @property
    def base_decode_ms(self) -> float:
        """About the decode time of an image apart from its scans."""
        return 1e-6 * _BLOCK_NS * sum(self.blocks)


def states_of(scans: Candidate) -> list[State]:
    """Return the state at the end of each scan group."""
    known = np.full((3, 64), UNKNOWN, np.uint8)
    states: list[State] = []
    for scan in scans:
        known[list(scan.components), scan.ss : scan.se + 1] = scan.al
        if scan.joins:
            states.pop()
        states.append(known.tobytes())
    return states


class Measurements:
    """Measures a sample, and remembers.

    Args:
        sample: the images.
        size: the training size in pixels; 0 for whole images.
        workers: threads.
        journal: where the qualities of states are kept, too.
    """

    def __init__(
        self, sample: ScriptSample, size: int, workers: int, journal: Journal | None = None
    ) -> None:
        self.sample = sample
        self.size = size
        self.resize_short = size + RESIZE_MARGIN if size else 0
        self.states_measured = 0  # by this run, in images
        self._journal = journal
        self._pool = ThreadPoolExecutor(workers)
        self._known: dict[Key, Floats] = dict(journal.read()) if journal else {}
        self.states_resumed = len(self._known)

    def close(self) -> None:
        """Let go of the threads; work that has not begun is dropped."""
        self._pool.shutdown(cancel_futures=True)

    def tables(self, progress: Callable[[int], None]) -> Tables:
        """Measure what adds up."""
        scans = [scan for ladder in ladders() for scan in ladder]
        lines = [(list(s.components), s.ss, s.se, s.ah, s.al) for s in scans]
        sizes = np.zeros(len(scans))
        errors, headers, blocks = [], [], []
        edges = [0, *BORDERS[:-1]]

        def measure(image: _core.TrialImage) -> tuple[list[int], npt.NDArray[Any]]:
            table = image.errors(self.resize_short)
            pixels = image.width * image.height * image.components
            return image.scan_bytes(lines), np.add.reduceat(table, edges, axis=1) / pixels

        for done, (image, found) in enumerate(self._over_images(measure), start=1):
            sizes += found[0]
            errors.append(found[1])
            headers.append(image.header_bytes)
            blocks.append(image.blocks)
            progress(done)
        mean_blocks = np.mean(blocks, axis=0)
        return Tables(
            dict(zip(scans, (sizes / len(errors)).tolist(), strict=True)),
            np.array(errors),
            float(np.mean(headers)),
            (float(mean_blocks[0]), float(mean_blocks[1]), float(mean_blocks[2])),
        )

    def qualities(
        self,
        states: Iterable[State],
        images: int | None = None,
        progress: Callable[[int], None] = lambda done: None,
        *,
        structure: bool = True,
    ) -> dict[State, Floats]:
        """Return the mean PSNR (dB, identical images count as 60), SSIM and MS-SSIM of states.

        Args:
            states: what is known of each image.
            images: measure the first so many of the sample; all if None.
            progress: called with the number of images that are done.
            structure: whether SSIM and MS-SSIM are needed; else they are 0.
        """
        count = len(self.sample.images) if images is None else min(images, len(self.sample.images))
        wanted = list(dict.fromkeys(states))
        missing = [state for state in wanted if (state, count, structure) not in self._known]
        if missing:
            known = np.frombuffer(b"".join(missing), np.uint8).reshape(-1, 3, 64)
            total = np.zeros((len(missing), 3))

            def measure(image: _core.TrialImage) -> npt.NDArray[Any]:
                return image.compare(known, self.size, self.resize_short, structure)

            for done, (_, found) in enumerate(self._over_images(measure, count), start=1):
                with np.errstate(divide="ignore"):
                    decibels = 10 * np.log10(255.0**2 / found[:, 0])
                total += np.column_stack([np.minimum(decibels, MAX_PSNR_DB), found[:, 1:]])
                progress(done)
            self.states_measured += len(missing) * count
            for state, values in zip(missing, total / count, strict=True):
                self._known[state, count, structure] = values
                if self._journal is not None:
                    self._journal.add((state, count, structure), values)
        return {state: self._known[state, count, structure] for state in wanted}

    def _over_images(
        self, measure: Callable[[_core.TrialImage], Any], count: int | None = None
    ) -> Iterable[tuple[_core.TrialImage, Any]]:
        images: Sequence[_core.TrialImage] = self.sample.images[:count]
        return zip(images, self._pool.map(measure, images), strict=True)
