"""What a worker process does: turns items into rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from dl2cli.analysis.fidelity.images import Comparison, measure
from dl2cli.analysis.image.examine import Found, examine
from dl2cli.analysis.image.quality import Engine, magick
from dl2cli.analysis.sources import Item, Reader
from dl2cli.analysis.table.rows import Analysis, ImageRow, Note, row_to_line
from dl2cli.dataset.pillow_limits import pillow_limits
from dl2cli.dataset.pixels import UnsupportedImage
from dl2cli.errors import DataError, is_file_fault, system_failure
from dl2cli.processes import become_worker

CRASHED = "reading it crashed the worker process"


class Task(NamedTuple):
    """An image, and whether it belongs to the sample whose fidelity is measured."""

    item: Item
    fidelity: bool = False


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """What each worker process is told once, when it starts."""

    reader: Reader
    analyses: frozenset[Analysis]
    engine: Engine
    comparisons: tuple[Comparison, ...]


_config: WorkerConfig


def start(config: WorkerConfig) -> None:
    """Prepare this process: it leaves Ctrl-C to its parent, and ends when its parent does."""
    global _config  # noqa: PLW0603 - the one thing that a pool's worker can be given
    _config = config
    become_worker()
    if config.engine is Engine.MAGICK and Analysis.QUALITY in config.analyses:
        magick()


def analyse(task: Task) -> str:
    """Return what the chosen analyses find about one image, as a line of JSON.

    A line is what the part file holds, and quicker to send than a row.
    """
    return row_to_line(analyse_with(_config, task))


def analyse_with(config: WorkerConfig, task: Task) -> ImageRow:
    """Return what the analyses of `config` find about one image; damage is a finding.

    Raises:
        StorageError: The system failed to read it, which says nothing about the image.
    """
    item = task.item
    try:
        return _analyse(config, task)
    except DataError as error:
        return _unread(item, str(error))
    except (OSError, MemoryError) as error:
        if not is_file_fault(error):
            raise system_failure(config.reader.path(item), error) from error
        return _unread(item, getattr(error, "strerror", None) or str(error))


def _analyse(config: WorkerConfig, task: Task) -> ImageRow:
    item = task.item
    opened = config.reader.open(item)
    limits = config.reader.limits(item)
    with opened.stream, pillow_limits(limits):
        found = examine(
            item.name,
            opened.stream,
            opened.size_bytes,
            config.analyses,
            config.engine,
            limits=limits,
            whole_file=opened.whole_file,
        )
    found["mtime_ns"] = opened.mtime_ns
    if task.fidelity and "error" not in found:
        _add_fidelity(found, config, item)
    return ImageRow(file=item.name, class_name=item.class_name, **found)


def _add_fidelity(found: Found, config: WorkerConfig, item: Item) -> None:
    if found.get("format") != "JPEG" or Note.LARGE in found["notes"]:
        found["notes"] += (Note.NO_FIDELITY,)
        return
    try:
        points, notes = measure(item, config.reader, config.comparisons)
    except UnsupportedImage:
        found["notes"] += (Note.NO_FIDELITY,)
    except DataError as error:
        found["error"] = f"does not decode: {error}"
    else:
        found["fidelity"] = points or None
        found["notes"] += notes


def crashed(task: Task) -> str:
    """Return the line of an image that ended its worker process."""
    return row_to_line(_unread(task.item, CRASHED))


def _unread(item: Item, reason: str) -> ImageRow:
    return ImageRow(file=item.name, class_name=item.class_name, error=reason)
