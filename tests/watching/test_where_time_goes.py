"""Code that keeps the GIL, and code behind it that gives it up: only the former takes the time.

Each case spends a known share of its time in each stage, and the shares that are seen must be
those: not only which one is the largest.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Dataset  # noqa: E402

import dl2cli  # noqa: E402
from dl2cli.watching import sampling, stages  # noqa: E402
from dl2cli.watching.verdict import bottleneck, verdict  # noqa: E402

IMAGES = 400
BOARD = np.random.default_rng(0).random((224, 224, 3), dtype=np.float32)


def burn(seconds: float) -> None:
    """Compute in Python, without ever giving up the GIL."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def shuffle_numbers(image: object) -> object:
    """Hold the GIL in one C function for some milliseconds."""
    sorted(range(60_000), key=float)
    return image


def brighten(image: object) -> object:
    """Compute in numpy's operators, between which Python does not look up."""
    for _ in range(20):
        image = (BOARD * 1.1 - BOARD) / (BOARD + 0.5) + BOARD * 0.5 + BOARD
    return image


def mixed(image: object) -> object:
    burn(0.0015)
    return np.flip(BOARD * 1.1, 0).copy() + BOARD


def in_python(image: object) -> object:
    burn(0.003)
    return image


def torch_flip(image: object) -> object:
    """Give up the GIL at once, and take no time."""
    return torch.zeros(4).flip(0)


class Files(Dataset):
    """Reads a small file again and again, which the page cache has."""

    def __init__(self, file: Path, transform: object, decode_s: float = 0, wait_s: float = 0):
        self.file, self.transform = file, transform
        self.decode_s, self.wait_s = decode_s, wait_s

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> torch.Tensor:
        image = self._read()
        self.transform(image)
        return image

    def _read(self) -> torch.Tensor:
        with self.file.open("rb") as file:
            data = file.read()
        if self.wait_s:
            time.sleep(self.wait_s)
        burn(self.decode_s)
        return torch.frombuffer(bytearray(data), dtype=torch.uint8)


CASES = {
    "python": (in_python, {}, stages.TRANSFORM),
    "one C function": (shuffle_numbers, {}, stages.TRANSFORM),
    "numpy": (brighten, {}, stages.TRANSFORM),
    "mixed": (mixed, {}, stages.TRANSFORM),
    "decoding in Python": (torch_flip, {"decode_s": 0.003}, stages.DECODE),
    "short waits": (torch_flip, {"wait_s": 0.002}, stages.STORAGE),
}


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look so often that chance counts little."""
    monkeypatch.setattr(sampling, "_INTERVALS_S", (0.004, 0.004))


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_time_counts_where_it_is_spent(case: str, workers: int, tmp_path: Path) -> None:
    transform, options, expected = CASES[case]
    file = tmp_path / "photo"
    file.write_bytes(os.urandom(20_000))
    plain = DataLoader(Files(file, transform, **options), 16, num_workers=workers)
    with dl2cli.watch(plain, log=False) as loader:
        for _ in loader:
            pass
    (epoch,) = loader.watched.epochs
    assert bottleneck(epoch) == expected, verdict(epoch)
    assert epoch.stages[expected] > 0.6, epoch.stages  # 0.97, but other programs run, too
    assert "test_where_time_goes.py:" in epoch.busiest[expected]


@pytest.mark.usefixtures("often")
def test_threads_that_wait_for_the_gil_compute() -> None:
    """Three of four that decode in Python wait for the fourth, and not for storage."""

    class Threaded:
        def __iter__(self) -> Iterator[torch.Tensor]:
            def decode() -> None:
                burn(0.3)

            for _ in range(2):
                threads = [threading.Thread(target=decode) for _ in range(4)]
                for each in threads:
                    each.start()
                for each in threads:
                    each.join()
                yield torch.zeros(8, 3, 8, 8)

    with dl2cli.watch(Threaded(), log=False) as loader:
        for _ in loader:
            pass
    (epoch,) = loader.watched.epochs
    assert bottleneck(epoch) == stages.DECODE, verdict(epoch)
    assert epoch.stages[stages.DECODE] > 0.6, epoch.stages


@pytest.mark.usefixtures("often")
def test_threads_spend_their_time_where_it_is_spent(tmp_path: Path) -> None:
    """The GIL of a loader's own thread is given up at a sleep that takes no time."""

    class Threaded:
        def __iter__(self) -> Iterator[torch.Tensor]:
            def transform() -> None:
                burn(0.003)

            def load() -> None:
                for _ in range(100):
                    tmp_path.stat()  # gives up the GIL
                    transform()

            for _ in range(2):
                thread = threading.Thread(target=load)
                thread.start()
                thread.join()
                yield torch.zeros(8, 3, 8, 8)

    with dl2cli.watch(Threaded(), log=False) as loader:
        for _ in loader:
            pass
    (epoch,) = loader.watched.epochs
    assert bottleneck(epoch) == stages.TRANSFORM, verdict(epoch)
    assert epoch.stages[stages.TRANSFORM] > 0.6, epoch.stages
