"""Scaling images down to a longest side, which is a lossy step that only happens on request."""

from __future__ import annotations

from PIL import Image

from dl2cli.errors import UsageError


def check_max_side(max_side: int | None) -> None:
    """Refuse a side that is none. Raises UsageError."""
    if max_side is not None and max_side < 1:
        raise UsageError(f"The longest side must be at least 1 pixel, not {max_side}.")


def fitted(image: Image.Image, max_side: int | None) -> Image.Image:
    """Return an image whose longer side has at most `max_side` pixels (Lanczos), or the image."""
    longest = max(image.size)
    if max_side is None or longest <= max_side:
        return image
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)
