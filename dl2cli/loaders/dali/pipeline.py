"""What the loaders that decode with DALI share: the pipeline, and how it asks for its crops.

DALI is told where each crop lies, so that it shows what every other loader shows. It stops at an
image that it cannot decode: there is no other damage policy than "fail" here.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from dl2cli.errors import DataError, Dl2Error, MissingDependency, UsageError
from dl2cli.loaders import transform
from dl2cli.loaders.base import LoaderConfig, require_torch
from dl2cli.loaders.device import CopyStream
from dl2cli.loaders.order.sample_order import EpochOrder

if TYPE_CHECKING:
    import torch

_CROP_INPUTS: Final = 5

# A forked child has the pipelines of its parent, and not their threads: its garbage collector must
# not end one, which would wait for them.
os.register_at_fork(after_in_child=gc.freeze)

# Takes places in the order (n,). Returns the files to decode, unless DALI's own reader reads them,
# and the width and height of each image (n, 2). Raises Dl2Error.
LoadBatch = Callable[[NDArray[np.int64]], tuple[list[Any] | None, NDArray[np.uint32]]]


def check_config(config: LoaderConfig, *, gpu: bool) -> None:
    """Refuse what DALI cannot do.

    Raises:
        MissingDependency: torch or DALI is not installed.
        UsageError: DALI lacks what is asked for, or there is no GPU where one is needed.
    """
    torch = require_torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old versions use features that Python will drop
            import nvidia.dali.fn
            import nvidia.dali.pipeline  # noqa: F401
    except ImportError:
        raise MissingDependency("NVIDIA DALI", "dali-cuda12") from None
    transform.check(config.transform)
    if config.on_damage != "fail":
        raise UsageError(
            "DALI stops at a damaged image, so its loaders take only the damage policy fail."
        )
    if config.exif_orientation == "apply":
        raise UsageError(
            "DALI's loaders show images as they are stored: to apply the EXIF orientation, choose "
            "pcr, jpeg or pytorch."
        )
    if gpu and not torch.cuda.is_available():
        raise UsageError(
            "This loader decodes on a GPU, and this machine has none: use its CPU variant."
        )


class BatchSource:
    """What DALI calls for each batch. An error waits until its batch is asked for."""

    def __init__(
        self,
        config: LoaderConfig,
        order: EpochOrder,
        epoch: int,
        load: LoadBatch,
        *,
        always_full: bool,
    ) -> None:
        """Give the crops of an epoch.

        Args:
            config: the loader's configuration.
            order: the samples that are left of the epoch.
            epoch: its number.
            load: returns the files to decode, and the sizes of the images.
            always_full: repeat the last sample to fill the last batch, as DALI's readers do.
        """
        self.config, self.order, self.epoch = config, order, epoch
        self.error: Dl2Error | None = None
        self._load = load
        self._always_full = always_full
        self._at = 0

    def __call__(self) -> tuple[Any, ...]:
        """Return the outputs of `external_source` for a batch; StopIteration ends the epoch."""
        if self._at >= len(self.order) or self.error is not None:
            raise StopIteration
        places = np.arange(self._at, self._at + self.config.batch_size)
        last = len(self.order) - 1
        places = np.minimum(places, last) if self._always_full else places[places <= last]
        self._at += self.config.batch_size
        try:
            encoded, sizes = self._load(places)
        except Dl2Error as error:
            self.error = error.with_traceback(None)
            raise StopIteration from None
        crops = self._crops(places, sizes)
        return crops if encoded is None else (encoded, *crops)

    def _crops(self, places: NDArray[np.int64], sizes: NDArray[np.uint32]) -> tuple[Any, ...]:
        found = transform.place(
            self.config.transform,
            seed=self.config.seed,
            epoch=self.epoch,
            samples=self.order.sample[places],
            widths=sizes[:, 0],
            heights=sizes[:, 1],
        )
        boxes, parts = found.boxes.astype(np.int32), found.parts
        # DALI's order of axes is (y, x), and its arrays are dense.
        return (
            [np.ascontiguousarray(box[1::-1]) for box in boxes],
            [np.ascontiguousarray(box[:1:-1]) for box in boxes],
            [np.ascontiguousarray(part[1::-1]) for part in parts],
            [np.ascontiguousarray(part[:1:-1]) for part in parts],
            list(found.flips.astype(np.int32)),
        )


class Decoding:
    """A pipeline at work: uint8 images (N, size, size, 3) of one batch after the other."""

    def __init__(
        self,
        config: LoaderConfig,
        source: BatchSource,
        *,
        gpu: bool,
        paths: list[str] | None = None,
    ) -> None:
        """Build the pipeline.

        Args:
            config: the loader's configuration.
            source: gives the crops, and also the encoded images if there are no `paths`.
            gpu: decode on the GPU.
            paths: the files that DALI reads itself, in order.
        """
        from nvidia.dali.pipeline import Pipeline

        torch = require_torch()
        fn, _ = _operators()
        self.config, self.source = config, source
        self._device = torch.device("cuda", config.device_id) if gpu else torch.device("cpu")
        self._copies = CopyStream(self._device) if gpu else None
        make: Any = Pipeline
        self._pipeline = make(
            batch_size=config.batch_size,
            num_threads=config.workers,
            device_id=config.device_id if gpu else None,
            prefetch_queue_depth=config.prefetch,
        )
        with self._pipeline:
            inputs = list(
                fn.external_source(
                    source, num_outputs=_CROP_INPUTS + (1 if paths is None else 0), batch=True
                )
            )
            if paths is None:
                encoded = inputs.pop(0)
            else:
                encoded, _ = fn.readers.file(
                    files=paths, labels=[0] * len(paths), pad_last_batch=True
                )
            self._pipeline.set_outputs(self._images(encoded, inputs, gpu=gpu))
        self._pipeline.build()

    def _images(self, encoded: Any, inputs: list[Any], *, gpu: bool) -> Any:  # noqa: ANN401
        fn, types = _operators()
        anchor, shape, start, end, flip = inputs
        images = fn.decoders.image_slice(
            encoded,
            anchor,
            shape,
            axes=(0, 1),
            normalized_anchor=False,
            normalized_shape=False,
            device="mixed" if gpu else "cpu",
            output_type=types.RGB,
            **_keep_orientation(fn.decoders.image_slice),
        )
        size = self.config.transform.size
        images = fn.resize(
            images,
            size=(size, size),
            roi_start=start,
            roi_end=end,
            interp_type=types.INTERP_LINEAR,
            antialias=True,
        )
        return fn.flip(images, horizontal=flip)

    def next(self, count: int, name: str) -> torch.Tensor:
        """Return the next batch as a tensor in the form of the configuration, where it was decoded.

        Args:
            count: images in it; those that only fill it up are left out.
            name: the dataset's name, for messages.

        Raises:
            Dl2Error: the source or DALI failed.
        """
        dense = self._run(name).as_tensor()
        if self._copies is None:
            return transform.to_tensor(np.array(dense)[:count], self.config.output)
        import torch

        # DALI takes its memory back at the next run, whatever torch still has to do with it.
        shown = torch.as_tensor(dense, device=self._device)
        (pixels,) = self._copies.send([shown[:count]], wait=True)
        return transform.to_output(pixels, self.config.output)

    def _run(self, name: str) -> Any:  # noqa: ANN401
        try:
            (images,) = self._pipeline.run()
        except StopIteration:
            failure = self.source.error or DataError(f"{name}: DALI ends too early.")
        except RuntimeError as error:
            failure = DataError(f"{name}: DALI cannot load a batch: {_reason(error)}")
        else:
            return images
        raise failure  # alone: the traceback of DALI's error would keep the pipeline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the pipeline and its threads."""
        self._pipeline = None

    def labels(self, numbers: NDArray[np.int64]) -> torch.Tensor:
        """Return labels (n,) as a tensor where the images are."""
        import torch

        labels = torch.from_numpy(numbers)
        return labels if self._copies is None else self._copies.send([labels], wait=True)[0]


def _operators() -> tuple[Any, Any]:
    """Import DALI's `fn` and `types`, whose own type hints say too little."""
    from nvidia.dali import fn, types

    return fn, types


def _keep_orientation(decoder: Any) -> dict[str, bool]:  # noqa: ANN401
    """Return the option that keeps a decoder from turning images; old decoders never turn any."""
    return {"adjust_orientation": False} if "adjust_orientation" in decoder.__doc__ else {}


def _reason(error: RuntimeError) -> str:
    """Return the one line of DALI's message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for number, line in enumerate(lines):
        if line.endswith("encountered:") and number + 1 < len(lines):
            return lines[number + 1]
    return lines[0] if lines else "for a reason that it does not give."
