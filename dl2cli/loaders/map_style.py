"""Use PCR in your own DataLoader: a map-style dataset, and a sampler that keeps records together.

    from dl2cli.loaders import PcrDataset, RecordBatchSampler

    dataset = PcrDataset("out/train", scans=5, transform=transforms)
    sampler = RecordBatchSampler(dataset, batch_size=64, workers=4)
    loader = torch.utils.data.DataLoader(dataset, batch_sampler=sampler, num_workers=4)
    for epoch in range(90):
        sampler.set_epoch(epoch)
        for images, labels in loader: ...

An image is decoded whole and given to any transform (torchvision's, albumentations, your own). The
`pcr` loader is several times as fast, because it decodes only what its own crop needs.

A record is read whole when the first of its images is asked for, and kept while there is room. If
images were sampled at random, each would cost the reading of a record. The sampler therefore gives
every worker its own records, so that each is read once an epoch.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from dl2cli import pcr
from dl2cli.dataset.orientation import turned
from dl2cli.errors import DataError, UsageError
from dl2cli.loaders.order.sample_order import SampleOrder
from dl2cli_native import _core


class PcrDataset(Dataset[tuple[Any, int]]):
    """The images of a PCR dataset by number: (image, label).

    It can be pickled and sent to spawned workers; each process has its own records in memory.

    Attributes:
        dataset: the PCR dataset.
        classes: the class names by label.
        transform: called with each image; None gives the image as it is.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        scans: int | None = None,
        transform: Callable[[Any], Any] | None = None,
        output: Literal["tensor", "pil"] = "tensor",
        exif_orientation: Literal["ignore", "apply"] = "ignore",
        records_in_memory: int = 4,
    ) -> None:
        """Open the dataset.

        Args:
            path: the folder of the dataset.
            scans: fidelity k; None is full fidelity.
            transform: called with each image.
            output: what `transform` gets: "tensor" is uint8 (3, H, W), "pil" a Pillow image in RGB.
            exif_orientation: "apply" turns images as their EXIF orientation says.
            records_in_memory: how many records (their prefixes) a process keeps; at least twice
                the sampler's `shuffle_window`.

        Raises:
            UsageError: there is no dataset, no such fidelity, or no such output.
            DataError: the dataset is damaged or unfinished.
        """
        if output not in ("tensor", "pil"):
            raise UsageError(f'output must be "tensor" or "pil", not {output!r}.')
        if exif_orientation not in ("ignore", "apply"):
            raise UsageError(f"exif_orientation must be ignore or apply, not {exif_orientation!r}.")
        if records_in_memory < 1:
            raise UsageError(f"records_in_memory must be at least 1, not {records_in_memory}.")
        self.dataset = pcr.open(Path(path))
        self.classes = self.dataset.classes
        self.transform = transform
        self._output = output
        self._turn = exif_orientation == "apply"
        self._records_in_memory = records_in_memory
        self._ends = np.cumsum([record.images for record in self.dataset.records], dtype=np.int64)
        # In memory that worker processes share, so that a change reaches them during an epoch.
        share: Any = torch.zeros(1, dtype=torch.int64).share_memory_
        self._scans: torch.Tensor = share()
        self._records: OrderedDict[tuple[int, int], pcr.Record] = OrderedDict()
        self.set_scans(scans)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_records": OrderedDict()}

    def __len__(self) -> int:
        return self.dataset.image_count

    @property
    def groups(self) -> int:
        """G, the number of scan groups: k runs from 1 to G."""
        return self.dataset.groups

    @property
    def scans(self) -> int:
        """The fidelity k at which images are read."""
        return int(self._scans)

    def set_scans(self, scans: int | None) -> None:
        """Change the fidelity, in running workers too; None is full fidelity. Raises UsageError."""
        wanted = self.dataset.groups if scans is None else scans
        self.dataset.prefix_bytes(wanted)  # refuses what is out of range
        self._scans[0] = wanted

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """Return an image, transformed, and its label.

        Raises:
            IndexError: there is no such image.
            DataError: it is damaged, or its label has no class; names record and image.
            StorageError: it cannot be read.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} does not exist: there are 0 to {len(self) - 1}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        record = self._record(number)
        slot = index - int(self._ends[number]) + len(record)
        label = int(record.labels[slot])
        if not 0 <= label < len(self.classes):
            raise DataError(
                f"{self._name(record, slot)}: its label is {label}, and there are "
                f"{len(self.classes)} classes."
            )
        image = self._decode(record, slot)
        return (image if self.transform is None else self.transform(image)), label

    def _record(self, number: int) -> pcr.Record:
        key = number, self.scans
        record = self._records.pop(key, None)
        if record is None:
            while len(self._records) >= self._records_in_memory:
                self._records.popitem(last=False)
            record = self.dataset.read(number, key[1])
        self._records[key] = record
        return record

    def _decode(self, record: pcr.Record, slot: int) -> Any:  # noqa: ANN401 - tensor or image
        jpeg = record.image(slot)
        limits = self.dataset.limits
        try:
            header = _core.read_jpeg_header(jpeg, limits)
            box = (0, 0, header.width, header.height)
            pixels = np.asarray(_core.decode_region([jpeg], box, limits=limits))
        except _core.DataError as error:
            raise DataError(f"{self._name(record, slot)}: {error}.") from error
        if self._turn:
            known = record.orientations
            orientation = int(known[slot]) if len(known) else header.orientation
            pixels = np.asarray(turned(Image.fromarray(pixels), orientation))
        if self._output == "pil":
            return Image.fromarray(pixels)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    def _name(self, record: pcr.Record, slot: int) -> str:
        return f"{self.dataset.path}, record {record.info.file}, image {slot}"


class RecordBatchSampler(Sampler[list[int]]):
    """Gives batches of image numbers such that each worker of a DataLoader reads its own records.

    The dataset is cut into one stretch for each worker of each rank. torch gives the i-th batch to
    worker i modulo their number; here it comes from that worker's stretch. The order depends on
    seed, epoch, ranks and workers.
    """

    def __init__(
        self,
        dataset: PcrDataset,
        *,
        batch_size: int,
        workers: int,
        seed: int = 0,
        shuffle: bool = True,
        shuffle_window: int = 2,
        rank: int = 0,
        world_size: int = 1,
        tail: Literal["drop", "pad"] = "drop",
    ) -> None:
        """Prepare the order.

        Args:
            dataset: the dataset to sample.
            batch_size: images in a batch on each rank.
            workers: the DataLoader's `num_workers`.
            seed: decides the shuffle.
            shuffle: whether to shuffle.
            shuffle_window: the number of records whose images are mixed.
            rank: this process, 0 to world_size - 1.
            world_size: processes that share an epoch.
            tail: "drop" leaves out what does not fill a batch of every worker; "pad" gives every
                image, with a smaller batch at the end of each stretch, and repeats one in
                stretches that would have one fewer.

        Raises:
            UsageError: there are fewer images than one batch for each worker, or no such rank.
        """
        counts = [record.images for record in dataset.dataset.records]
        workers = max(workers, 1)
        self._orders = [
            SampleOrder(
                counts,
                batch_size=batch_size,
                seed=seed,
                shuffle=shuffle,
                shuffle_window=shuffle_window,
                rank=rank * workers + worker,
                world_size=world_size * workers,
                tail=tail,
            )
            for worker in range(workers)
        ]
        self._batch_size = batch_size
        self._epoch = 0

    def __len__(self) -> int:
        """Return the number of batches, the same on every rank."""
        return sum(order.steps for order in self._orders)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        samples = [order.epoch(self._epoch).sample.astype(np.int64) for order in self._orders]
        for begin in range(0, len(samples[0]), self._batch_size):
            for mine in samples:
                yield mine[begin : begin + self._batch_size].tolist()
