"""What `dl2 bench-io` is asked to measure: plain data, and the choices where the user made none."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from dl2cli.errors import UsageError

CPU_ARCH = "small_cnn"
GPU_ARCH = "resnet50"
BATCH_SIZE = 64
SLOW_BATCH_SIZE = 16  # of a model on a CPU, where a step takes a second


@dataclass(frozen=True)
class ComputeConfig:
    """What follows the loader: a model's training step, or a sleep in its place.

    Attributes:
        arch: the model; None is `CPU_ARCH` without a GPU, else `GPU_ARCH`.
        rate_img_s: images/s of an accelerator that is elsewhere: a batch takes batch / rate
            seconds of sleep. None runs the model.
        device: "cpu" or "cuda"; None takes a GPU if there is one.
        amp: mixed precision.
    """

    arch: str | None = None
    rate_img_s: float | None = None
    device: str | None = None
    amp: bool = False

    def __post_init__(self) -> None:
        if self.rate_img_s is not None and not 0 < self.rate_img_s < 1e9:
            raise UsageError(
                f"The compute rate must be above 0 and below 1e9 images/s, not {self.rate_img_s:g}."
            )


@dataclass(frozen=True)
class BenchConfig:
    """The options of a measurement.

    Attributes:
        data: a PCR dataset or an ImageFolder; where it has splits, the training images are used.
        loaders: names in `LOADERS`; the verdict is about the first; () chooses by the kind of data.
        scans: fidelities of a PCR dataset; the verdict is about the largest; () chooses.
        workers: threads or processes that decode; the verdict is about the most; () is 1 and
            all cores.
        batch_size: images a step; 0 lets dl2 choose.
        image_size: side of the training images, in pixels.
        compute: what follows the loader.
        throttle: limits of reading, as `Throttle.parse` takes them; None reads as fast as it can,
            cold.
        repeat: how often each run is measured.
        run_s: about how long a run lasts, unless the epoch ends first.
        storage: whether storage is measured by itself.
        sample_images: how many images are converted, in a temporary folder, to predict what another
            format would give; 0 converts none.
        checks: throttled runs that the predictions are compared with.
        scenarios: what-if questions beside the usual ones, as `Scenario.parse` takes them.
        seed: seed of the order and the crops.
        codec: who decodes in the pcr and jpeg loaders, as in `LoaderConfig`.
        exif_orientation: whether images are turned as EXIF says, as in `LoaderConfig`.
        price_requests: what a store asks for 1,000 GET requests; None where nobody says.
        price_gb: what it asks for 10^9 bytes that leave it.
    """

    data: Path
    loaders: tuple[str, ...] = ()
    scans: tuple[int, ...] = ()
    workers: tuple[int, ...] = ()
    batch_size: int = 0
    image_size: int = 224
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    throttle: str | None = None
    repeat: int = 3
    run_s: float = 3.0
    storage: bool = True
    sample_images: int = 200
    checks: int = 4
    scenarios: tuple[str, ...] = ()
    seed: int = 0
    codec: Literal["native", "libjpeg"] = "native"
    exif_orientation: Literal["ignore", "apply"] = "ignore"
    price_requests: float | None = None
    price_gb: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.repeat <= 1000:
            raise UsageError(f"repeat must be 1 to 1000, not {self.repeat}.")
        if not 0.05 <= self.run_s <= 86400:
            raise UsageError(f"The seconds of a run must be 0.05 to 86400, not {self.run_s:g}.")
        if not 0 <= self.batch_size <= 1 << 20:
            raise UsageError(f"The batch size must be 1 to 1048576, not {self.batch_size}.")
        for price in (self.price_requests, self.price_gb):
            if price is not None and not 0 <= price < 1e6:
                raise UsageError(f"A price must be 0 to a million, not {price:g}.")
        for workers in self.workers:
            if not 1 <= workers <= 1024:
                raise UsageError(f"workers must be 1 to 1024, not {workers}.")
