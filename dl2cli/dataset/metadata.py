"""What a file says beside its pixels: its EXIF orientation, the rest of EXIF, its colour profile.

Whatever becomes of the pixels, the orientation is kept: it is how the picture is to be shown.
"""

from __future__ import annotations

import io
from typing import Final, NamedTuple

from PIL import Image

from dl2cli.dataset.orientation import ORIENTATION, exif_orientation
from dl2cli.dataset.pixels import JPEG_START, readable_formats
from dl2cli_native import _core

MAX_EXIF_BYTES: Final = 65_533  # of a marker segment
# Tags of a TIFF that say where its pixels are, or hold a file of another kind (XMP, IPTC,
# Photoshop, ICC). They can be most of its bytes, and mean nothing in a JPEG's EXIF.
_NOT_EXIF: Final = (273, 279, 324, 325, 347, 700, 33723, 34377, 34675, 37724)
_EXIF_IFD: Final = 0x8769
_LARGE_TAGS: Final = (0x927C, 0x9286)  # MakerNote, UserComment: what makes EXIF large
_PROFILE_SPACES: Final = {"L": b"GRAY", "RGB": b"RGB "}  # ICC.1:2022, section 7.2.6


class Metadata(NamedTuple):
    """What to write beside an image's pixels.

    Attributes:
        exif: a block as Pillow takes it, empty for none; the orientation at least where that is
            other than upright.
        icc_profile: the colour profile, if it is to be kept.
        orientation: EXIF orientation, 1 to 8.
    """

    exif: bytes
    icc_profile: bytes | None
    orientation: int


def read_metadata(content: bytes, mode: str, *, keep: str) -> Metadata:
    """Read what is to be kept of a file that decodes.

    Args:
        content: the whole file.
        mode: of the pixels to be written ("L" or "RGB"), which a profile has to fit.
        keep: `none`, `icc`, `exif` or `all`.

    Raises:
        MemoryError: whatever else is wrong with metadata costs no image.
    """
    profile: bytes | None
    if content.startswith(JPEG_START):
        header = _core.read_jpeg_header(content, _core.Limits(max_pixels=1 << 32))
        orientation = header.orientation if header.orientation in range(1, 9) else 1
        begin, end = header.exif_span
        whole = content[begin:end]
        profile = _core.read_icc_profile(content) or None
    else:
        try:
            image = Image.open(io.BytesIO(content), formats=readable_formats())
        except MemoryError:
            raise
        except Exception:  # its pixels were read without what is odd about it
            return Metadata(b"", None, 1)
        with image:
            orientation = exif_orientation(image)
            whole = encoded_exif(image, keep_exif=True)[0] if keep in {"exif", "all"} else b""
            profile = image.info.get("icc_profile")
    exif = whole if keep in {"exif", "all"} else b""
    kept = keep in {"icc", "all"} and profile is not None and fits_mode(profile, mode)
    return Metadata(
        exif or (orientation_alone(orientation) if orientation != 1 else b""),
        profile if kept else None,
        orientation,
    )


def encoded_exif(image: Image.Image, *, keep_exif: bool) -> tuple[bytes, str]:
    """Return the EXIF to write, or only its orientation, and a remark on what could not be kept.

    What is wrong with EXIF raises any exception, and costs no pixels.
    """
    try:
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:
        return b"", "EXIF left out: it is damaged" if keep_exif else ""
    alone = orientation_alone(orientation)
    if not keep_exif:
        return alone, ""
    try:
        for tag in _NOT_EXIF:
            exif.pop(tag, None)
        whole = exif.tobytes()
        if len(whole) <= MAX_EXIF_BYTES:
            return whole, ""
        for tag in _LARGE_TAGS:
            exif.pop(tag, None)
            exif.get_ifd(_EXIF_IFD).pop(tag, None)
        smaller = exif.tobytes()
    except MemoryError:
        raise
    except Exception:
        return alone, "only EXIF's orientation kept: the rest cannot be written again"
    size = f"{len(whole)} bytes, and JPEG holds {MAX_EXIF_BYTES}"
    if len(smaller) <= MAX_EXIF_BYTES:
        return smaller, f"MakerNote and UserComment left out of EXIF: {size}"
    return alone, f"only EXIF's orientation kept: {size}"


def orientation_alone(orientation: object) -> bytes:
    """Return EXIF with nothing but an orientation, which may be anything; empty for upright."""
    exif = Image.Exif()
    # Some files hold a fraction. Comparing with numbers also rules out texts and NaN.
    if orientation in range(2, 9):
        exif[ORIENTATION] = int(orientation)  # type: ignore[call-overload]
    return exif.tobytes()


def fits_mode(icc_profile: bytes, mode: str) -> bool:
    """Tell whether a profile can describe the pixels; a CMYK profile cannot where they are RGB."""
    known = icc_profile[36:40] == b"acsp"
    return not known or icc_profile[16:20] == _PROFILE_SPACES[mode]
