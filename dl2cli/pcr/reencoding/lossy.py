"""The lossy steps of a conversion, which are only taken on request: fewer pixels, lower quality.

A JPEG that needs neither is left to the transcoder, and keeps its exact pixels.
"""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from PIL import Image

from dl2cli.dataset.jpeg_quality import estimate
from dl2cli.dataset.metadata import read_metadata
from dl2cli.dataset.pixels import decode_source
from dl2cli.dataset.resize import fitted
from dl2cli.pcr.reencoding.foreign import Reencoded, name_of_frame
from dl2cli_native import _core

if TYPE_CHECKING:
    from dl2cli.pcr.config import ConvertConfig


def is_lossy(config: ConvertConfig) -> bool:
    """Tell whether a conversion may change pixels of JPEGs at all."""
    return config.max_side is not None or config.quality_cap is not None


def quality_of(config: ConvertConfig) -> int:
    """Return the quality at which pixels are encoded: that asked for, but no more than the cap."""
    return min(config.quality, config.quality_cap or 100)


def reencode_jpeg(path: str, config: ConvertConfig) -> Reencoded | None:
    """Encode a sound JPEG anew if it has too many pixels, or a quality above the cap.

    Its quality is ImageMagick's estimate; a JPEG with tables of another kind has none and is left
    alone, unless it is scaled.

    Returns:
        None if it is to stay as it is.

    Raises:
        DataError: it does not decode.
        OSError, MemoryError: the system could not read it.
    """
    content = _core.read_file(os.fsencode(path), config.limits.max_bytes)
    header = _core.read_jpeg_header(content, config.limits)
    quality = estimate(header.quant_tables)
    scaled = config.max_side is not None and max(header.width, header.height) > config.max_side
    capped = config.quality_cap is not None and quality is not None and quality > config.quality_cap
    if not scaled and not capped:
        return None
    image = decode_source(content, config.limits)
    metadata = read_metadata(content, "RGB" if image.mode != "L" else "L", keep="all")
    image = fitted(image.convert("RGB") if image.mode == "CMYK" else image, config.max_side)
    full = len(set(header.sampling)) == 1  # colours at full resolution, as in 4:4:4
    out = io.BytesIO()
    image.save(
        out, "JPEG", quality=quality_of(config), subsampling="4:4:4" if full else "4:2:0",
        exif=metadata.exif, icc_profile=metadata.icc_profile,
    )  # fmt: skip
    remark = remark_of(header.width, header.height, image)
    return Reencoded(out.getvalue(), name_of_frame(header.frame), remark)


def remark_of(width: int, height: int, image: Image.Image) -> str:
    """Say how an image was scaled; nothing where it was not."""
    if (width, height) == image.size:
        return ""
    return f"scaled from {width} x {height} to {image.width} x {image.height}"
