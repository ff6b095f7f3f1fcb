"""Worker processes under a long TMPDIR, as batch systems set it."""

import os
import subprocess
import sys
from pathlib import Path

from jpegs import jpeg_bytes, photo


def test_worker_processes_start_under_a_long_tmpdir(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for number in range(3):
        (tmp_path / "in" / "a" / f"{number}.jpg").write_bytes(jpeg_bytes(photo(seed=number)))
    long = tmp_path / ("t" * (100 - len(str(tmp_path)) if len(str(tmp_path)) < 90 else 10))
    long.mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "dl2cli", "analyze-images", str(tmp_path / "in"), "-w", "2"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "TMPDIR": str(long)},
    )
    assert run.returncode == 0, run.stderr
    assert not list(long.iterdir())
