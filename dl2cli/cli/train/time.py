"""Warns of a training that a CPU will not finish soon."""

from __future__ import annotations

from typing import Final

# Multiply-adds in 10^9 of one forward pass at 224 px, counted with torch.utils.flop_counter.
_FORWARD_GMAC: Final = {
    "alexnet": 0.71, "resnet18": 1.81, "resnet34": 3.66, "resnet50": 4.09, "resnet101": 7.80,
    "resnet152": 11.5, "resnext101_32x4d": 7.97, "se_resnext101_32x4d": 7.97,
    "shufflenet_v2_x1_0": 0.145, "mobilenet_v3_small": 0.057, "mobilenet_v3_large": 0.217,
    "small_cnn": 0.055,
}  # fmt: skip
_BACKWARD: Final = 2  # a backward pass costs twice the forward pass
_CORE_GMAC_S: Final = 10  # of a core of a server, as PyTorch uses it for convolutions
_LONG_S: Final = 1800.0


def cpu_warning(arch: str, image_size: int, images: int, epochs: int, cores: int) -> str | None:
    """Return a sentence if a training on a CPU takes long, with what to choose instead."""
    gmac = _FORWARD_GMAC.get(arch)
    if gmac is None:
        return None
    per_image_s = gmac * (1 + _BACKWARD) * (image_size / 224) ** 2 / (_CORE_GMAC_S * cores)
    total_s = per_image_s * images * epochs
    if total_s < _LONG_S:
        return None
    what = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    return (
        f"Training {arch} at {image_size} px on {cores} CPU cores will take about "
        f"{_in_words(total_s)} for {what} of {images:,} images, by a rough estimate. For a first "
        "look, choose --arch small_cnn --image-size 64, or fewer --epochs."
    )


def _in_words(seconds: float) -> str:
    for unit, length in (("days", 86400.0), ("hours", 3600.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 60:.0f} minutes"
