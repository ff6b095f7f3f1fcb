"""How an image is to be shown: its EXIF orientation, and turning it upright."""

from __future__ import annotations

from typing import Final

from PIL import Image

ORIENTATION: Final = 0x0112  # EXIF 2.32
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,  # Pillow turns counter-clockwise
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image, 1 to 8; 1 if it has no valid one."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # whatever is wrong with EXIF costs no pixels
        return 1
    return int(value) if value in range(1, 9) else 1  # some files hold a fraction, or a text


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """Return an image, turned as its EXIF orientation (1 to 8) says."""
    method = _TURNS.get(orientation)
    return image if method is None else image.transpose(method)
