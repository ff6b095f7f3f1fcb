"""Send batches to a device while it computes, and normalise them there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dl2cli.loaders.base import Batch, require_torch
from dl2cli.loaders.transform import OutputConfig, normalize

if TYPE_CHECKING:
    import torch


class DeviceTransfer:
    """Brings batches to a device, in the form that a model expects."""

    def __init__(self, device: torch.device, output: OutputConfig) -> None:
        """Prepare the transfer.

        Args:
            device: where the model computes.
            output: holds the mean and the standard deviation for images that come as bytes.
        """
        self._device = device
        self._output = output
        self._copies = CopyStream(device) if device.type == "cuda" else None

    def __call__(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (n, 3, H, W), normalised float32, and labels (n,), on the device.

        The host waits for nothing if the batch is in pinned memory (`LoaderConfig.pin_memory`).
        """
        images, labels = batch.images, batch.labels
        if self._copies is not None and images.device.type == "cpu":
            images, labels = self._copies.send((images, labels))
        return normalize(images, self._output), labels


class CopyStream:
    """A stream of a GPU that copies while the current stream still computes earlier steps."""

    def __init__(self, device: torch.device) -> None:
        """Make a stream of a CUDA device."""
        self._cuda = require_torch().cuda
        self._device = device
        self._stream = self._cuda.Stream(device)

    def send(
        self, tensors: Sequence[torch.Tensor], *, wait: bool = False
    ) -> tuple[torch.Tensor, ...]:
        """Return copies of tensors on the device.

        Work queued in the current stream from now on finds them complete. With `wait`, the host
        waits for the copies and nothing else; afterwards the originals may be overwritten.
        """
        current = self._cuda.current_stream(self._device)
        with self._cuda.stream(self._stream):
            copies = tuple(t.to(self._device, non_blocking=True, copy=True) for t in tensors)
        if wait:
            self._stream.synchronize()
        else:
            current.wait_stream(self._stream)
        for copy in copies:
            # Its memory is the copying stream's, which must not reuse it before it was used here.
            copy.record_stream(current)
        return copies
