"""The contract of every loader: its options (`LoaderConfig`), its results (`Batch`), its methods.

A loader is iterable over batches, has an exact `len()`, and can be stopped and resumed at any
batch. Which samples come together, and how each is cropped, depends on the seed, the epoch, the
images a step on all ranks and the lanes (order/lanes.py), and on nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, runtime_checkable

from dl2cli.errors import MissingDependency, UsageError
from dl2cli.loaders.order.sample_order import SampleOrder
from dl2cli.loaders.throttle import Throttle
from dl2cli.loaders.transform import OutputConfig, TransformConfig, check
from dl2cli.stores.counters import StoreStats
from dl2cli.stores.options import StoreOptions
from dl2cli_native import _core

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

DamagePolicy = Literal["fail", "degrade", "skip"]
MAX_MESSAGES = 100


@dataclass(frozen=True)
class LoaderConfig:
    """What to load and how; a loader ignores the options that do not concern it.

    Attributes:
        data: an ImageFolder or a PCR dataset.
        classes: the class names by label, where another split decides the labels.
        batch_size: images in a batch, on each rank.
        transform: crop and flip.
        output: type, layout and normalisation of `Batch.images`.
        seed: decides the order and the crops.
        shuffle: whether to shuffle; otherwise samples come in the dataset's order.
        rank: this process, 0 to world_size - 1.
        world_size: the number of processes that share an epoch.
        lanes: the number of stretches of the epoch from which each step takes equal parts. Runs
            with the same batch_size x world_size and the same lanes take the same steps and can
            resume each other's states, whatever their world_size; lanes must divide that product.
            None means world_size for PCR datasets, so that about one rank reads each record: with
            another number, all ranks that share a lane read its records, and a rank holds records
            of all lanes that it shares. For plain files None means 1, as it makes no difference.
        tail: what to do when the images do not fill the last batch: "drop" leaves them out (other
            images each epoch), so that every batch is full; "pad" loads everything, ends with a
            smaller batch, and repeats an image there on ranks that would have one fewer than
            others (`Batch.padding`).
        workers: threads or processes that decode.
        prefetch: batches that are prepared ahead.
        on_damage: "fail" raises; "degrade" uses the intact scan groups before the damaged one;
            "skip" leaves the image out, and its batch is smaller, at worst empty. Loaders of
            plain files have no scan groups: they take "degrade" for "skip".
        scans: fidelity k of a PCR dataset; None is full fidelity.
        shuffle_window: the number of records whose images are mixed; at most twice as many are in
            memory for each lane of which this rank has a share.
        fetch_threads: threads that read records; None is 1, and 4 for records in a store.
        smoothing: whether to apply libjpeg's block smoothing below full fidelity.
        exif_orientation: "apply" turns images as their EXIF orientation says, before they are
            cropped; "ignore" shows them as they are stored, as torchvision's ImageFolder does.
            DALI's loaders can only ignore it.
        codec: the decoder of the pcr and jpeg loaders: "native", which is dl2's own, or "libjpeg".
            Both give the same pixels; the native decoder leaves an image to libjpeg where it is
            not certain to read it in the same way.
        scaled_decode: in the pcr and jpeg loaders, decode an image at a half, a quarter or an
            eighth of its size where its crop is still as large as the result. Large photos decode
            faster, and the pixels differ a little: the inverse DCT takes part of the resize.
        pin_memory: whether to put batches into page-locked memory where torch sees a GPU, so that
            they can be sent there while it computes.
        dataset_class: how the pytorch loader reads: "ImageFolder" reads files every epoch,
            "MinIOFolder" keeps their bytes in memory that all workers share.
        cache_bytes: the size of the memory that "MinIOFolder" shares.
        auto_augment: apply AutoAugment's ImageNet policy after the crop (pytorch loader).
        multiprocessing_context: how the pytorch loader starts workers; None is Python's default.
        persistent_workers: whether the pytorch loader keeps its workers from epoch to epoch.
        device_id: the GPU for the loaders that need one.
        throttle: a slower storage to imitate; DALI's own file reader cannot.
        store: how an object store is asked, for a dataset that is in one.
        max_pixels: the largest image to decode; larger ones are refused. A PCR dataset allows what
            its conversion allowed, and DALI has no such limit.
        synthetic_images: the number of images in an epoch of the synthetic loader, which then does
            not look at `data`, and has the `classes` given here, or 1,000.
    """

    data: Path
    classes: tuple[str, ...] | None = None
    batch_size: int = 64
    transform: TransformConfig = field(default_factory=TransformConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    seed: int = 0
    shuffle: bool = True
    rank: int = 0
    world_size: int = 1
    lanes: int | None = None
    tail: Literal["drop", "pad"] = "drop"
    workers: int = 2
    prefetch: int = 3
    on_damage: DamagePolicy = "fail"
    scans: int | None = None
    shuffle_window: int = 2
    fetch_threads: int | None = None
    smoothing: bool = False
    exif_orientation: Literal["ignore", "apply"] = "ignore"
    codec: Literal["native", "libjpeg"] = "native"
    scaled_decode: bool = False
    pin_memory: bool = True
    dataset_class: Literal["ImageFolder", "MinIOFolder"] = "ImageFolder"
    cache_bytes: int = 0
    auto_augment: bool = False
    multiprocessing_context: str | None = None
    persistent_workers: bool = False
    device_id: int = 0
    throttle: Throttle | None = None
    store: StoreOptions | None = None
    synthetic_images: int | None = None
    max_pixels: int = _core.Limits().max_pixels

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "workers",
            "prefetch",
            "shuffle_window",
            "max_pixels",
        ):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1, not {getattr(self, name)}.")
        for name in ("lanes", "fetch_threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}.")
        if self.exif_orientation not in ("ignore", "apply"):
            raise UsageError(
                f"exif_orientation must be ignore or apply, not {self.exif_orientation!r}."
            )
        if self.codec not in ("native", "libjpeg"):
            raise UsageError(f"codec must be native or libjpeg, not {self.codec!r}.")
        if self.on_damage not in ("fail", "degrade", "skip"):
            raise UsageError(f"on_damage must be fail, degrade or skip, not {self.on_damage!r}.")
        if self.synthetic_images is not None and self.synthetic_images < 1:
            raise UsageError(f"synthetic_images must be at least 1, not {self.synthetic_images}.")

    @property
    def limits(self) -> _core.Limits:
        """The limits that an image's header must keep before memory is taken for the image."""
        return _core.Limits(max_pixels=self.max_pixels)

    def for_validation(self, data: Path) -> Self:
        """Return the options for validation data: every image once, in order, and its centre."""
        transform = replace(self.transform, train=False)
        return replace(
            self,
            data=data,
            transform=transform,
            shuffle=False,
            lanes=None,
            tail="pad",
            auto_augment=False,
        )


