#!/usr/bin/env python3
"""Loading from a server with limited bandwidth and latency: PCR at each k, and peers, in turn.

    scripts/bench_stores.py IMAGEFOLDER [--mb-s 4] [--latency-ms 20] [--rounds 3]
                            [--python PEER=PYTHON ...]

nginx serves a PCR dataset and the shards of WebDataset, Mosaic Streaming and LitData with the same
JPEGs on loopback, and a proxy in front of it gives all connections together the bandwidth, and
every request the latency. Each variant loads one epoch a round, shuffled, images of 224 pixels in
batches of 32, nothing kept from the epoch before; rounds take turns. The last two speak S3, of
which nginx understands enough to be read from.

`--python mosaic=PYTHON` and `litdata=PYTHON` name the Python of an environment that has the peer
(`pip install mosaicml-streaming`, `pip install litdata`), which may not go with dl2's packages. A
peer that cannot be imported is listed as not installed.

Shown are medians over the rounds: images/s; bytes that the proxy sent, over the sum of the prefixes
that the index names (for peers, over the size of their files); GETs, and as predicted.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dl2cli import pcr
from dl2cli.dataset.discovery import discover
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.stores.path import dataset_path

BATCH, SIZE, WORKERS, SHARD_IMAGES = 32, 224, 2, 128
_CHUNK = 16 << 10
_RATIOS = (
    ("pcr k=5", "pcr k=10"),
    *((k, peer) for peer in ("webdataset", "mosaic", "litdata") for k in ("pcr k=10", "pcr k=5")),
)
_NGINX = """
daemon off; master_process off; {user} pid {work}/pid; error_log {work}/error.log;
events {{ worker_connections 256; }}
http {{ access_log off; client_body_temp_path {work}/1; proxy_temp_path {work}/2;
  fastcgi_temp_path {work}/3; uwsgi_temp_path {work}/4; scgi_temp_path {work}/5;
  keepalive_requests 1000000;
  server {{ listen 127.0.0.1:{port}; root {root}; }} }}
"""


class Link:
    """A proxy that is as slow as a link: one bandwidth for all, a latency for each request."""

    def __init__(self, upstream: int, bytes_per_s: float, latency_s: float) -> None:
        self.upstream, self.rate, self.latency_s = upstream, bytes_per_s, latency_s
        self.sent = self.requests = 0
        self._lock = threading.Lock()
        self._free = 0.0
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.upstream))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for work in (self._up, self._down):
                threading.Thread(target=work, args=(client, server), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                self.requests += data.count(b"GET ")
                time.sleep(self.latency_s)
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_CHUNK):
                with self._lock:
                    self._free = max(self._free, time.monotonic()) + len(data) / self.rate
                    self.sent += len(data)
                    wait = self._free - time.monotonic()
                if wait > 0.002:
                    time.sleep(wait)
                client.sendall(data)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()


@contextlib.contextmanager
def serve(root: Path, work: Path) -> Iterator[int]:
    """Run nginx over a folder; yields its port."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    config = work / "nginx.conf"
    config.write_text(_NGINX.format(user="user root;", work=work, port=port, root=root))
    process = subprocess.Popen([program, "-c", config, "-p", work], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


@dataclass
class Variant:
    """One way of loading, and what it took."""

    name: str
    epoch: Callable[[int], int]
    predicted_bytes: int
    predicted_requests: int
    rates: list[float] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)

    def run(self, number: int, link: Link) -> None:
        """Load one epoch, and note what it took."""
        sent, requests, start = link.sent, link.requests, time.perf_counter()
        images = self.epoch(number)
        self.rates.append(images / (time.perf_counter() - start))
        self.sent.append(link.sent - sent)
        self.requests.append(link.requests - requests)


def pcr_variant(url: str, scans: int) -> Variant:
    """Return the pcr loader at fidelity k."""
    path = dataset_path(url)
    dataset = pcr.open(path)
    transform = TransformConfig(size=SIZE)
    config = LoaderConfig(
        path, batch_size=BATCH, transform=transform, workers=WORKERS, scans=scans, tail="pad"
    )
    loader = create_loader("pcr", config)

    def epoch(number: int) -> int:
        loader.set_epoch(number)
        return sum(len(batch) - batch.padding for batch in loader)

    return Variant(f"pcr k={scans}", epoch, dataset.prefix_bytes(scans), len(dataset.records))


def make_shards(images: Path, out: Path) -> int:
    """Write the JPEGs as tar shards; returns how many."""
    out.mkdir()
    files = discover(images).files
    for begin in range(0, len(files), SHARD_IMAGES):
        with tarfile.open(out / f"{begin // SHARD_IMAGES:04d}.tar", "w") as tar:
            for number, file in enumerate(files[begin : begin + SHARD_IMAGES], begin):
                label = str(file.label).encode()
                parts = {"jpg": (images / file.path).read_bytes(), "cls": label}
                for suffix, content in parts.items():
                    info = tarfile.TarInfo(f"{number:06d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return -(-len(files) // SHARD_IMAGES)


def webdataset_variant(url: str, shards: Path, count: int) -> Variant | None:
    """Return WebDataset with a DataLoader of as many workers, if it is installed."""
    try:
        import webdataset as wds
    except ImportError:
        return None
    import numpy as np
    import torch
    from PIL import Image

    def pixels(image: Image.Image) -> torch.Tensor:
        image = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1))

    def epoch(_: int) -> int:
        names = f"{url}/{{0000..{count - 1:04d}}}.tar"
        dataset = (
            wds.WebDataset(names, shardshuffle=count, nodesplitter=wds.split_by_node)
            .shuffle(2 * SHARD_IMAGES)
            .decode("pil")
            .to_tuple("jpg", "cls")
            .map_tuple(pixels, int)
            .batched(BATCH)
        )
        loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=WORKERS)
        return sum(len(labels) for _, labels in loader)

    size = sum(file.stat().st_size for file in shards.iterdir())
    return Variant("webdataset", epoch, size, count)


