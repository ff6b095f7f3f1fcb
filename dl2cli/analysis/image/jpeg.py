"""Describe a JPEG's header in the words of the table. The native core reads the markers."""

from __future__ import annotations

from dl2cli_native import _core

_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_SUBSAMPLING: dict[tuple[float, float], str] = {
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0",
    (1, 2): "4:4:0", (4, 1): "4:1:1", (4, 2): "4:1:0",
}  # fmt: skip


def mode_of(header: _core.JpegHeader) -> str:
    """Return the mode that Pillow gives the image."""
    bands = len(header.sampling)
    return _MODES.get(bands, f"{bands} bands")


def subsampling_of(header: _core.JpegHeader) -> str:
    """Return the subsampling as `4:2:0`.

    It is `gray` for one component, and the factors (`2x1,1x2,1x1`) if it has no name.
    """
    if len(header.sampling) == 1:
        return "gray"
    luma, *chroma = header.sampling
    usual = len(header.sampling) in (3, 4) and chroma[0] == chroma[1]
    if usual and (len(chroma) == 2 or chroma[2] == luma):
        ratio = luma[0] / chroma[0][0], luma[1] / chroma[0][1]
        if ratio in _SUBSAMPLING:
            return _SUBSAMPLING[ratio]
    return ",".join(f"{h}x{v}" for h, v in header.sampling)
