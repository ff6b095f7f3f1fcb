"""Make text from outside (names of files, contents of logs, EXIF) safe to show anywhere.

File names are bytes that anybody may have chosen: they can hold sequences that clear a terminal,
turn the direction of reading, or pass for markup. Whatever shows such text, on a screen, on a page
or in a plot, passes it through `clean_text` first.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Final

MAX_TEXT: Final = 400  # characters of one value

# What a terminal that knows no Unicode gets instead, where a plain spelling exists.
_PLAIN: Final = str.maketrans(
    {"→": "->", "–": "-", "—": "-", "−": "-", "…": "...", "•": "*", "·": ".", "×": "x", "≥": ">=",
     "≤": "<=", "±": "+-", "━": "-", "─": "-", "’": "'", "“": '"', "”": '"', "µ": "u", "²": "2",
     "°": " deg"}
)  # fmt: skip


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    r"""Return text in which no character can move a cursor, turn the reading direction or hide.

    Control, format, surrogate and private characters become escapes such as ``\x1b``; long text
    is cut with an ellipsis.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return without_controls(text)


def without_controls(text: str, keep: str = " ") -> str:
    r"""Return text of any length with control characters as escapes, but for those to keep."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char.encode("unicode_escape").decode("ascii")
        if unicodedata.category(char)[0] in "CZ" and char not in keep
        else char
        for char in text
    )


def encodable(text: str, encoding: str) -> str:
    r"""Return text that an encoding can hold: a plain spelling, or an escape such as ``\u65e5``."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(_PLAIN)
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return " Did you mean X?" for a word that is close to a known one, else nothing."""
    by_folded = {each.casefold().lstrip("-"): each for each in known}
    close = difflib.get_close_matches(word.casefold().lstrip("-"), by_folded, n=1, cutoff=0.6)
    return f" Did you mean {by_folded[close[0]]}?" if close else ""
