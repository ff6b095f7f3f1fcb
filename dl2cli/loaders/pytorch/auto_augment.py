"""AutoAugment's policy for ImageNet, with Pillow.

Source: Cubuk et al., "AutoAugment: learning augmentation policies from data", CVPR 2019, table 9
(sub-policies) and table 6 (operations and the ranges of their magnitudes, in ten even steps).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_FILL: Final = (128, 128, 128)  # the colour of what a geometric operation uncovers

# A sub-policy is two steps: operation, probability, magnitude 0 to 9 (None if it takes none).
_Step = tuple[str, float, int | None]
POLICY: Final[tuple[tuple[_Step, _Step], ...]] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("equalize", 0.4, None), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, None)),
    (("posterize", 0.8, 5), ("equalize", 1.0, None)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, None), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, None)),
    (("equalize", 0.0, None), ("equalize", 0.8, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, None)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, None)),
    (("color", 0.4, 0), ("equalize", 0.6, None)),
    (("equalize", 0.4, None), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, None)),
    (("invert", 0.6, None), ("equalize", 1.0, None)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, None), ("equalize", 0.6, None)),
)


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    return image.rotate(degrees, resample=Image.Resampling.NEAREST, fillcolor=_FILL)


def _shear_x(image: Image.Image, shear: float) -> Image.Image:
    matrix = (1.0, shear, 0.0, 0.0, 1.0, 0.0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=_FILL)


# Operation -> (value at magnitude 0, at magnitude 9, whether its sign is random, function).
_Operation = tuple[float, float, bool, Callable[[Image.Image, float], Image.Image]]
_OPERATIONS: Final[dict[str, _Operation]] = {
    "shear_x": (0.0, 0.3, True, _shear_x),
    "rotate": (0.0, 30.0, True, _rotate),
    "posterize": (8.0, 4.0, False, lambda image, bits: ImageOps.posterize(image, round(bits))),
    "solarize": (256.0, 0.0, False, lambda image, limit: ImageOps.solarize(image, round(limit))),
    "color": (0.0, 0.9, True, lambda image, by: ImageEnhance.Color(image).enhance(1 + by)),
    "contrast": (0.0, 0.9, True, lambda image, by: ImageEnhance.Contrast(image).enhance(1 + by)),
    "sharpness": (0.0, 0.9, True, lambda image, by: ImageEnhance.Sharpness(image).enhance(1 + by)),
    "autocontrast": (0, 0, False, lambda image, _: ImageOps.autocontrast(image)),
    "equalize": (0, 0, False, lambda image, _: ImageOps.equalize(image)),
    "invert": (0, 0, False, lambda image, _: ImageOps.invert(image)),
}


def auto_augment(image: Image.Image, uniforms: np.ndarray) -> Image.Image:
    """Apply one sub-policy to an RGB image.

    Args:
        image: RGB.
        uniforms: 5 random numbers in [0, 1): the sub-policy, and for each of its two steps
            whether it happens and the sign of its magnitude.
    """
    policy = POLICY[int(uniforms[0] * len(POLICY))]
    for (name, probability, magnitude), chance, sign in zip(
        policy, uniforms[1::2], uniforms[2::2], strict=True
    ):
        if chance >= probability:
            continue
        low, high, signed, apply = _OPERATIONS[name]
        value = low + (high - low) * (magnitude or 0) / 9
        image = apply(image, -value if signed and sign < 0.5 else value)
    return image