@dataclass(frozen=True)
class Batch:
    """One batch.

    Attributes:
        images: uint8 or float32 tensor (N, 3, size, size), in channels-last memory if asked for.
        labels: int64 tensor (N,).
        bytes_read: bytes that came from storage for this batch; a record's bytes are counted with
            the first batch that uses it.
        ids: int64 array (N, 2): record and slot, or file and 0.
        padding: how many of the last images are repetitions, so that all ranks have equally many.
    """

    images: torch.Tensor
    labels: torch.Tensor
    bytes_read: int
    ids: NDArray[np.int64]
    padding: int = 0

    def __len__(self) -> int:
        return len(self.labels)


@runtime_checkable
class ScanSelecting(Protocol):
    """A loader that can change the fidelity k at which it reads, as those of PCR datasets can."""

    @property
    def scans(self) -> int:
        """The fidelity k at which batches are loaded."""

    @property
    def groups(self) -> int:
        """G, the number of scan groups: k runs from 1 to G."""

    def set_scans(self, scans: int | None) -> None:
        """Change the fidelity; None is full fidelity. Raises UsageError if there is no such k."""


@dataclass(frozen=True)
class LoaderStats:
    """Totals over all batches that a loader has given since it was made.

    Seconds of stages are sums over threads. None is a number that this loader cannot know.

    Attributes:
        batches: batches given.
        images: images in them.
        bytes_read: bytes read from storage, for these batches and for those prepared ahead.
        records_read: records read from storage.
        fetch_s: seconds spent reading and checking.
        decode_s: seconds spent decoding, resizing and writing.
        fetch_wait_s: seconds that decoders waited for data.
        wait_s: seconds that the caller waited for batches.
        ready_batches: mean number of prepared batches when the caller asked for one.
        degraded: images decoded with fewer scan groups than asked for.
        skipped: images left out.
        cache_hits: images whose bytes were in memory already.
        store: what a bucket was asked for, by all loaders of this process; None on disks.
        messages: a sentence on each damaged image; at most MAX_MESSAGES.
    """

    batches: int = 0
    images: int = 0
    bytes_read: int = 0
    records_read: int | None = None
    fetch_s: float | None = None
    decode_s: float | None = None
    fetch_wait_s: float | None = None
    wait_s: float = 0.0
    ready_batches: float | None = None
    degraded: int = 0
    skipped: int = 0
    cache_hits: int = 0
    store: StoreStats | None = None
    messages: tuple[str, ...] = ()


