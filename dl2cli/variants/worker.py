"""What a worker process does: one source file, decoded once, becomes a file in each variant.

A file of a variant is written under a temporary name and renamed.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from PIL import Image

from dl2cli.analysis.fidelity.metrics import WINDOW
from dl2cli.analysis.fidelity.points import point_of
from dl2cli.analysis.worker import CRASHED
from dl2cli.dataset.metadata import Metadata, read_metadata
from dl2cli.dataset.pillow_limits import pillow_limits
from dl2cli.dataset.pixels import JPEG_START, decode_source
from dl2cli.dataset.resize import fitted
from dl2cli.errors import DataError, StorageError, is_file_fault, system_failure
from dl2cli.processes import become_worker
from dl2cli.variants.formats import Target, encode
from dl2cli.variants.quality_list import Listed
from dl2cli_native import _core

TEMPORARY: Final = ".dl2-"  # hidden, so that no listing takes it for an image


@dataclass(frozen=True)
class EncodeConfig:
    """What a worker is told once."""

    source: Path
    targets: tuple[Target, ...]
    folders: tuple[Path, ...]  # of the targets
    max_side: int | None
    keep_metadata: str
    max_pixels: int

    @property
    def limits(self) -> _core.Limits:
        """What a source file may promise; the native object cannot be sent to a process."""
        return _core.Limits(max_pixels=self.max_pixels)


class EncodeTask(NamedTuple):
    """A source file, and the files to make from it.

    `outputs` pairs the index of each target with the name of the file in its folder. A `measured`
    file is compared with its source; `listed` is what a list says of the source's quality.
    """

    path: str
    name: str
    outputs: tuple[tuple[int, str], ...]
    measured: bool
    listed: Listed | None


class Outcome(NamedTuple):
    """A file of a variant, or why there is none (`error`)."""

    target: int
    name: str
    bytes: int = 0
    pixels: int = 0
    encode_s: float = 0.0
    copied: bool = False
    ms_ssim: float | None = None
    psnr_db: float | None = None
    error: str | None = None


class Done(NamedTuple):
    """What became of a source file.

    `turned` says that it has an EXIF orientation; `stale` that it is not as long as the list of
    qualities says; `missing` that it was not there.
    """

    name: str
    outcomes: tuple[Outcome, ...]
    turned: bool = False
    stale: bool = False
    missing: bool = False


_config: EncodeConfig


def start(config: EncodeConfig) -> None:
    """Prepare this worker process, and keep what it is told."""
    global _config  # noqa: PLW0603 - the one thing that a pool's worker can be given
    _config = config
    become_worker()


def convert_file(task: EncodeTask) -> Done:
    """Make the files of one source.

    Raises:
        StorageError: the system failed to read it, or to write.
    """
    return convert_with(_config, task)


def convert_with(config: EncodeConfig, task: EncodeTask) -> Done:
    """Make the files of one source as `config` says; a bad source is a finding."""
    path = config.source / task.path
    try:
        with pillow_limits(config.limits):
            content = _core.read_file(os.fsencode(path), config.limits.max_bytes)
            pixels = _pixels(content, config)
            metadata = read_metadata(content, pixels.mode, keep=config.keep_metadata)
    except (DataError, _core.DataError) as error:
        return _rejected(task, str(error))
    except (OSError, MemoryError) as error:
        if not is_file_fault(error):
            raise system_failure(path, error) from error
        missing = isinstance(error, FileNotFoundError)
        reason = getattr(error, "strerror", None) or str(error)
        return _rejected(task, reason)._replace(missing=missing)
    stale = task.listed is not None and task.listed.size not in (None, len(content))
    listed = None if task.listed is None or stale else task.listed.quality
    source = _Decoded(content, pixels, metadata, listed)
    outcomes = tuple(_make(config, task, source, *output) for output in task.outputs)
    return Done(task.name, outcomes, turned=metadata.orientation != 1, stale=stale)


class _Decoded(NamedTuple):
    """A source: its bytes, its pixels at full size, and what its list says of its quality."""

    content: bytes
    pixels: Image.Image
    metadata: Metadata
    quality: int | None


def _pixels(content: bytes, config: EncodeConfig) -> Image.Image:
    """Decode by the one verdict; CMYK becomes RGB, as the loaders show it."""
    image = decode_source(content, config.limits)
    return image.convert("RGB") if image.mode == "CMYK" else image


def _rejected(task: EncodeTask, reason: str) -> Done:
    return Done(task.name, tuple(Outcome(i, name, error=reason) for i, name in task.outputs))


def crashed(task: EncodeTask) -> Done:
    """Return what became of a file that ended its worker process."""
    return _rejected(task, CRASHED)


def _make(
    config: EncodeConfig, task: EncodeTask, source: _Decoded, index: int, name: str
) -> Outcome:
    target, folder = config.targets[index], config.folders[index]
    if _is_copied(target, source, config.max_side):
        _write(folder / name, source.content)
        width, height = source.pixels.size
        return Outcome(index, name, len(source.content), width * height, copied=True)
    began = time.perf_counter()
    try:
        image = fitted(source.pixels, config.max_side)
        began = time.perf_counter()
        content = encode(image, target, source.metadata.exif, source.metadata.icc_profile)
    except DataError as error:
        return Outcome(index, name, error=str(error))
    except MemoryError as error:
        raise system_failure(config.source / task.path, error) from error
    seconds = time.perf_counter() - began
    _write(folder / name, content)
    outcome = Outcome(index, name, len(content), image.width * image.height, seconds)
    return _measured(outcome, content, image, config.limits) if task.measured else outcome


def _is_copied(target: Target, source: _Decoded, max_side: int | None) -> bool:
    if target.format == "raw":
        return True
    if source.quality is None or target.quality is None or source.quality > target.quality:
        return False
    small = max_side is None or max(source.pixels.size) <= max_side
    return small and source.content.startswith(JPEG_START)


def _measured(
    outcome: Outcome, content: bytes, reference: Image.Image, limits: _core.Limits
) -> Outcome:
    """Add how alike the decoded result is to what was encoded."""
    if min(reference.size) < WINDOW:
        return outcome
    with pillow_limits(limits):
        result = decode_source(content, limits).convert(reference.mode)
    point = point_of("", len(content), np.asarray(result), np.asarray(reference))
    return outcome._replace(ms_ssim=point.ms_ssim, psnr_db=point.psnr_db)


def _write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all; the parent makes it durable. Raises StorageError."""
    temporary = path.with_name(f"{TEMPORARY}{os.getpid()}.tmp")
    try:
        try:
            file = temporary.open("wb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = temporary.open("wb")
        try:
            with file:
                file.write(content)
            temporary.rename(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}.") from error
