"""Values out of untrusted JSON: typed or None, and text that cannot steer a terminal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from dl2cli.environment import UNKNOWN
from dl2cli.text import clean_text

# A larger value cannot be a count of epochs, workers or images: it only serves to exhaust memory.
MAX_COUNT = 10**15
# A larger time, rate or accuracy cannot be a measurement; its square or sum would overflow.
MAX_MEASURE = 1e30
_DECODER = json.JSONDecoder()  # a log has a million lines: spare json.loads' look at its options


def text_of(data: Mapping[str, Any], key: str) -> str | None:
    """Return a text value, or None when it is absent, null, empty, "unknown" or no text."""
    value = data.get(key)
    return clean_text(value) if isinstance(value, str) and value not in ("", UNKNOWN) else None


def int_of(data: Mapping[str, Any], key: str) -> int | None:
    """Return a whole number, or None; true and false do not count as numbers."""
    value = data.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_COUNT:
        return None
    return value


def number(value: object) -> float | None:
    """Return a JSON number as a float (NaN and the infinities stay), or None."""
    if isinstance(value, float):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    # Beyond it, float() may overflow; such a value is as little a measurement as infinity.
    return float(value) if abs(value) <= MAX_COUNT else math.inf if value > 0 else -math.inf


def float_of(data: Mapping[str, Any], key: str) -> float | None:
    """Return the number under a key as a float, or None."""
    return number(data.get(key))


def finite(value: float | None) -> float | None:
    """Return the value if it is a finite number that can be a measurement, else None."""
    return value if value is not None and abs(value) <= MAX_MEASURE else None


def seconds_of(value: object) -> float | None:
    """Return seconds from a number or from the log's text form (`"279.86649 s"`, `"1.6e-05"`)."""
    if isinstance(value, str):
        try:
            seconds = float(value[:64].rstrip("s"))
        except ValueError:
            return None
        return seconds if abs(seconds) <= MAX_MEASURE else None
    return finite(number(value))


def parse_json(text: str | bytes) -> Any:  # noqa: ANN401 - JSON is untyped
    """Parse JSON with the NaN and Infinity tokens that the published logs hold.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, or holds an absurd number.
    """
    try:
        return json.loads(text) if isinstance(text, bytes) else _DECODER.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_named(name: str, pattern: str) -> bool:
    """Tell whether a glob matches a name, or is the name: `lr=[1,2]` names itself, too."""
    return name == pattern or fnmatchcase(name, pattern)


def natural_key(text: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts `k2` before `k10`."""
    parts = re.split(r"(\d+)", text)
    return tuple(
        (0, int(part[:18]), part) if part.isdecimal() else (1, 0, part) for part in parts if part
    )
