"""A JPEG at each number of scan groups, as `dl2 convert` would store it."""

from __future__ import annotations

from typing import Final

from dl2cli.dataset.pixels import UnsupportedImage
from dl2cli.errors import DataError
from dl2cli.pcr.scan_script import DEFAULT
from dl2cli_native import _core

GROUPS: Final = DEFAULT.groups
_END: Final = b"\xff\xd9"


def prefixes_of_jpeg(jpeg: bytes, limits: _core.Limits) -> list[bytes]:
    """Return the JPEG at 1 to G scan groups of the default script.

    Raises:
        DataError: It is damaged.
        UnsupportedImage: It is of a kind that is not transcoded: lossless, or of more than 8 bits.
    """
    try:
        fragments = _core.transcode(jpeg, DEFAULT.native, limits=limits).fragments
    except _core.UnsupportedError as error:
        raise UnsupportedImage(str(error)) from error
    except _core.DataError as error:
        raise DataError(str(error)) from error
    return [b"".join(fragments[:k]) + _END for k in range(1, len(fragments) + 1)]