class PeerEnded(Exception):  # noqa: N818 - the name says it
    """A peer has failed; the others go on."""


class PeerProcess:
    """A peer of store_peers.py, which loads an epoch when it is asked to."""

    def __init__(self, name: str, python: str) -> None:
        self.command = [python, str(Path(__file__).with_name("store_peers.py")), name]
        self.process: subprocess.Popen[str] | None = None

    def start(self, environment: dict[str, str], *arguments: object) -> dict[str, Any]:
        """Start it and return its first answer."""
        self.process = subprocess.Popen(
            [*self.command, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """Wait for its next line."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerEnded(f"ended with exit code {self.process.wait()}; its log is above")
        found: dict[str, Any] = json.loads(line)
        return found

    def stop(self) -> None:
        """End it, by closing its input."""
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            self.process.wait()

    def epoch(self, _: int) -> int:
        """Load an epoch; returns its images."""
        assert self.process is not None
        assert self.process.stdin is not None
        print("epoch", file=self.process.stdin, flush=True)
        return int(self.answer()["images"])


def peer_variant(
    name: str, python: str, images: Path, root: Path, endpoint: str
) -> tuple[Variant | str, PeerProcess]:
    """Write a peer's shards and start it; returns why not if it is not installed."""
    peer = PeerProcess(name, python)
    folder = root / name
    said = peer.start({}, "write", images, folder)
    if "missing" in said:
        return f"not installed: {said['missing']}", peer
    assert peer.process is not None
    peer.process.wait()
    keys = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}
    where = {"AWS_ENDPOINT_URL": endpoint, "S3_ENDPOINT_URL": endpoint}
    peer.start({**keys, **where}, "read", f"s3://{name}", WORKERS)
    files = list(folder.iterdir())
    return Variant(name, peer.epoch, sum(f.stat().st_size for f in files), len(files)), peer


def report(variants: list[Variant]) -> None:
    """Print a line for each variant, and the ratios within the rounds."""
    print("variant     images/s   MB sent  of predicted  GETs  predicted")
    for v in variants:
        sent, requests = statistics.median(v.sent), statistics.median(v.requests)
        print(
            f"{v.name:<12}{statistics.median(v.rates):>8.0f}{sent / 1e6:>10.2f}"
            f"{sent / v.predicted_bytes:>13.4f}{requests:>7.0f}{v.predicted_requests:>8}"
        )
    by_name = {v.name: v for v in variants}
    for left, right in _RATIOS:
        if left in by_name and right in by_name:
            pairs = zip(by_name[left].rates, by_name[right].rates, strict=True)
            ratios = sorted(a / b for a, b in pairs)
            middle = statistics.median(ratios)
            print(f"{left} / {right}: {middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def main() -> None:
    """Prepare the data, run the rounds, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=Path)
    parser.add_argument("--mb-s", type=float, default=4.0)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PYTHON")
    options = parser.parse_args()
    pythons = dict(each.split("=", 1) for each in options.python)
    with tempfile.TemporaryDirectory() as name:
        root, work = Path(name) / "www", Path(name) / "nginx"
        root.mkdir()
        work.mkdir()
        convert(ConvertConfig(options.images, root / "pcr", images_per_record=SHARD_IMAGES))
        count = make_shards(options.images, root / "tar")
        with serve(root, work) as port:
            link = Link(port, options.mb_s * 1e6, options.latency_ms / 1e3)
            url = f"http://127.0.0.1:{link.port}"
            peer = webdataset_variant(f"{url}/tar", root / "tar", count)
            variants = [pcr_variant(f"{url}/pcr", scans) for scans in (1, 2, 5, 10)]
            variants += [peer] if peer else []
            missing = {} if peer else {"webdataset": "not installed"}
            started = []
            try:
                for peer_name in ("mosaic", "litdata"):
                    python = pythons.get(peer_name, sys.executable)
                    found, process = peer_variant(peer_name, python, options.images, root, url)
                    started.append(process)
                    if isinstance(found, str):
                        missing[peer_name] = found
                    else:
                        variants.append(found)
                for number in range(options.rounds):
                    for variant in variants if number % 2 == 0 else variants[::-1]:
                        if variant.name in missing:
                            continue
                        try:
                            variant.run(number, link)
                        except PeerEnded as error:
                            missing[variant.name] = str(error)
            finally:
                for each in started:
                    each.stop()
            link.close()
        report([each for each in variants if each.name not in missing])
        for peer_name, reason in missing.items():
            print(f"{peer_name:<12}{reason}")


if __name__ == "__main__":
    main()
