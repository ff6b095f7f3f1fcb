"""The images that scripts are judged on: drawn from the dataset, their coefficients in memory."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from dl2cli.analysis.sources import Item, Source
from dl2cli.dataset.pixels import JPEG_START
from dl2cli.errors import DataError, Dl2Error, StorageError, is_file_fault
from dl2cli.pcr.reencoding.foreign import reencode
from dl2cli_native import _core

MAX_MEMORY_BYTES: Final = 1 << 30  # of coefficients: 200 photos of 500 x 375 are a quarter of it
_QUALITY: Final = 95  # of what is no JPEG, as `dl2 convert` encodes it by default
_SMALLEST: Final = 11  # pixels: the window of SSIM


@dataclass(frozen=True)
class ScriptSample:
    """Images with their coefficients.

    Attributes:
        images: in the order in which they were drawn.
        names: of these images.
        left_out: images that were drawn and are not measured, counted by reason.
        wanted: how many were asked for.
    """

    images: tuple[_core.TrialImage, ...]
    names: tuple[str, ...]
    left_out: dict[str, int]
    wanted: int


def draw(
    source: Source, count: int, *, seed: int, workers: int, progress: Callable[[int], None]
) -> ScriptSample:
    """Draw images that can be measured: the same ones for the same seed.

    Fewer come back where there are fewer, or where their coefficients would take too much memory.

    Raises:
        DataError: no image can be measured.
        StorageError: the system fails.
    """
    order = random.Random(seed).sample(range(len(source.items)), len(source.items))
    images: list[_core.TrialImage] = []
    names: list[str] = []
    left_out: Counter[str] = Counter()
    memory_bytes = at = 0
    with ThreadPoolExecutor(workers) as pool:
        while len(images) < count and at < len(order) and memory_bytes < MAX_MEMORY_BYTES:
            some = order[at : at + min(count - len(images), 8 * workers)]
            at += len(some)
            items = [source.items[i] for i in some]
            for item, loaded in zip(
                items, pool.map(lambda i: _load(source, i), items), strict=True
            ):
                if isinstance(loaded, str):
                    left_out[loaded] += 1
                    continue
                images.append(loaded)
                names.append(item.name)
                memory_bytes += loaded.memory_bytes
            progress(len(images))
    if not images:
        reasons = "; ".join(f"{n} {reason}" for reason, n in left_out.items())
        raise DataError(f"{source.root} holds no image on which scripts can be judged: {reasons}.")
    return ScriptSample(tuple(images), tuple(names), dict(left_out), count)


def _load(source: Source, item: Item) -> _core.TrialImage | str:
    """Return an image, or the reason why it is left out."""
    try:
        opened = source.reader.open(item)
        with opened.stream as stream:
            content = stream.read() or b""
        limits = source.reader.limits(item)
        if opened.whole_file and not content.startswith(JPEG_START):  # as a conversion does it
            path = source.reader.path(item)
            content = reencode(path, _QUALITY, limits, keep_exif=False).jpeg
        image = _core.TrialImage(content, limits)
    except _core.UnsupportedError as error:
        return f"are not measured ({error})"
    except (_core.DataError, DataError):
        return "are damaged, or are no images"
    except OSError as error:
        if is_file_fault(error):
            return "cannot be read"
        raise StorageError(f"{source.reader.path(item)}: {error.strerror}.") from error
    except Dl2Error:
        raise
    if min(image.width, image.height) < _SMALLEST:
        return "are smaller than the window of SSIM"
    try:
        image.scan_bytes([([0, 1, 2], 0, 0, 0, 0), ([0, 1, 2], 1, 63, 0, 0)])
    except _core.UnsupportedError as error:
        return f"are not measured ({error})"
    return image
