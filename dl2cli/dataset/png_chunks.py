"""Strip a PNG of what does not matter to its pixels (PNG specification, sections 5.3 and 11.3)."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Final

PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_PNG_TEXT: Final = frozenset({b"tEXt", b"zTXt", b"iTXt"})


def without_metadata(content: bytes) -> Iterator[bytes]:
    """Yield a PNG with less and less metadata; yield nothing for other formats."""
    if not content.startswith(PNG_START):
        return
    yield _png_chunks(content, lambda kind: kind not in _PNG_TEXT)
    yield _png_chunks(content, lambda kind: kind == b"tRNS")


def _png_chunks(content: bytes, keep: Callable[[bytes], bool]) -> bytes:
    """Return a PNG without the ancillary chunks (a small first letter) that are not to be kept.

    Ancillary chunks with a wrong checksum go, too. All others stay as they are, even if damaged.
    """
    view = memoryview(content)
    parts = [view[: len(PNG_START)]]
    at = len(PNG_START)
    while at + 12 <= len(content):
        kind = content[at + 4 : at + 8]
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        ancillary = bool(kind[0] & 0x20)
        sound = zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(content[end - 4 : end], "big")
        if not ancillary or (sound and keep(kind)):
            parts.append(view[at:end])
        at = end
    return b"".join(parts)
