"""Trainings that are stopped at random moments, also while the tuner works.

scripts/random_kills.py does more of it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "random_kills.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "loader", "stops"),
    [
        ("TERM", "pcr", ["5"]),
        ("USR1", "pcr", ["2", "--phase", "tuning"]),
        ("KILL", "pytorch", ["4"]),
    ],
)
def test_a_run_that_is_stopped_at_random_learns_the_same(
    sample_set: Path, sample_pcr: Path, number: str, loader: str, stops: list[str]
):
    data = sample_pcr if loader == "pcr" else sample_set
    options = ["--loader", loader, "--signal", number, "--epochs", "4", "--stops", *stops]
    done = subprocess.run(
        [sys.executable, SCRIPT, data, *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same log and weights" in done.stdout
