"""A Dask cluster of real processes on loopback, whose workers can be killed and replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

DASK = Path(sys.executable).with_name("dask")


class Cluster:
    """A scheduler and workers; each is a process of its own, with logs in `folder`."""

    def __init__(self, folder: Path, workers: int) -> None:
        folder.mkdir()
        self.folder = folder
        self.file = folder / "scheduler.json"
        self.workers: list[subprocess.Popen[bytes]] = []
        self._started = 0
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None
        self.scheduler = self._start("scheduler", "--port", "0", "--host", "127.0.0.1")
        deadline = time.monotonic() + 120
        while not self.file.exists() or not self.file.read_text().endswith("}"):
            assert self.scheduler.poll() is None, (folder / "scheduler-0.log").read_text()
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.05)
        for _ in range(workers):
            self.add_worker()

    def add_worker(self) -> None:
        options = ("--nthreads", "1", "--no-nanny", "--local-directory", str(self.folder))
        self.workers.append(self._start("worker", *options))

    def kill_worker(self, index: int) -> None:
        process = self.workers.pop(index)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def keep_alive(self, workers: int) -> None:
        """Replace workers that die, as a cluster's job system does, until the end."""

        def watch() -> None:
            while not self._ended.wait(0.1):
                for process in list(self.workers):
                    if process.poll() is not None:
                        self.workers.remove(process)
                while len(self.workers) < workers and not self._ended.is_set():
                    self.add_worker()

        self._keeper = threading.Thread(target=watch)
        self._keeper.start()

    def _start(self, kind: str, *options: str) -> subprocess.Popen[bytes]:
        log = self.folder / f"{kind}-{self._started}.log"
        self._started += 1
        command = [DASK, kind, "--scheduler-file", self.file, "--no-dashboard", *options]
        with log.open("wb") as file:
            return subprocess.Popen(
                command, stdout=file, stderr=file, env={**os.environ, "PYTHONWARNINGS": "ignore"}
            )

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()
