"""The model of a training epoch: records are fetched, images decoded, batches computed.

Each stage works when it has something to do and room for the result, so the time at which it
finishes a piece follows from the times at which others finished theirs: a recurrence over the
epoch's own order of records and images. In a long epoch of small records it comes to the usual
minimum of three rates (storage, decoders, accelerator). What the minimum leaves out is what
happens where a pipeline is short: nothing is decoded while the first records are fetched, and
nothing is fetched while the records in memory are all in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

MAX_IMAGES: Final = 65_536  # of an epoch that is simulated; a longer one goes on as it began
_STEPS: Final = 1024  # that an epoch is simulated in, about


@dataclass(frozen=True)
class Service:
    """How long each stage needs when it has nothing to wait for; infinity is allowed for rates.

    Attributes:
        bandwidth_bytes_s: bandwidth of the storage.
        latency_s: time of each read before its first byte.
        fetch_s_per_byte: what fetching costs besides: copying, checksums.
        decode_s: seconds an image, all workers together.
        compute_s: seconds an image of the accelerator.
        missed: share of bytes that no cache has.
    """

    bandwidth_bytes_s: float
    latency_s: float
    fetch_s_per_byte: float
    decode_s: float
    compute_s: float
    missed: float = 1.0


@dataclass(frozen=True)
class EpochShape:
    """What an epoch consists of, for one loader.

    Attributes:
        batch_size: images a batch.
        visit: for each image, which fetch brings it: int64 (n,), in the order of decoding.
        visit_bytes: bytes of each fetch at each fidelity: {scans: (v,)}; None for plain files.
        max_visits: fetches that may be in memory at a time.
        prefetch: batches that may be ready ahead.
        fetchers: reads at a time.
        in_worker: whether a worker fetches for itself and decodes nothing meanwhile, as torch's do.
        workers: threads or processes that decode.
    """

    batch_size: int
    visit: NDArray[np.int64]
    visit_bytes: dict[int | None, Sequence[float]]
    max_visits: int
    prefetch: int
    fetchers: int
    in_worker: bool
    workers: int

    def cut(self, images: int) -> EpochShape:
        """Return the first `images` images."""
        return replace(self, visit=self.visit[:images])


def epoch_seconds(shape: EpochShape, scans: int | None, service: Service) -> float:
    """Return how long the epoch takes."""
    if shape.in_worker:
        return _files(shape, scans, service)
    return _records(shape, scans, service)


def rate(shape: EpochShape, scans: int | None, service: Service) -> float:
    """Return images a second over the epoch, or over its first MAX_IMAGES images."""
    cut = shape.cut(MAX_IMAGES)
    return len(cut.visit) / max(epoch_seconds(cut, scans, service), 1e-12)


def long_run_rate(bytes_per_image: float, images_per_read: float, service: Service) -> float:
    """Return the rate of an endless epoch: the minimum of three, images a second."""
    fetch_s = service.missed * (
        bytes_per_image / service.bandwidth_bytes_s + service.latency_s / images_per_read
    )
    fetch_s += service.fetch_s_per_byte * bytes_per_image
    return 1 / max(fetch_s, service.decode_s, service.compute_s, 1e-12)


class _Fetches:
    """The fetching threads, and the link to storage that they share."""

    def __init__(self, shape: EpochShape, scans: int | None, service: Service) -> None:
        self.service = service
        self.bytes = shape.visit_bytes[scans]
        self.thread_free = [0.0] * shape.fetchers
        self.link_free = 0.0

    def fetch(self, visit: int, room_s: float) -> float:
        """Return when a visit is in memory, if there is room for it from `room_s` on."""
        service = self.service
        thread = min(range(len(self.thread_free)), key=self.thread_free.__getitem__)
        size = self.bytes[visit]
        asked = max(self.thread_free[thread], room_s)
        begin = max(asked + service.missed * service.latency_s, self.link_free)
        self.link_free = begin + service.missed * size / service.bandwidth_bytes_s
        self.thread_free[thread] = self.link_free + size * service.fetch_s_per_byte
        return self.thread_free[thread]


def _records(shape: EpochShape, scans: int | None, service: Service) -> float:
    """Records are fetched by threads of their own, ahead of the decoders.

    Images are taken in portions of a batch, so that a long epoch costs no more than a short one.
    """
    portion = _portion(shape)
    batch_portions = shape.batch_size // portion
    begins = np.arange(0, len(shape.visit), portion)
    counts = np.diff(begins, append=len(shape.visit)).tolist()
    last_use = np.zeros(int(shape.visit.max()) + 1, np.int64)
    last_use[shape.visit] = np.arange(len(shape.visit)) // portion  # the last one counts
    fetches = _Fetches(shape, scans, service)
    ready: list[float] = []  # when each visit is in memory
    done: list[float] = []  # when each portion is decoded
    taken = [0.0] * (shape.prefetch + 1)  # when a batch was asked for, before the first ones: 0
    decoded = computed = 0.0
    images = 0
    for number, needed in enumerate(np.maximum.reduceat(shape.visit, begins).tolist()):
        while len(ready) <= needed:
            # Room comes when the images of the visit that is `max_visits` earlier are all decoded.
            earlier = len(ready) - shape.max_visits
            room = (
                done[min(int(last_use[earlier]), len(done) - 1)] if earlier >= 0 and done else 0.0
            )
            ready.append(fetches.fetch(len(ready), room))
        decoded = max(decoded, ready[needed], taken[number // batch_portions])
        decoded += counts[number] * service.decode_s
        done.append(decoded)
        images += counts[number]
        if (number + 1) % batch_portions == 0 or number + 1 == len(counts):
            computed = max(decoded, computed) + images * service.compute_s
            taken.append(computed)
            images = 0
    return computed


def _portion(shape: EpochShape) -> int:
    """Return how many images are taken together: a divisor of the batch, 1 in a short epoch."""
    most = max(len(shape.visit) // _STEPS, 1)
    return max(d for d in range(1, shape.batch_size + 1) if shape.batch_size % d == 0 and d <= most)


def _files(shape: EpochShape, scans: int | None, service: Service) -> float:
    """Each worker makes whole batches: it fetches a file, decodes it, fetches the next."""
    sizes = shape.visit_bytes[scans]
    workers = shape.workers
    ahead = max(-(-shape.prefetch // workers), 1) * workers
    free = [0.0] * workers
    link_free = computed = 0.0
    asked: list[float] = [0.0] * ahead
    for batch, begin in enumerate(range(0, len(shape.visit), shape.batch_size)):
        files = shape.visit[begin : begin + shape.batch_size]
        wanted = sum(sizes[int(file)] for file in files) * service.missed
        alone = len(files) * (
            service.missed * service.latency_s + workers * service.decode_s
        ) + wanted * (1 / service.bandwidth_bytes_s + service.fetch_s_per_byte)
        start = max(free[batch % workers], asked[batch])
        transfer = wanted / service.bandwidth_bytes_s
        free[batch % workers] = max(start + alone, link_free + transfer)
        link_free = max(link_free, start) + transfer
        computed = max(computed, free[batch % workers]) + len(files) * service.compute_s
        asked.append(computed)
    return computed
