"""One peer that streams from a store, in a process of its own: what bench_stores.py starts.

    python store_peers.py PEER write PHOTOS FOLDER
    python store_peers.py PEER read URL WORKERS

The first writes the photos in the peer's format, about as many in a shard as in a record. The
second prints one JSON line when it is ready, and then loads one epoch for each line that it reads:
shuffled batches of 32, decoded with Pillow as bench_stores.py does for WebDataset, nothing kept
from the epoch before. AWS_ENDPOINT_URL says where the store is.
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peer_loaders import _Same, stored_samples

BATCH, SIZE, SHARD_IMAGES = 32, 224, 128


def decode(sample: dict[str, Any]) -> tuple[np.ndarray, int]:
    """Decode a sample that was stored as bytes and a class."""
    from PIL import Image

    image = Image.open(io.BytesIO(sample["image"])).convert("RGB")
    image = image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)
    return np.array(image).transpose(2, 0, 1), int(sample["label"])


def shard_bytes(samples: list[dict[str, Any]]) -> int:
    """Return the size of a shard of SHARD_IMAGES photos."""
    total = sum(len(sample["image"]) + 64 for sample in samples)
    return -(-total * SHARD_IMAGES // len(samples))


def write_mosaic(samples: list[dict[str, Any]], out: Path) -> None:
    """Write MDS shards."""
    import streaming

    columns = {"image": "bytes", "label": "int"}
    limit = shard_bytes(samples)
    with streaming.MDSWriter(out=str(out), columns=columns, size_limit=limit) as writer:
        for sample in samples:
            writer.write(sample)


def read_mosaic(url: str, workers: int) -> Callable[[], int]:
    """Mosaic Streaming with torch's DataLoader."""
    import streaming
    from torch.utils.data import DataLoader

    class Dataset(streaming.StreamingDataset):  # type: ignore[misc]
        def __getitem__(self, at: Any) -> tuple[np.ndarray, int]:
            return decode(super().__getitem__(at))

    def epoch() -> int:
        streaming.base.util.clean_stale_shared_memory()
        with tempfile.TemporaryDirectory() as local:
            dataset = Dataset(remote=url, local=local, shuffle=True, batch_size=BATCH)
            loader = DataLoader(dataset, BATCH, num_workers=workers)
            return sum(len(labels) for _, labels in loader)

    return epoch


def write_litdata(samples: list[dict[str, Any]], out: Path) -> None:
    """Write LitData's chunks."""
    import litdata

    litdata.optimize(
        fn=_Same(), inputs=samples, output_dir=str(out), num_workers=1,
        chunk_bytes=shard_bytes(samples),
    )  # fmt: skip


def read_litdata(url: str, workers: int) -> Callable[[], int]:
    """LitData with its own DataLoader."""
    import litdata
    from litdata.streaming import downloader

    # It has no option for an endpoint without TLS.
    downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True

    def epoch() -> int:
        with tempfile.TemporaryDirectory() as local:
            dataset = litdata.StreamingDataset(url, cache_dir=local, shuffle=True, transform=decode)
            loader = litdata.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers)
            return sum(len(labels) for _, labels in loader)

    return epoch


PEERS: dict[str, tuple[Callable[..., None], Callable[[str, int], Callable[[], int]]]] = {
    "mosaic": (write_mosaic, read_mosaic),
    "litdata": (write_litdata, read_litdata),
}


def main() -> None:
    """Answer bench_stores.py; whatever a peer prints by itself goes to stderr."""
    answers, sys.stdout = sys.stdout, sys.stderr
    peer, what, *rest = sys.argv[1:]
    write, read = PEERS[peer]

    def answer(**values: object) -> None:
        print(json.dumps(values), file=answers, flush=True)

    try:
        if what == "write":
            write(list(stored_samples(Path(rest[0]))), Path(rest[1]))
            answer(ready=True)
            return
        epoch = read(rest[0], int(rest[1]))
    except ImportError as error:
        answer(missing=str(error))
        return
    answer(ready=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        answer(images=epoch(), wall_s=time.perf_counter() - start)


if __name__ == "__main__":
    main()
