"""A slow disk, a slow transform and a slow model, each staged in a plain DataLoader loop."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, Dataset  # noqa: E402

import dl2cli  # noqa: E402
from dl2cli.report.config import ReportConfig  # noqa: E402
from dl2cli.report.read.discover import Finder  # noqa: E402
from dl2cli.report.report import build_report  # noqa: E402
from dl2cli.watching import stages  # noqa: E402
from dl2cli.watching.verdict import MODEL, bottleneck, verdict  # noqa: E402

SLOW_S = 0.01


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def crop_slowly(image: torch.Tensor) -> torch.Tensor:
    burn(SLOW_S)
    return image


class Flip:
    """A transform that is an object, and that sleeps: it is slow all the same."""

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        time.sleep(SLOW_S)
        return image


class Photos(Dataset):
    def __init__(self, slow: str, transform: object = None) -> None:
        self.slow = slow
        self.transform = transform

    def __len__(self) -> int:
        return 160

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = self._read(index)
        if self.slow == "decoding":
            burn(SLOW_S)
        return (self.transform(image) if self.transform else image), 0

    def _read(self, index: int) -> torch.Tensor:
        if self.slow == "disk":
            time.sleep(SLOW_S)
        return torch.zeros(3, 8, 8)


def collate_slowly(samples: list) -> tuple[torch.Tensor, int]:
    burn(len(samples) * SLOW_S)
    return torch.stack([image for image, _ in samples]), 0


CASES = {
    "disk": (Photos("disk"), stages.STORAGE),
    "decoding": (Photos("decoding"), stages.DECODE),
    "function": (Photos("", crop_slowly), stages.TRANSFORM),
    "object": (Photos("", Flip()), stages.TRANSFORM),
    "collating": (Photos(""), stages.COLLATE),
    "model": (Photos(""), MODEL),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("case", CASES)
def test_what_is_slow_is_named(case: str, workers: int, tmp_path: Path) -> None:
    dataset, expected = CASES[case]
    collate = collate_slowly if case == "collating" else None
    plain = DataLoader(dataset, 8, num_workers=workers, collate_fn=collate)
    with dl2cli.watch(plain, log=tmp_path / "run") as loader:
        for _ in loader:
            time.sleep(10 * SLOW_S if case == "model" else 0)
    (epoch,) = loader.watched.epochs
    assert bottleneck(epoch) == expected, verdict(epoch)
    assert (epoch.steps, epoch.images, epoch.whole) == (20, 160, True)
    if expected != MODEL:
        assert "test_bottleneck.py:" in epoch.busiest[expected]
        assert loader.watched.text().startswith(expected[0].upper() + expected[1:])


def test_a_thread_that_is_not_the_loaders_is_left_out(tmp_path: Path) -> None:
    """Trackers have threads that sleep in a library's code, whatever the loader does."""
    plain = DataLoader(Photos("decoding"), 8)
    ended = threading.Event()
    sleeper = threading.Thread(target=ended.wait, daemon=True)
    sleeper.start()
    try:
        with dl2cli.watch(plain, log=tmp_path / "run") as loader:
            for _ in loader:
                pass
    finally:
        ended.set()
    epoch = loader.watched.epochs[0]
    assert stages.STORAGE not in epoch.busiest, verdict(epoch)


def test_a_thread_that_never_runs_is_left_out(tmp_path: Path) -> None:
    """A server of the program's own may sleep beside a loader that has threads."""

    class Burning:
        def __iter__(self):
            for _ in range(20):
                burn(8 * SLOW_S)
                yield torch.zeros(8, 3, 8, 8), 0

    ended = threading.Event()

    def serve() -> None:
        ended.wait()

    server = threading.Thread(target=serve)
    server.start()
    try:
        with dl2cli.watch(Burning(), log=tmp_path / "run") as loader:
            for _ in loader:
                pass
    finally:
        ended.set()
        server.join()
    epoch = loader.watched.epochs[0]
    assert bottleneck(epoch) != stages.STORAGE, verdict(epoch)
    assert stages.STORAGE not in epoch.busiest


def test_the_report_reads_the_log(tmp_path: Path) -> None:
    with dl2cli.watch(DataLoader(Photos("disk"), 8), log=tmp_path / "slow") as loader:
        for _ in range(2):
            for _ in loader:
                pass
    corpus = Finder([tmp_path]).load()
    (run,) = corpus.runs
    assert run.status == "complete"
    assert [note.text for note in run.notes] == []
    assert (len(run.epochs), run.images_train) == (2, 160)
    assert run.epochs[1].fetch_stall_s > run.epochs[1].prep_stall_s
    report = build_report(corpus, ReportConfig())
    assert any("storage" in finding for finding in report.findings)
