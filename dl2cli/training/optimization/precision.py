"""Mixed precision: the number types that a step computes in, and the scale of the loss."""

from __future__ import annotations

import contextlib
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dl2cli.errors import UsageError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PrecisionConfig:
    """The number types that a step computes in.

    Attributes:
        amp: use mixed precision; otherwise float32 without a loss scale.
        dtype: the lower-precision type of mixed precision.
        static_loss_scale: multiply the loss by this, and divide the gradients by it.
        dynamic_loss_scale: adjust the scale when gradients overflow instead.
    """

    amp: bool = False
    dtype: Literal["float16", "bfloat16"] = "float16"
    static_loss_scale: float = 1.0
    dynamic_loss_scale: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "bfloat16"):
            raise UsageError(f"Mixed precision is float16 or bfloat16, not {self.dtype!r}.")
        if not (math.isfinite(self.static_loss_scale) and self.static_loss_scale > 0):
            raise UsageError(f"The loss scale must be above 0, not {self.static_loss_scale}.")
        if self.dynamic_loss_scale and self.static_loss_scale != 1:
            raise UsageError("The loss scale is either static or dynamic: leave out one of both.")
        if self.amp and self.dynamic_loss_scale and self.dtype == "bfloat16":
            raise UsageError(
                "bfloat16 has the range of float32, so that nothing overflows for want of it: "
                "leave out the dynamic loss scale."
            )

    def check(self) -> tuple[str, ...]:
        """Return a sentence for each option that has no effect."""
        if not self.amp and (self.dynamic_loss_scale or self.static_loss_scale != 1):
            return ("Without mixed precision the loss scale is ignored, as published.",)
        return ()


class Precision:
    """Runs forward in the right numbers, backward with a scaled loss, and the optimiser.

    A step whose gradients overflowed is left out, under a static scale too, so that one overflow
    does not destroy the model; `skipped_steps` counts them. A static scale stays as it is (the
    published program halves it at each overflow), so where it is too high for good, that count
    grows with every step: whoever runs the loop must tell. A loss that is not a number is not
    hidden by this: the loss itself is never changed.
    """

    def __init__(self, config: PrecisionConfig, device: torch.device) -> None:
        """Prepare for a device.

        Raises:
            UsageError: this torch has no such mixed precision there.
        """
        import torch

        self.config = config
        self._device = device
        self._dtype = torch.float16 if config.dtype == "float16" else torch.bfloat16
        self._skipped: torch.Tensor | None = None
        self._skipped_before = 0
        self._scaler = None
        if config.amp:
            self._check_autocast()
            if config.dtype == "float16" or config.static_loss_scale != 1:
                self._scaler = _make_scaler(config, device)

    def _check_autocast(self) -> None:
        """Raise UsageError where torch would refuse the numbers, or compute in others instead."""
        import torch

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                torch.autocast(self._device.type, dtype=self._dtype)
        except (RuntimeError, UserWarning) as error:
            raise UsageError(
                f"torch {torch.__version__} has no mixed precision in {self.config.dtype} on this "
                f"{self._device.type}: take the other type, or leave out mixed precision."
            ) from error

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Return the context of forward and loss."""
        if not self.config.amp:
            return contextlib.nullcontext()
        import torch

        return torch.autocast(self._device.type, dtype=self._dtype)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, scaled, to those of earlier calls since the last step."""
        scaled = loss if self._scaler is None else self._scaler.scale(loss)
        scaled.backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale, let the optimiser step, and adapt the scale.

        The host does not wait for the device if the optimiser's kernels are fused.
        """
        scaler = self._scaler
        if scaler is None:
            optimizer.step()
            return
        scaler.unscale_(optimizer)
        # No public call tells of an overflow without waiting for the device.
        for found in scaler._found_inf_per_device(optimizer).values():
            self._skipped = found.clone() if self._skipped is None else self._skipped + found
        scaler.step(optimizer)
        if self.config.dynamic_loss_scale:
            scaler.update()
        else:
            scaler.update(float(self.config.static_loss_scale))

    @property
    def scale(self) -> float:
        """What the next loss is multiplied by; waits for the device."""
        return 1.0 if self._scaler is None else float(self._scaler.get_scale())

    @property
    def skipped_steps(self) -> int:
        """Steps of the optimiser left out because of an overflow; waits for the device."""
        since = 0 if self._skipped is None else int(self._skipped.item())
        return self._skipped_before + since

    def state_dict(self) -> dict[str, Any]:
        """Return the scale and what it depends on: JSON types only. Waits for the device."""
        scaler = {} if self._scaler is None else self._scaler.state_dict()
        return {"scaler": scaler, "skipped_steps": self.skipped_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; a static scale remains what the options say."""
        self._skipped, self._skipped_before = None, int(state["skipped_steps"])
        if self._scaler is not None and self.config.dynamic_loss_scale and state["scaler"]:
            self._scaler.load_state_dict(state["scaler"])


def _make_scaler(config: PrecisionConfig, device: torch.device) -> torch.amp.GradScaler:
    import torch

    first = 2.0**16 if config.dynamic_loss_scale else config.static_loss_scale
    if hasattr(torch.amp, "GradScaler"):  # since torch 2.3
        return torch.amp.GradScaler(device.type, init_scale=first)
    if device.type == "cuda":
        return torch.cuda.amp.GradScaler(init_scale=first)
    raise UsageError(
        f"torch {torch.__version__} scales the loss on GPUs alone: take torch 2.3 or newer, or "
        "bfloat16 without a loss scale."
    )
