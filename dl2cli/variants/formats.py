"""The formats of variants: what each is called, and how pixels are encoded.

JPEG is baseline with fitted Huffman tables and 4:2:0 chroma, as Pillow and the published variants
have it. The quality of JPEG 2000 is the PSNR in dB that its coder aims at, as in ImageMagick.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Final, Literal

from PIL import Image, features

from dl2cli.errors import DataError, UsageError

Format = Literal["jpeg", "webp", "jpeg2000", "raw"]
FORMATS: Final[tuple[Format, ...]] = ("jpeg", "webp", "jpeg2000", "raw")
SUFFIXES: Final = {"jpeg": ".jpg", "webp": ".webp", "jpeg2000": ".jp2"}
# The longest side that each file format can name, in pixels.
_MAX_SIDE: Final = {"jpeg": 65_500, "webp": 16_383, "jpeg2000": 1 << 30}
_PILLOW: Final = {"jpeg": "JPEG", "webp": "WEBP", "jpeg2000": "JPEG2000"}
_LIBRARY: Final = {"jpeg": "jpg", "webp": "webp", "jpeg2000": "jpg_2000"}
_EFFORT: Final = 75  # of lossless WebP, where "quality" means effort; cwebp's default


@dataclass(frozen=True)
class Target:
    """A variant to make: a format, and how much of the image it keeps.

    Attributes:
        format: `raw` is a copy of the source file.
        quality: 1 to 100; of JPEG 2000 the PSNR in dB. None for lossless ones and copies.
        method: of WebP: 0 (fast) to 6 (small).
    """

    format: Format
    quality: int | None = None
    method: int = 4

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"A quality must be 1 to 100, not {self.quality}.")
        if self.quality is None and self.format == "jpeg":
            raise UsageError("JPEG needs a quality: only WebP and JPEG 2000 can be lossless.")
        if not 0 <= self.method <= 6:
            raise UsageError(f"The method of WebP must be 0 to 6, not {self.method}.")

    @property
    def name(self) -> str:
        """The published name, with two digits: `jpeg-05`, `webp-lossless`."""
        if self.format == "raw":
            return "raw"
        return f"{self.format}-{'lossless' if self.quality is None else f'{self.quality:02d}'}"

    def settings(self) -> dict[str, Any]:
        """Return what decides the bytes of this variant, the libraries' versions included."""
        found: dict[str, Any] = {"format": self.format, "quality": self.quality}
        if self.format != "raw":
            found["pillow"] = Image.__version__  # type: ignore[attr-defined]
            found["encoder"] = features.version(_LIBRARY[self.format])
        if self.format == "webp":
            found["webp_method"] = self.method
        return found


def encode(image: Image.Image, target: Target, exif: bytes, icc_profile: bytes | None) -> bytes:
    """Encode pixels of mode "L" or "RGB".

    Args:
        image: the pixels.
        target: the format and quality; not `raw`.
        exif: the EXIF block to write, empty for none; JPEG 2000 holds none.
        icc_profile: the colour profile to write.

    Raises:
        DataError: the format cannot hold so many pixels.
    """
    most = _MAX_SIDE[target.format]
    if max(image.size) > most:
        raise DataError(
            f"{image.width} x {image.height} pixels; {_PILLOW[target.format]} holds {most:,} a side"
        )
    options = _options(image, target)
    if exif and target.format != "jpeg2000":
        options["exif"] = exif
    if icc_profile and target.format != "jpeg2000":
        options["icc_profile"] = icc_profile
    out = io.BytesIO()
    image.save(out, _PILLOW[target.format], **options)
    return out.getvalue()


def _options(image: Image.Image, target: Target) -> dict[str, Any]:
    if target.format == "jpeg":
        colour = {} if image.mode == "L" else {"subsampling": "4:2:0"}
        return {"quality": target.quality, "optimize": True, **colour}
    if target.format == "webp":
        lossless = target.quality is None
        quality = _EFFORT if lossless else target.quality
        return {"quality": quality, "method": target.method, "lossless": lossless}
    options: dict[str, Any] = {"mct": int(image.mode == "RGB"), "irreversible": False}
    if target.quality is not None:
        options |= {
            "irreversible": True,
            "quality_mode": "dB",
            "quality_layers": [target.quality],
        }
    return options


def check_available(targets: tuple[Target, ...]) -> None:
    """Refuse a format that this build of Pillow cannot write. Raises UsageError."""
    for target in targets:
        if target.format != "raw" and not features.check(_LIBRARY[target.format]):
            raise UsageError(
                f"This build of Pillow has no {_PILLOW[target.format]}: install Pillow from PyPI."
            )
