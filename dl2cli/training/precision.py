"""Mixed precision: in which numbers a step computes, and the scale of the loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PrecisionConfig:
    """In which numbers a step computes.

    Attributes:
        amp: mixed precision; else float32.
        dtype: of mixed precision.
        static_loss_scale: the loss is multiplied by it, gradients divided.
        dynamic_loss_scale: the scale follows overflows instead.
    """

    amp: bool = False
    dtype: Literal["float16", "bfloat16"] = "float16"
    static_loss_scale: float = 1.0
    dynamic_loss_scale: bool = False
