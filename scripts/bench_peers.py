#!/usr/bin/env python3
"""Peers: dl2's loaders beside DALI, torch, SPDL, WebDataset, Mosaic Streaming, LitData and FFCV.

    scripts/bench_peers.py FOLDER [--python PEER=PYTHON ...] [--threads N] [--rounds 3]
                           [--only TEXT ...] [--work WORK]

FOLDER is an ImageFolder of JPEGs, without train and val. Each peer loads all photos once a round,
in a process of its own, on a warm page cache: batches of 64 random resized crops of 224 pixels,
flipped, uint8, with as many threads or workers as all the others. What a peer needs in a format of
its own is written once, in WORK (a temporary folder by default), and not counted; neither is the
first epoch.

`--python PEER=PYTHON` names the Python of an environment that has the peer, for peers that do not
go with dl2's own packages. A peer that cannot be imported is listed as not installed.

Shown are medians over the rounds: images/s from the beginning of an epoch to its last batch; CPU
milliseconds an image, over all threads and processes of the peer, which hold also on a machine that
does other work; and the ratio of CPU time to that of dl2 jpeg within a round, which reads the same
files. FFCV installs only from sources, with OpenCV's and libjpeg-turbo's headers (README.md says
how), and encodes the photos anew. Slipstream is on no package index: it is not measured.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from peer_loaders import PEERS

from dl2cli.cores import usable_cores
from dl2cli.dataset.location import is_pcr_dataset
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert

BASE = "dl2 jpeg"
NOT_MEASURED = {
    "slipstream": "not installed: it has no package",
}


@dataclass
class Peer:
    """A loader in a process of its own, which loads an epoch when it is asked to."""

    name: str
    process: subprocess.Popen[str]
    images: int = 0
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def answer(self) -> dict[str, object]:
        """Wait for the process's next line."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended with exit code {self.process.wait()}; its log is above")
        answer: dict[str, object] = json.loads(line)
        return answer

    def run(self, *, count: bool) -> None:
        """Load an epoch."""
        assert self.process.stdin is not None
        before = tree_cpu_s(self.process.pid)
        print("epoch", file=self.process.stdin, flush=True)
        answer = self.answer()
        cpu_s = tree_cpu_s(self.process.pid) - before
        self.images = int(str(answer["images"]))
        if count:
            self.wall_s.append(float(str(answer["wall_s"])) / self.images)
            self.cpu_s.append(cpu_s / self.images)

    def stop(self) -> None:
        """End the process and its workers."""
        try:
            family = [self.process, *psutil.Process(self.process.pid).children(recursive=True)]
        except psutil.NoSuchProcess:
            family = []
        for process in family:
            process.kill()
        self.process.wait()


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, those that have ended included."""
    root = psutil.Process(pid)
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:  # its parent counts it now
            continue
    return total


def start(name: str, python: str, photos: Path, work: Path, threads: int) -> Peer | str:
    """Start a peer and wait until it has its data; return why it cannot, if it cannot."""
    own = work if name.startswith("dl2") else work / name.replace(", ", "-").replace(" ", "-")
    own.mkdir(exist_ok=True)
    script = Path(__file__).parent / "peer_loaders.py"
    command = [python, str(script), name, str(photos), str(own), str(threads)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    peer = Peer(name, process)
    answer = peer.answer()
    if "missing" in answer:
        peer.stop()
        return f"not installed: {answer['missing']}"
    return peer


def print_table(peers: list[Peer], missing: dict[str, str]) -> None:
    """Print medians, and the ratios to dl2 jpeg within each round."""
    base = next((peer for peer in peers if peer.name == BASE), None)
    print(f"{'':18}{'images/s':>9}{'CPU ms/image':>14}{'x CPU of ' + BASE:>21}")
    for peer in peers:
        row = f"{peer.name:18}{1 / statistics.median(peer.wall_s):9.0f}"
        row += f"{1e3 * statistics.median(peer.cpu_s):14.2f}"
        if base is not None:
            pairs = zip(peer.cpu_s, base.cpu_s, strict=True)
            row += f"{statistics.median(a / b for a, b in pairs):21.2f}"
        print(row)
    for name, reason in {**missing, **NOT_MEASURED}.items():
        print(f"{name:18} {reason}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", action="append", default=[], metavar="PEER=PYTHON")
    parser.add_argument("--threads", type=int, default=usable_cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="peers whose name has such a text")
    parser.add_argument("--work", type=Path)
    options = parser.parse_args()
    if options.threads < 1 or options.rounds < 1:
        parser.error("--threads and --rounds must be at least 1")
    pythons = dict(each.rpartition("=")[::2] for each in options.python)
    if unknown := set(pythons) - set(PEERS):
        parser.error(f"--python names no peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    names = [name for name in PEERS if not options.only or any(t in name for t in options.only)]
    peers: list[Peer] = []
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        photos = options.folder.resolve()
        if (photos / "train").is_dir():
            parser.error(f"{options.folder} has splits; name one of them")
        work.mkdir(parents=True, exist_ok=True)
        if not is_pcr_dataset(work / "pcr"):
            convert(ConvertConfig(photos, work / "pcr", images_per_record=128))
        try:
            for name in names:
                python = pythons.get(name, sys.executable)
                peer = start(name, python, photos, work, options.threads)
                if isinstance(peer, Peer):
                    peers.append(peer)
                else:
                    missing[name] = peer
            for number in range(options.rounds + 1):
                for peer in peers:
                    peer.run(count=number > 0)
        finally:
            for peer in peers:
                peer.stop()
    count = peers[0].images if peers else 0
    print(f"{count} photos, {options.threads} threads, medians of {options.rounds} rounds")
    print_table(peers, missing)


if __name__ == "__main__":
    main()
