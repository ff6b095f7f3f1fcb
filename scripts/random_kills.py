#!/usr/bin/env python3
"""Stop a training at random moments, again and again, and compare it with one that was left alone.

    scripts/random_kills.py out/ --signal TERM --runs 20     # the whole process group, as a cluster
    scripts/random_kills.py photos/ --loader pytorch --signal KILL

Each run is stopped until it comes to its end by itself, going on with `--resume auto` each time.
Its log (what was learnt at which step) and its last weights must be those of the undisturbed run,
to the bit. Moments are drawn over the life of a process: while it starts, chooses a fidelity,
trains, validates and saves. Exits with 1 at the first difference.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dl2cli.training.checkpoint.read import load_checkpoint

MAX_STOPS = 50  # of one run
LEARNT = ("t.loss", "t.top1", "v.loss", "v.top1", "lr")


@dataclass(frozen=True)
class Outcome:
    """What a run must have in common with an undisturbed one."""

    curve: tuple[Any, ...]
    weights: str


def command(args: argparse.Namespace, workspace: Path, name: str) -> list[str]:
    """Return the command that begins a run, or goes on with it."""
    options = (
        f"-a small_cnn --image-size 32 -b 16 -w 2 -e {args.epochs} --lr 0.02 --seed 1 --device cpu "
        f"--print-freq 2 --checkpoint-every 3 --resume auto -n {name}"
    ).split()
    if args.loader == "pcr":
        options += ["--autotune-scans", "--autotune-every", "2", "--autotune-batches", "2"]
    program = [sys.executable, "-m", "dl2cli", "train", "-d", str(args.data), "-l", args.loader]
    return [*program, *options, "--workspace", str(workspace)]


def start(words: list[str]) -> subprocess.Popen[str]:
    """Start a process in a group of its own."""
    return subprocess.Popen(
        words,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def disturb(words: list[str], number: int, life_s: float, draw: random.Random) -> int:
    """Stop a run at random moments until it ends by itself; return how often it was stopped."""
    for stops in range(MAX_STOPS):
        process = start(words)
        try:
            _, err = process.communicate(timeout=life_s * draw.uniform(0.2, 1.3 if stops else 0.95))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, number)
            _, err = process.communicate()
        if process.returncode == 0:
            return stops
        if process.returncode not in (-number, 128 + number):
            sys.exit(f"A stopped training ended with {process.returncode}:\n{err}")
    sys.exit(f"A training did not end in {MAX_STOPS} attempts.")


def outcome(folder: Path) -> Outcome:
    """Read what a run has learnt."""
    merged: dict[str, dict[str, Any]] = {}
    for line in (folder / "experiment_report.json").read_text().splitlines():
        record = json.loads(line.removeprefix("DLLL "))
        if record["type"] == "LOG" and record["step"][0] in "TES":
            merged.setdefault(str(record["step"]), {}).update(record["data"])
    curve = tuple((step, *(data.get(key) for key in LEARNT)) for step, data in merged.items())
    digest = hashlib.sha256()
    for tensor in load_checkpoint(folder)["model"].values():
        digest.update(tensor.numpy().tobytes())
    return Outcome(curve, digest.hexdigest())


def main() -> None:
    """Run the undisturbed training, then the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="a dataset with train/ and val/")
    parser.add_argument("--loader", default="pcr")
    parser.add_argument("--signal", choices=("TERM", "KILL", "INT", "HUP"), default="TERM")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    number = getattr(signal, f"SIG{args.signal}")
    draw = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        began = time.monotonic()
        process = start(command(args, workspace, "undisturbed"))
        _, err = process.communicate()
        if process.returncode:
            sys.exit(err)
        life_s = time.monotonic() - began
        wanted = outcome(workspace / "undisturbed")
        print(f"undisturbed: {life_s:.1f} s, {len(wanted.curve)} records of the log")
        total = 0
        for run in range(args.runs):
            stops = disturb(command(args, workspace, f"run{run}"), number, life_s, draw)
            total += stops
            if outcome(workspace / f"run{run}") != wanted:
                sys.exit(f"run {run}, stopped {stops} times, learnt something else")
            print(f"run {run}: stopped {stops} times by SIG{args.signal}, the same log and weights")
        print(f"{args.runs} runs, stopped {total} times: all the same")


if __name__ == "__main__":
    main()
