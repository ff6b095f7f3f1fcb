"""Curricula by name, and from files.

A file is TOML, a table `[[step]]` for each step::

    [[step]]
    from = 0              # the first epoch, or a share of the training such as "40%"
    scans = 2             # or a share of the dataset's scan groups; left out: all
    size = 128            # in pixels, or a share of the image size; left out: all of it
    scaled_decode = true  # decode large images at a part of their size; left out: as the loader

`progressive` is built in, after two results. FFCV (Leclerc et al., "FFCV: Accelerating Training by
Removing Data Bottlenecks", CVPR 2023) lets the image size rise during the training. EfficientTrain
and EfficientTrain++ (Wang et al., ICCV 2023, and arXiv 2405.08768) show that networks learn low
frequencies first and need no others at the beginning; these are what the first scans of a
progressive JPEG hold. At 224 pixels, its sizes are 128, 160, 192 and 224.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from dl2cli.errors import UsageError
from dl2cli.training.fidelity.curriculum import Curriculum, Fidelity

AUTO: Final = "auto"  # the tuner chooses among LADDER, too
PROGRESSIVE: Final = "progressive"
NAMES: Final = (PROGRESSIVE, AUTO)

_BUILT_IN: Final[dict[str, list[dict[str, Any]]]] = {
    PROGRESSIVE: [
        {"from": 0, "scans": "30%", "size": "57%", "scaled_decode": True},
        {"from": "25%", "scans": "50%", "size": "71%", "scaled_decode": True},
        {"from": "50%", "scans": "50%", "size": "86%", "scaled_decode": True},
        {"from": "75%"},
    ],
}
# What `auto` tries, cheapest first: computing grows with the square of the size.
_LADDER: Final[list[dict[str, Any]]] = [
    {"scans": "20%", "size": "57%", "scaled_decode": True},
    {"scans": "50%", "size": "57%", "scaled_decode": True},
    {"scans": "30%", "size": "71%", "scaled_decode": True},
    {"scans": "50%", "size": "71%", "scaled_decode": True},
    {"scans": "50%", "size": "86%", "scaled_decode": True},
    {"scans": "50%"},
]
_KEYS: Final = ("from", "scans", "size", "scaled_decode")
_SHARE: Final = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%", re.ASCII)
_SIZE_STEP_PX: Final = 8  # sizes that are shares are rounded to it
_MAX_FILE_BYTES: Final = 1 << 20


def load_curriculum(
    text: str, *, epochs: int, image_px: int, groups: int | None, scales: bool = True
) -> Curriculum:
    """Return the curriculum of a name or file; shares in it become numbers.

    Args:
        text: `progressive`, or the path of a file.
        epochs: length of the whole training.
        image_px: the image size at which the model is evaluated.
        groups: the scan groups of the dataset; None for loaders without scans.
        scales: whether the loader can decode at a part of an image's size; the built-in curriculum
            does without it elsewhere, and what a file asks for is left to the loader to refuse.

    Raises:
        UsageError: there is no such name or file, or it cannot be read.
    """
    steps = _BUILT_IN.get(text)
    name = text
    if steps is None:
        steps, name = _read(Path(text)), Path(text).stem
    shares = _Shares(name, epochs, image_px, groups)
    points: dict[int, Fidelity] = {}
    for step in steps:
        epoch = shares.epoch(step)
        # In a short training, steps that begin at shares of it fall together: the last one counts.
        if epoch in points and _share(step.get("from")) is None:
            raise UsageError(f"Two steps of the curriculum {name} begin at epoch {epoch}.")
        fidelity = shares.fidelity(step)
        if text in _BUILT_IN and not scales:
            fidelity = replace(fidelity, scaled_decode=None)
        points[epoch] = fidelity
    return Curriculum(tuple(points.items()), name)


def auto_ladder(*, image_px: int, groups: int | None, scales: bool) -> tuple[Fidelity, ...]:
    """Return the fidelities that `auto` tries, cheapest first, without full fidelity.

    Args:
        image_px: the image size at which the model is evaluated.
        groups: the scan groups of the dataset; None for loaders without scans.
        scales: whether the loader can decode at a part of an image's size.
    """
    shares = _Shares(AUTO, 1, image_px, groups)
    steps = [shares.fidelity(step) for step in _LADDER]
    if not scales:
        steps = [replace(fidelity, scaled_decode=None) for fidelity in steps]
    return tuple(fidelity for fidelity in dict.fromkeys(steps) if fidelity != Fidelity())


class _Shares:
    """Turns the values of steps into numbers."""

    def __init__(self, name: str, epochs: int, image_px: int, groups: int | None) -> None:
        self._name, self._epochs, self._image_px, self._groups = name, epochs, image_px, groups

    def epoch(self, step: dict[str, Any]) -> int:
        """Return the first epoch of a step. Raises UsageError."""
        share = _share(step.get("from"))
        if share is not None:
            return math.floor(share * self._epochs)
        return self._number(step, "from", 0)

    def fidelity(self, step: dict[str, Any]) -> Fidelity:
        """Return the fidelity of a step. Raises UsageError."""
        scaled = step.get("scaled_decode")
        if scaled is not None and not isinstance(scaled, bool):
            raise self._error(f"scaled_decode must be true or false, not {scaled!r}")
        return Fidelity(self._scans(step), self._size_px(step), scaled)

    def _scans(self, step: dict[str, Any]) -> int | None:
        share = _share(step.get("scans"))
        if "scans" in step and share is None:
            return self._number(step, "scans", 1)
        if share is None or self._groups is None:
            return None
        return max(1, math.ceil(share * self._groups))

    def _size_px(self, step: dict[str, Any]) -> int | None:
        share = _share(step.get("size"))
        if "size" in step and share is None:
            return self._number(step, "size", 1)
        if share is None:
            return None
        rounded = round(share * self._image_px / _SIZE_STEP_PX) * _SIZE_STEP_PX
        return min(max(rounded, _SIZE_STEP_PX), self._image_px)

    def _number(self, step: dict[str, Any], key: str, least: int) -> int:
        value = step.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 1 << 30:
            raise self._error(
                f'{key} must be a whole number of at least {least} or a share such as "40%", not '
                f"{value!r}"
            )
        return value

    def _error(self, problem: str) -> UsageError:
        return UsageError(f"The curriculum {self._name} cannot be used: {problem}.")


def _share(value: object) -> float | None:
    """Return 0.4 for "40%"; None for text that is not a share of at most 100 %."""
    match = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    share = float(match[1]) / 100 if match else None
    return share if share is not None and share <= 1 else None


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the steps of a file. Raises UsageError."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_FILE_BYTES + 1)
        if len(content) > _MAX_FILE_BYTES:
            raise UsageError(f"{path} is too large for a curriculum.")
        document = tomllib.loads(content.decode())
    except FileNotFoundError:
        names = " and ".join(NAMES)
        raise UsageError(
            f"There is no curriculum {path}: name a file, or one of the built-in curricula {names}."
        ) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a TOML file: {error}.") from error
    steps = document.get("step")
    if set(document) != {"step"} or not isinstance(steps, list) or not steps:
        raise UsageError(f"{path} must hold tables [[step]] and nothing else.")
    for step in steps:
        unknown = sorted(set(step) - set(_KEYS)) if isinstance(step, dict) else ["step"]
        if unknown:
            raise UsageError(
                f"{path} has an unknown key {unknown[0]!r}: a step has {', '.join(_KEYS)}."
            )
    return steps
