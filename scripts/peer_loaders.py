"""One loader in a process of its own: what bench_peers.py starts, in the environment of each peer.

    python peer_loaders.py PEER PHOTOS WORK THREADS

PHOTOS is an ImageFolder of JPEGs; WORK is where a peer keeps the photos in a format of its own. The
process prints one JSON line when it is ready, or why it cannot be, and then one for each line that
it reads: the images of an epoch and the seconds from its beginning to its last batch.

Each peer is used as its documentation says: batches of 64 random resized crops of 224 pixels (area
0.08 to 1, ratio 3/4 to 4/3), flipped, uint8 (N, 3, 224, 224), in shuffled order. Peers that leave
decoding to their user get Pillow, with the code of torchvision's ImageFolder and RandomResizedCrop.
"""

from __future__ import annotations

import io
import json
import math
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 64
SIDE = 224
SHARDS = 16  # at least one for each worker
_Epoch = Callable[[int], Iterator[int]]  # yields the number of images of each batch


def list_photos(folder: Path) -> list[tuple[Path, int]]:
    """Return the files of an ImageFolder with their classes."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    return [(file, c) for c, path in enumerate(classes) for file in sorted(path.iterdir())]


def random_box(width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a crop, as RandomResizedCrop draws it."""
    for _ in range(10):
        area = width * height * random.uniform(0.08, 1)
        ratio = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(0, width - w), random.randint(0, height - h)
            return left, top, left + w, top + h
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def decode_with_pillow(source: Any) -> np.ndarray:
    """Return (3, 224, 224) of a file, its path, or an image of Pillow."""
    from PIL import Image

    image = source if isinstance(source, Image.Image) else Image.open(source)
    box = random_box(*image.size)
    crop = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
    if random.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.ascontiguousarray(np.asarray(crop).transpose(2, 0, 1))


def decode_sample(sample: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Decode a sample that was stored as bytes and a class."""
    return decode_with_pillow(io.BytesIO(sample["image"])), int(sample["label"])


def stored_samples(photos: Path) -> Iterator[dict[str, Any]]:
    """Yield what the formats of the peers store, in random order as their guides recommend."""
    files = list_photos(photos)
    random.Random(0).shuffle(files)
    for file, label in files:
        yield {"image": file.read_bytes(), "label": label}


def count_batches(loader: Any) -> Iterator[int]:
    """Yield the images of each batch of a torch DataLoader."""
    for images, _ in loader:
        yield len(images)


def torch_loader(dataset: Any, threads: int, **options: Any) -> Any:
    """Return a DataLoader whose workers stay from epoch to epoch."""
    from torch.utils.data import DataLoader

    return DataLoader(dataset, BATCH, num_workers=threads, persistent_workers=True, **options)


class FolderOfPhotos:
    """A map-style dataset over files, as torchvision's ImageFolder."""

    def __init__(self, photos: Path) -> None:
        self.files = list_photos(photos)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        file, label = self.files[index]
        return decode_with_pillow(file), label


def use_dl2(name: str, data: Path, threads: int, scans: int | None = None) -> _Epoch:
    """Load with one of dl2's own loaders."""
    from dl2cli.loaders import LoaderConfig, create_loader

    loader = create_loader(name, LoaderConfig(data, workers=threads, batch_size=BATCH, scans=scans))

    def epoch(number: int) -> Iterator[int]:
        loader.set_epoch(number)
        return (len(batch) for batch in loader)

    return epoch


def use_torch(photos: Path, work: Path, threads: int) -> _Epoch:
    """A DataLoader of torch with Pillow: what torchvision's ImageFolder does."""
    loader = torch_loader(FolderOfPhotos(photos), threads, shuffle=True)
    return lambda _: count_batches(loader)


def use_dali(photos: Path, work: Path, threads: int) -> _Epoch:
    """DALI's CPU pipeline, which decodes only the crop."""
    from nvidia.dali import fn, pipeline_def, types

    files = list_photos(photos)

    @pipeline_def(batch_size=BATCH, num_threads=threads, device_id=None)
    def pipeline() -> Any:
        encoded, labels = fn.readers.file(
            files=[str(file) for file, _ in files],
            labels=[label for _, label in files],
            random_shuffle=True,
            name="reader",
        )
        images = fn.decoders.image_random_crop(
            encoded, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3]
        )
        images = fn.resize(images, size=[SIDE, SIDE], interp_type=types.INTERP_TRIANGULAR)
        images = fn.flip(images, horizontal=fn.random.coin_flip())
        return fn.transpose(images, perm=[2, 0, 1]), labels

    built = pipeline()
    built.build()

    def epoch(_: int) -> Iterator[int]:
        left = len(files)
        while left > 0:
            built.run()[0].as_array()
            yield min(BATCH, left)
            left -= BATCH

    return epoch


def use_spdl(photos: Path, work: Path, threads: int) -> _Epoch:
    """SPDL's pipeline of threads, with Pillow as the decoder."""
    from spdl.pipeline import PipelineBuilder

    files = list_photos(photos)

    def epoch(number: int) -> Iterator[int]:
        order = random.Random(number).sample(files, len(files))
        builder = (
            PipelineBuilder()
            .add_source(order)
            .pipe(lambda item: decode_with_pillow(item[0]), concurrency=threads)
            .aggregate(BATCH)
            .pipe(np.stack)
            .add_sink(4)
        )
        pipeline = builder.build(num_threads=threads)
        with pipeline.auto_stop():
            for images in pipeline.get_iterator():
                yield len(images)

    return epoch


