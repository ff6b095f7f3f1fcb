"""Compute: a model's training step on batches that cost nothing, or a sleep in its place."""

from __future__ import annotations

import time
from dataclasses import dataclass

from dl2cli.bench.config import CPU_ARCH, GPU_ARCH, BenchConfig
from dl2cli.bench.probes.timed_run import BatchStep, Limit, RunTimes, run
from dl2cli.bench.statistics import Spread
from dl2cli.errors import UsageError
from dl2cli.loaders import Batch, LoaderConfig, OutputConfig, TransformConfig, create_loader
from dl2cli.loaders.base import require_torch
from dl2cli.loaders.device import DeviceTransfer


@dataclass(frozen=True)
class ComputeResult:
    """How fast batches are computed when they cost nothing: the synthetic run.

    Attributes:
        arch: the model, or None where a sleep stands for it.
        device: "cpu" or "cuda", or "emulated".
        emulated: whether a sleep stands for the model.
        shares_cores: whether the model and the decoders compete for the same cores.
        rate_img_s: images/s of the runs.
        cpu_s_per_image: CPU time of the step, median.
        images: images in a run.
        batch_size: images a step.
    """

    arch: str | None
    device: str
    emulated: bool
    shares_cores: bool
    rate_img_s: Spread
    cpu_s_per_image: float
    images: int
    batch_size: int

    @property
    def compute_s(self) -> float:
        """Seconds an image."""
        return 1 / self.rate_img_s.median


class EmulatedStep:
    """An accelerator that is elsewhere: each batch takes it images / rate seconds.

    As MLPerf Storage and DLIO do it, compute is a sleep. Sleeps last a little too long; by how much
    is known afterwards and taken off the next one, so that it does not add up.
    """

    arch: str | None = None
    device = "emulated"
    shares_cores = False
    normalized = False

    def __init__(self, rate_img_s: float) -> None:
        self.rate_img_s = rate_img_s
        self._overslept_s = 0.0

    def __call__(self, batch: Batch) -> None:
        """Compute a batch."""
        done = time.perf_counter() - self._overslept_s + len(batch) / self.rate_img_s
        time.sleep(max(done - time.perf_counter(), 0))
        self._overslept_s = time.perf_counter() - done

    def finish(self) -> None:
        """Forget what the last sleep was too long by: the next run is another one."""
        self._overslept_s = 0.0


class ModelStep:
    """A model's real training step: forward, backward, optimiser."""

    def __init__(self, config: BenchConfig, classes: int) -> None:
        """Make the model on the device, with random weights.

        Raises:
            UsageError: the model or device does not exist.
            MissingDependency: torch is not installed.
        """
        torch = require_torch()
        from dl2cli.training.models import ModelConfig, create_model, set_training_mode
        from dl2cli.training.optimization.loss import Criterion, LossConfig
        from dl2cli.training.optimization.optimizer import OptimizerConfig, create_optimizer
        from dl2cli.training.optimization.precision import Precision, PrecisionConfig
        from dl2cli.training.optimization.step import TrainStep

        self.device = config.compute.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if self.device not in ("cpu", "cuda"):
            raise UsageError(f"The device is cpu or cuda, not {self.device!r}.")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise UsageError("There is no GPU that torch can use: leave out --device cuda.")
        self.shares_cores = self.normalized = self.device == "cpu"
        self.arch: str | None = config.compute.arch or (
            CPU_ARCH if self.device == "cpu" else GPU_ARCH
        )
        torch.manual_seed(config.seed)
        arch = ModelConfig(arch=self.arch or CPU_ARCH, num_classes=max(classes, 2))
        model = create_model(arch).to(self.device)
        set_training_mode(model)
        device = torch.device(self.device)
        self._transfer = DeviceTransfer(device, OutputConfig())
        self._step = TrainStep(
            model,
            Criterion(LossConfig()),
            create_optimizer(model, OptimizerConfig(), 1e-3),
            Precision(PrecisionConfig(amp=config.compute.amp), device),
        )

    def __call__(self, batch: Batch) -> None:
        """Train with a batch; on a GPU, return when the work is queued."""
        images, labels = self._transfer(batch)
        self._step(images, labels)

    def finish(self) -> None:
        """Wait for the device."""
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()


def make_step(config: BenchConfig, classes: int) -> EmulatedStep | ModelStep:
    """Make what follows the loader. Raises as `ModelStep` does."""
    if config.compute.rate_img_s is not None:
        require_torch()  # the loaders' batches are tensors
        return EmulatedStep(config.compute.rate_img_s)
    return ModelStep(config, classes)


class ComputeProbe:
    """Measures the step on one batch that is given again and again."""

    def __init__(self, config: BenchConfig, step: EmulatedStep | ModelStep) -> None:
        self._config = config
        self._step: BatchStep = step
        self._kind = step
        self._loader = create_loader(
            "synthetic",
            LoaderConfig(
                data=config.data,
                batch_size=config.batch_size,
                transform=TransformConfig(size=config.image_size),
                output=OutputConfig(normalized=step.normalized),
                seed=config.seed,
            ),
        )
        self._runs: list[RunTimes] = []

    def warm_up(self) -> RunTimes:
        """Run two batches, uncounted: memory is taken and kernels are chosen."""
        return run(self._loader, self._step, Limit(batches=2), 0, self._config.data)

    def measure(self) -> None:
        """Run once more."""
        limit = Limit(run_s=self._config.run_s)
        self._runs.append(run(self._loader, self._step, limit, 0, self._config.data))

    @property
    def measured(self) -> bool:
        """Whether there was a run."""
        return bool(self._runs)

    def result(self) -> ComputeResult:
        """Return what was measured so far, at least one run."""
        cpu = Spread.of(times.cpu_s / times.images for times in self._runs)
        return ComputeResult(
            arch=self._kind.arch,
            device=self._kind.device,
            emulated=isinstance(self._kind, EmulatedStep),
            shares_cores=self._kind.shares_cores,
            rate_img_s=Spread.of(times.rate_img_s for times in self._runs),
            cpu_s_per_image=cpu.median,
            images=self._runs[-1].images,
            batch_size=self._config.batch_size,
        )
