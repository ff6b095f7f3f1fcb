"""The native core as fidelity needs it: a JPEG at each number of scan groups, and its pixels."""

from __future__ import annotations

import numpy as np

from dl2cli.analysis.fidelity.metrics import Pixels
from dl2cli.errors import DataError
from dl2cli.pcr.scan_script import DEFAULT
from dl2cli_native import _core

GROUPS = DEFAULT.groups
_END = b"\xff\xd9"


def prefixes_of_jpeg(jpeg: bytes) -> list[bytes]:
    """Return the JPEG as `dl2 convert` would store it, at 1 to G scan groups.

    Raises:
        DataError: It is damaged, or of a kind that cannot be transcoded.
    """
    try:
        fragments = _core.transcode(jpeg, DEFAULT.native).fragments
    except _core.DataError as error:
        raise DataError(str(error)) from error
    return [b"".join(fragments[:k]) + _END for k in range(1, len(fragments) + 1)]


def decode(jpeg: bytes, *, whole_file: bool) -> Pixels:
    """Return the pixels as the PCR loader sees them (no block smoothing): uint8 (H, W, C).

    Args:
        jpeg: The image.
        whole_file: It is a source file, of which nothing may be missing, and not the first scan
            groups of an image.

    Raises:
        DataError: The JPEG is damaged.
    """
    try:
        return np.asarray(_core.decode([jpeg], whole_file=whole_file))
    except _core.DataError as error:
        raise DataError(str(error)) from error
