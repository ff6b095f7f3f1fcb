"""The measured numbers that predictions are made from, and the predictions of one rate.

Where the model computes on the same cores as the decoders, a step's time and an image's decoding
add up; what both took together in the cached run says how well they share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dl2cli.bench.model.pipeline import EpochShape, Service, rate
from dl2cli.bench.model.scenario import Scenario


@dataclass(frozen=True)
class Cost:
    """What an image costs at one fidelity, as measured here with W workers.

    Attributes:
        scans: the fidelity k; None for plain files.
        bytes_per_image: bytes that storage delivers for an image.
        decode_s: seconds an image by the clock, all workers together, from the page cache.
        fetch_s_per_byte: seconds that reading and checking take where the page cache delivers.
        measured: True if it was measured; else it is interpolated between measured fidelities
            by their bytes.
    """

    scans: int | None
    bytes_per_image: float
    decode_s: float
    fetch_s_per_byte: float
    measured: bool = True


@dataclass(frozen=True)
class Gains:
    """What throughput would be multiplied by if one stage cost nothing."""

    storage: float
    prep: float
    compute: float

    @property
    def bound(self) -> str:
        """The stage whose end would gain most; compute if nothing gains a tenth."""
        names = {"storage": self.storage, "prep": self.prep, "compute": self.compute}
        best = max(names, key=names.__getitem__)
        return best if names[best] >= 1.1 else "compute"


@dataclass(frozen=True)
class EpochModel:
    """What was measured, as the predictions need it.

    Attributes:
        shape: the target's epoch.
        costs: the cost of an image by fidelity.
        images: images in the dataset.
        cores: cores that decoded, at most as many as workers.
        compute_s: seconds an image of the training step alone.
        shares_cores: whether the step runs on the decoders' cores.
        sharing: what cached runs took over the sum of decoding and computing; 1 is perfect.
    """

    shape: EpochShape
    costs: dict[int | None, Cost]
    images: int
    cores: int
    compute_s: float
    shares_cores: bool
    sharing: float = 1.0

    def predict(self, scans: int | None, scenario: Scenario, *, images: int | None = None) -> float:
        """Return images/s at a fidelity, over an epoch or its first `images`."""
        shape = self.shape if images is None else self.shape.cut(images)
        return rate(shape, scans, self.service(scans, scenario))

    def service(self, scans: int | None, scenario: Scenario) -> Service:
        """Return how long each stage needs in a scenario."""
        cost = self.costs[scans]
        decode_s, compute_s = cost.decode_s, self.compute_s
        if scenario.cores is not None:
            decode_s *= self.cores / scenario.cores
        if scenario.accelerator_img_s is not None:
            compute_s = 1 / scenario.accelerator_img_s
        elif self.shares_cores:
            if scenario.cores is not None:
                compute_s *= self.cores / scenario.cores
            decode_s, compute_s = self.sharing * (decode_s + compute_s), 0.0
        total = cost.bytes_per_image * self.images
        return Service(
            bandwidth_bytes_s=scenario.bandwidth_bytes_s,
            latency_s=scenario.latency_s,
            fetch_s_per_byte=cost.fetch_s_per_byte,
            decode_s=decode_s,
            compute_s=compute_s,
            missed=1 - min(scenario.cache_bytes / max(total, 1), 1.0),
        )

    def gains(self, scans: int | None, scenario: Scenario) -> Gains:
        """Return what the end of each stage's cost would bring."""
        service = self.service(scans, scenario)
        now = rate(self.shape, scans, service)
        prep_free = replace(service, decode_s=0.0, fetch_s_per_byte=0.0)
        compute_free = replace(service, compute_s=0.0)
        if self.shares_cores and scenario.accelerator_img_s is None:
            decode_s = self.costs[scans].decode_s
            scale = service.decode_s / max(decode_s + self.compute_s, 1e-12)
            prep_free = replace(prep_free, decode_s=scale * self.compute_s)
            compute_free = replace(compute_free, decode_s=scale * decode_s)
        free = (replace(service, missed=0.0), prep_free, compute_free)
        storage, prep, compute = (rate(self.shape, scans, each) / now for each in free)
        return Gains(storage, prep, compute)
