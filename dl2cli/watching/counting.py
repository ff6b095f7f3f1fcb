"""How many images a batch of any kind has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_DEEPEST: Final = 4


def count_images(batch: object) -> int:
    """Return the number of images in a batch: the length of the first tensor or array in it.

    A batch is a tensor, an array, dl2's `Batch`, or a tuple, list, dict or dataclass of such. A
    list of dicts is what DALI gives: one for each pipeline, whose images count together. 0 stands
    for a batch in which nothing can be counted.
    """
    return _count(batch, _DEEPEST)


def _count(value: Any, depth: int) -> int:  # noqa: ANN401
    shape = getattr(value, "shape", None)
    if shape is not None:
        return int(shape[0]) if len(shape) else 0
    if depth == 0 or isinstance(value, str | bytes):
        return 0
    if isinstance(value, Mapping):
        return _first(value.values(), depth)
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], Mapping) and hasattr(value[0], "values"):
            counts = [_count(each, depth - 1) for each in value]
            if all(_holds_batches(each) for each in value):
                return sum(counts)
            return len(value)
        found = _first(value, depth)
        return found or len(value)
    images = getattr(value, "images", None)
    if images is not None:
        return _count(images, depth - 1)
    return _first(vars(value).values(), depth) if hasattr(value, "__dict__") else 0


def _first(values: Any, depth: int) -> int:  # noqa: ANN401
    for value in values:
        if found := _count(value, depth - 1):
            return found
    return 0


def _holds_batches(value: Mapping[Any, Any]) -> bool:
    """Tell whether a dict is a whole batch, as DALI's are, and not one sample of a list."""
    first = next(iter(value.values()), None)
    return len(getattr(first, "shape", ())) > 3 or hasattr(first, "as_cpu")