def use_webdataset(photos: Path, work: Path, threads: int) -> _Epoch:
    """WebDataset's tar files, with Pillow in torch's workers."""
    import webdataset

    shards = [str(work / f"{shard:03}.tar") for shard in range(SHARDS)]
    if not Path(shards[-1]).exists():
        samples = list(stored_samples(photos))
        for shard, path in enumerate(shards):
            with webdataset.TarWriter(path) as writer:
                for index, sample in enumerate(samples[shard::SHARDS]):
                    writer.write(
                        {"__key__": f"{index:06}", "jpg": sample["image"], "cls": sample["label"]}
                    )
    dataset = (
        webdataset.WebDataset(shards, shardshuffle=SHARDS)
        .shuffle(1000)
        .decode("pil")
        .to_tuple("jpg", "cls")
        .map_tuple(decode_with_pillow, int)
    )
    loader = torch_loader(dataset, threads)
    return lambda _: count_batches(loader)


def use_mosaic(photos: Path, work: Path, threads: int) -> _Epoch:
    """Mosaic Streaming's MDS shards, with Pillow in torch's workers."""
    import streaming

    class Dataset(streaming.StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> tuple[np.ndarray, int]:
            return decode_sample(super().__getitem__(at))

    if not (work / "index.json").exists():
        columns = {"image": "bytes", "label": "int"}
        with streaming.MDSWriter(out=str(work), columns=columns) as writer:
            for sample in stored_samples(photos):
                writer.write(sample)
    streaming.base.util.clean_stale_shared_memory()
    dataset = Dataset(local=str(work), shuffle=True, batch_size=BATCH)
    loader = torch_loader(dataset, threads)
    return lambda _: count_batches(loader)


def use_litdata(photos: Path, work: Path, threads: int) -> _Epoch:
    """LitData's chunks, with Pillow in its workers."""
    import litdata

    if not (work / "index.json").exists():
        litdata.optimize(
            fn=_Same(), inputs=list(stored_samples(photos)), output_dir=str(work),
            num_workers=1, chunk_bytes="64MB",
        )  # fmt: skip
    dataset = litdata.StreamingDataset(str(work), shuffle=True, transform=decode_sample)
    loader = litdata.StreamingDataLoader(
        dataset, batch_size=BATCH, num_workers=threads, persistent_workers=True
    )
    return lambda _: count_batches(loader)


def use_ffcv(photos: Path, work: Path, threads: int) -> _Epoch:
    """FFCV's file of JPEGs, which it encodes anew (quality 90), decoded by its own threads."""
    import ffcv
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.basics import IntDecoder
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.transforms import RandomHorizontalFlip, ToTensor, ToTorchImage

    file = work / "photos.ffcv"
    if not file.exists():
        fields = {"image": RGBImageField(write_mode="jpg"), "label": IntField()}
        writer = ffcv.DatasetWriter(str(file), fields, num_workers=1)
        writer.from_indexed_dataset(_PillowPhotos(photos), shuffle_indices=True)
    crop = RandomResizedCropRGBImageDecoder((SIDE, SIDE), scale=(0.08, 1), ratio=(3 / 4, 4 / 3))
    loader = ffcv.Loader(
        str(file),
        batch_size=BATCH,
        num_workers=threads,
        order=ffcv.loader.OrderOption.RANDOM,
        drop_last=False,
        pipelines={
            "image": [crop, RandomHorizontalFlip(), ToTensor(), ToTorchImage()],
            "label": [IntDecoder(), ToTensor()],
        },
    )
    return lambda _: count_batches(loader)


class _PillowPhotos(FolderOfPhotos):
    """The photos as images of Pillow, which FFCV's writer takes."""

    def __getitem__(self, index: int) -> tuple[Any, int]:  # type: ignore[override]
        from PIL import Image

        file, label = self.files[index]
        return Image.open(file).convert("RGB"), label


class _Same:
    """Returns its argument; LitData sends the function to a process of its own."""

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        return sample


PEERS: dict[str, Callable[[Path, Path, int], _Epoch]] = {
    "dl2 pcr k=5": lambda _, work, threads: use_dl2("pcr", work / "pcr", threads, 5),
    "dl2 pcr k=10": lambda _, work, threads: use_dl2("pcr", work / "pcr", threads, 10),
    "dl2 jpeg": lambda photos, _, threads: use_dl2("jpeg", photos, threads),
    "DALI": use_dali,
    "SPDL": use_spdl,
    "torch, Pillow": use_torch,
    "WebDataset": use_webdataset,
    "Mosaic Streaming": use_mosaic,
    "LitData": use_litdata,
    "FFCV": use_ffcv,
}


def main() -> None:
    """Answer bench_peers.py; whatever a peer prints by itself goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    name, photos, work, threads = sys.argv[1:]
    try:
        epoch = PEERS[name](Path(photos), Path(work), int(threads))
    except ImportError as error:
        answer(missing=str(error))
        return
    answer(ready=True)
    for number, _ in enumerate(sys.stdin):
        start = time.perf_counter()
        images = sum(epoch(number))
        answer(images=images, wall_s=time.perf_counter() - start)


if __name__ == "__main__":
    main()