class Loader(ABC):
    """Gives the batches of an epoch; `iter(loader)` begins the epoch, or resumes a loaded state.

    Several iterators of one loader do not disturb each other; `state_dict` describes the one that
    was begun last.

    Attributes:
        name: its name in the registry.
        remarks: sentences on data that is probably not what was meant, such as an empty class.
    """

    name: str
    scales: ClassVar[bool] = False  # whether `LoaderConfig.scaled_decode` makes a difference

    def __init__(
        self,
        config: LoaderConfig,
        order: SampleOrder,
        classes: tuple[str, ...],
        remarks: tuple[str, ...] = (),
    ) -> None:
        self.config, self.order = config, order
        self.classes, self.remarks = classes, remarks
        self._epoch = 0
        self._resume_at: int | None = None  # where the next iterator begins, if a state was loaded
        self._position = 0  # batches that the last iterator has given
        self._last_iterator: object = None
        self._stats = LoaderStats()

    def __len__(self) -> int:
        """Return the number of batches in an epoch, the same on every rank."""
        return self.order.steps

    def __iter__(self) -> Iterator[Batch]:
        """Return an iterator over the epoch, or over the rest that a loaded state leaves."""
        first, self._resume_at = self._resume_at or 0, None
        self._position, self._last_iterator = first, object()
        return self._iterate(self._epoch, first, self._last_iterator)

    def _iterate(self, epoch: int, first: int, me: object) -> Iterator[Batch]:
        if first >= len(self):
            return
        batches = self._batches(epoch, first)
        try:
            for position, batch in enumerate(batches, first + 1):
                if self._last_iterator is me:
                    self._position = position
                yield batch
        finally:
            close = getattr(batches, "close", None)
            if close is not None:
                close()

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.state_dict()
        if self._resume_at is None and state["batch"] >= len(self):
            state["batch"] = 0  # it has ended its epoch, and would begin it again
        return _remake, (type(self), self.config, state)

    @abstractmethod
    def _batches(self, epoch: int, first: int) -> Iterator[Batch]:
        """Yield the batches of an epoch from number `first` on; clean up when closed."""

    @property
    def image_count(self) -> int:
        """The number of images in the dataset."""
        return self.order.images

    def set_size(self, size_px: int, *, scaled_decode: bool) -> None:
        """Change the size of images and how they are decoded, from the next iterator on.

        Crops stay where they are. Raises UsageError where the loader cannot do it.
        """
        if scaled_decode and not self.scales:
            raise UsageError(
                f"The loader {self.name} always decodes images at their full size: use pcr or jpeg."
            )
        transform = replace(self.config.transform, size=size_px)
        check(transform)
        self.config = replace(self.config, transform=transform, scaled_decode=scaled_decode)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iterator.

        It begins with the first batch, unless the state that was loaded last is in this same
        epoch: then it goes on there, so that a loop can load a state and call this as always.
        """
        if self._resume_at is not None and epoch == self._epoch:
            return
        self._epoch = epoch
        self._resume_at = self._last_iterator = None
        self._position = 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, how many of its batches were given, and what decides their order.

        After an epoch's last batch, "batch" is `len(loader)`: nothing of the epoch is left.
        """
        return {"epoch": self._epoch, "batch": self._position, **self.order.identity()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iterator begin where another loader, of any rank, had stopped.

        If that loader had ended its epoch, the next iterator gives nothing, and the following one
        begins the epoch anew; `set_epoch` chooses another.

        Raises:
            UsageError: that loader had another dataset, seed, global batch or number of lanes.
        """
        for key, value in self.order.identity().items():
            if state.get(key) != value:
                raise UsageError(
                    f"This loader has {key} {value}, the saved state has {state.get(key)}: the "
                    "order of the data would not go on where it stopped."
                )
        self._epoch = int(state["epoch"])
        self._last_iterator = None
        self._position = self._resume_at = int(state["batch"])

    def stats(self) -> LoaderStats:
        """Return the totals so far."""
        return self._stats

    def _count(self, messages: tuple[str, ...] = (), **amounts: float) -> None:
        """Add amounts to the totals of those names, and sentences to the messages."""
        totals = {name: (getattr(self._stats, name) or 0) + n for name, n in amounts.items()}
        merged = tuple(dict.fromkeys((*self._stats.messages, *messages)))[:MAX_MESSAGES]
        self._stats = replace(self._stats, messages=merged, **totals)  # type: ignore[arg-type]


def _remake(kind: type[Loader], config: LoaderConfig, state: dict[str, int]) -> Loader:
    loader: Loader = kind(config)  # type: ignore[call-arg]
    loader.load_state_dict(state)
    return loader


def require_torch() -> ModuleType:
    """Import torch.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingDependency("torch", "train") from None
    return torch


def should_pin(config: LoaderConfig) -> bool:
    """Tell whether to put batches into page-locked memory."""
    return config.pin_memory and bool(require_torch().cuda.is_available())
