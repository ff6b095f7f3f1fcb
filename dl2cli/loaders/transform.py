"""What happens to each image: which part is shown, at which size, in which form.

Where a crop lies is computed by the native core alone, for all loaders; how it is cut out and
resized is each loader's own. The `pcr` loader's resize equals Pillow's to within 1 of 255 (bit for
bit before Pillow 13, which may take the two directions in the other order), DALI's to within 2.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dl2cli.errors import UsageError
from dl2cli_native import _core

if TYPE_CHECKING:
    import torch
    from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class TransformConfig:
    """Crop and flip.

    Attributes:
        train: whether to take a random crop, resize it and flip it at random; otherwise the short
            side is resized to `resize_short`, and the centre taken.
        size: width and height of the result in pixels.
        resize_short: the length of the short side in pixels; None is size + 32.
        scale: the smallest and largest area of a random crop, as a share of the image's area.
        ratio: the smallest and largest width over height of a random crop.
        flip_probability: the probability of a flip left to right.
    """

    train: bool = True
    size: int = 224
    resize_short: int | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5

    def native(self) -> dict[str, Any]:
        """Return the options as the native core takes them."""
        return {**asdict(self), "resize_short": self.resize_short or self.size + 32}


@dataclass(frozen=True)
class OutputConfig:
    """The form of `Batch.images`.

    Attributes:
        normalized: whether values are float32, (value / 255 - mean) / std; otherwise uint8.
        channels_last: whether the values of a pixel lie together in memory; otherwise in planes.
        mean: the mean of each channel.
        std: the standard deviation of each channel.
    """

    normalized: bool = False
    channels_last: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def native(self) -> dict[str, Any]:
        """Return the options as the native core takes them."""
        return asdict(self)


@dataclass(frozen=True)
class Placements:
    """Where n samples are cut out of their images.

    Attributes:
        boxes: int64 (n, 4): x, y, width and height of a box in the image.
        parts: float32 (n, 4): left, top, right, bottom of the part of the box that is resized.
        flips: bool (n,): whether to mirror the result.
    """

    boxes: NDArray[np.int64]
    parts: NDArray[np.float32]
    flips: NDArray[np.bool_]


def place(
    config: TransformConfig,
    *,
    seed: int,
    epoch: int,
    samples: ArrayLike,
    widths: ArrayLike,
    heights: ArrayLike,
) -> Placements:
    """Place the crops of samples whose images have the given sizes in pixels.

    Raises:
        UsageError: the options make no sense.
    """
    try:
        found = _core.place_samples(
            config.native(),
            seed % (1 << 64),
            epoch,
            np.asarray(samples, dtype=np.uint64),
            np.asarray(widths, dtype=np.uint32),
            np.asarray(heights, dtype=np.uint32),
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"This transform is impossible: {error}.") from error
    return Placements(*found)


def check(config: TransformConfig) -> None:
    """Refuse options that make no sense. Raises UsageError."""
    place(config, seed=0, epoch=0, samples=[0], widths=[1], heights=[1])


def cut_out(
    image: Image.Image,
    config: TransformConfig,
    placements: Placements,
    index: int = 0,
) -> Image.Image:
    """Cut sample `index` out of its image with Pillow: RGB, size x size."""
    from PIL import Image

    x, y, width, height = (int(value) for value in placements.boxes[index])
    box = image.crop((x, y, x + width, y + height))
    left, top, right, bottom = (float(value) for value in placements.parts[index])
    size = (config.size, config.size)
    result = box.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    if placements.flips[index]:
        result = result.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return result


def to_tensor(pixels: NDArray[np.uint8], output: OutputConfig) -> torch.Tensor:
    """Return uint8 pixels (N, H, W, 3) as a tensor (N, 3, H, W) in the form of `output`."""
    import torch

    return to_output(torch.from_numpy(np.ascontiguousarray(pixels)), output)


def to_output(pixels: torch.Tensor, output: OutputConfig) -> torch.Tensor:
    """Return a uint8 tensor (N, H, W, 3) as (N, 3, H, W) in the form of `output`."""
    import torch

    images = pixels.permute(0, 3, 1, 2)
    if output.normalized:
        images = normalize(images, output)
    layout = torch.channels_last if output.channels_last else torch.contiguous_format
    return images.contiguous(memory_format=layout)


def normalize(images: torch.Tensor, output: OutputConfig) -> torch.Tensor:
    """Return uint8 images (N, 3, H, W) as normalised float32, and float images as they are."""
    if images.is_floating_point():
        return images
    mean, std = _mean_and_std(output, images.device)
    return images.float().sub_(mean).div_(std)


@lru_cache
def _mean_and_std(output: OutputConfig, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return both in units of bytes, (1, 3, 1, 1); cached, since sending them waits for a GPU."""
    import torch

    def scaled(values: tuple[float, float, float]) -> torch.Tensor:
        return torch.tensor([255 * value for value in values], device=device).view(1, 3, 1, 1)

    return scaled(output.mean), scaled(output.std)
