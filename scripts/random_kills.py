#!/usr/bin/env python3
"""Stop a training at random moments, again and again, and compare it with one that was left alone.

    scripts/random_kills.py out/ --signal TERM --stops 20    # the whole process group, as a cluster
    scripts/random_kills.py photos/ --loader pytorch --signal KILL
    scripts/random_kills.py logs/ --report --signal KILL --stops 100     # `dl2 report` instead

Stops go round the phases of a training: the tuner at work, training, validation, saving, and any
moment, the start included. Within its phase a moment is drawn at random. Each run is stopped until
it comes to its end by itself, continuing with `--resume auto` each time. Its log (what was learnt
at which step, what the tuner measured) and its last weights must be those of the undisturbed run,
to the bit. A stopped report must leave whole files or none, and the next one must write what an
undisturbed one does. Exits with 1 at the first difference.
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
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dl2cli.training.checkpoint.read import load_checkpoint

MAX_STARTS: Final = 100  # of one run
LEARNT: Final = ("t.loss", "t.top1", "v.loss", "v.top1", "lr", "e.scans")
ANY: Final = "any moment"
PHASES: Final = ("tuning", "training", "validation", "saving", ANY)
POLL_S: Final = 0.0005


@dataclass(frozen=True)
class Outcome:
    """What a run must have in common with an undisturbed one."""

    curve: tuple[Any, ...]
    weights: str


@dataclass
class Disturber:
    """Stops runs, round the phases, until there were enough stops.

    Attributes:
        number: the signal.
        wanted: how many stops.
        life_s: how long the undisturbed run took.
        draw: random moments.
        phases: those to stop in, in turn.
        stops: how many stops came in which phase, as seen when the signal was sent.
        aimed: how many moments were drawn.
    """

    number: int
    wanted: int
    life_s: float
    draw: random.Random
    phases: tuple[str, ...]
    stops: Counter[str] = field(default_factory=Counter)
    aimed: int = 0

    def run(self, words: list[str], folder: Path) -> int:
        """Start a run again and again until it ends by itself; return how often it was stopped."""
        for stops in range(MAX_STARTS):
            process = start(words)
            seen = self._stop(process, folder) if self.stops.total() < self.wanted else None
            _, err = process.communicate()
            if process.returncode == 0:
                return stops
            if process.returncode not in (-self.number, 128 + self.number):
                sys.exit(f"A stopped training ended with {process.returncode}:\n{err}")
            self.stops[seen or "?"] += 1
        sys.exit(f"A training did not end in {MAX_STARTS} attempts.")

    def _stop(self, process: subprocess.Popen[str], folder: Path) -> str | None:
        """Wait for a moment, send the signal, and return the phase; None if the run has ended."""
        aim = self.phases[self.aimed % len(self.phases)]
        self.aimed += 1
        now = time.monotonic()
        share = self.draw.uniform(0.0, 0.9 if aim == ANY else 0.5)
        not_before, deadline = now + share * self.life_s, now + 2 * self.life_s
        linger_s = self.draw.uniform(0.0, 0.0 if aim in ("saving", "validation", ANY) else 0.05)
        while process.poll() is None and time.monotonic() < deadline:
            seen = phase(folder, process.pid)
            if time.monotonic() >= not_before and aim in (seen, ANY):
                time.sleep(linger_s)
                seen = phase(folder, process.pid)
                if aim in (seen, ANY) and process.poll() is None:
                    os.killpg(process.pid, self.number)
                    return seen
            time.sleep(POLL_S)
        return None


def phase(folder: Path, process: int) -> str:
    """Tell what a training does now, by the files of its folder."""
    log = folder / "experiment_report.json"
    try:
        began_s = Path(f"/proc/{process}").stat().st_ctime
        if log.stat().st_mtime < began_s:
            return "start"
        if any(each.name.startswith(".writing-") for each in os.scandir(folder)):
            return "saving"
        lines = tail(log)
    except OSError:
        return "start"
    last = next((record for record in reversed(lines) if record["type"] == "LOG"), None)
    if last is None or last["step"] == ["P"]:
        return "tuning" if lines else "start"
    kind, *at = last["step"]
    if kind == "V" or (kind == "T" and at[1] == steps_per_epoch(log)):
        return "validation"
    tuned = kind == "T" or last["data"].get("n.kind") == "fidelity"
    return "training" if tuned else "tuning"


def tail(log: Path) -> list[dict[str, Any]]:
    """Return the last whole records of a log."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 20_000))
        lines = file.read().split(b"\n")
    whole = [line for line in lines[:-1] if line.startswith(b"DLLL ")]
    return [json.loads(line.removeprefix(b"DLLL ")) for line in whole]


def steps_per_epoch(log: Path) -> int:
    """Return the steps of an epoch, as the log's first line tells."""
    with log.open() as file:
        return int(json.loads(file.readline().removeprefix("DLLL "))["data"]["steps_per_epoch"])


def command(args: argparse.Namespace, workspace: Path, name: str) -> list[str]:
    """Return the command that begins a run, or continues it."""
    options = (
        f"-a small_cnn --image-size 32 -b 16 -w 2 -e {args.epochs} --lr 0.02 --seed 1 --device cpu "
        f"--print-freq 1 --checkpoint-every 3 --on-usr1 stop --resume auto -n {name}"
    ).split()
    if args.loader == "pcr":
        options += ["--autotune-scans", "--autotune-every", "1", "--autotune-batches", "2"]
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


def outcome(folder: Path) -> Outcome:
    """Read what a run has learnt, and what its tuner measured."""
    merged: dict[str, dict[str, Any]] = {}
    for line in (folder / "experiment_report.json").read_text().splitlines():
        record = json.loads(line.removeprefix("DLLL "))
        if record["type"] != "LOG":
            continue
        data = record["data"]
        if record["step"][0] in "TES":
            merged.setdefault(str(record["step"]), {}).update(data)
        elif data.get("n.kind") == "fidelity":
            merged.setdefault(f"{record['step']} tuned", {})["lr"] = data["n.text"]
    curve = tuple((step, *(data.get(key) for key in LEARNT)) for step, data in merged.items())
    digest = hashlib.sha256()
    for tensor in load_checkpoint(folder)["model"].values():
        digest.update(tensor.numpy().tobytes())
    return Outcome(curve, digest.hexdigest())


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of each file under a folder, by its path."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def disturb_reports(args: argparse.Namespace, folder: Path, draw: random.Random) -> None:
    """Stop reports at random moments; each must leave whole files, and the last one all of them."""
    os.environ["SOURCE_DATE_EPOCH"] = "1700000000"  # so that pages are the same
    outputs = ["--html", str(folder / "page.html"), "--plots", str(folder / "plots")]
    words = [sys.executable, "-m", "dl2cli", "report", str(args.data), *outputs]
    began = time.monotonic()
    process = start(words)
    _, err = process.communicate()
    life_s = time.monotonic() - began
    wanted = files(folder)
    if "page.html" not in wanted:
        sys.exit(err)
    stopped = runs = 0
    while stopped < args.stops and runs < 2 * args.stops:
        runs += 1
        process = start(words)
        try:
            process.communicate(timeout=life_s * draw.uniform(0.1, 1.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, getattr(signal, f"SIG{args.signal}"))
            process.communicate()
            stopped += 1
        torn = [n for n, data in files(folder).items() if n in wanted and data != wanted[n]]
        if torn:
            sys.exit(f"report {runs} left {torn[0]} torn")
    start(words).communicate()
    if files(folder) != wanted:
        sys.exit(f"files differ in the end: {sorted(files(folder).keys() ^ wanted.keys())}")
    print(f"{runs} reports, stopped {stopped} times by SIG{args.signal}: whole files only")


def main() -> None:
    """Run the undisturbed training (or report), then the others."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data", type=Path, help="a dataset with train/ and val/, or run logs")
    parser.add_argument("--report", action="store_true", help="stop `dl2 report`, not `dl2 train`")
    parser.add_argument("--loader", default="pcr")
    parser.add_argument("--signal", choices=("TERM", "KILL", "INT", "HUP", "USR1"), default="TERM")
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--phase", choices=PHASES, help="stop in this phase only")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    phases = tuple(each for each in PHASES if each != "tuning" or args.loader == "pcr")
    if args.phase is not None:
        phases = (args.phase,)
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        if args.report:
            disturb_reports(args, workspace, random.Random(args.seed))
            return
        began = time.monotonic()
        process = start(command(args, workspace, "undisturbed"))
        _, err = process.communicate()
        if process.returncode:
            sys.exit(err)
        life_s = time.monotonic() - began
        wanted = outcome(workspace / "undisturbed")
        print(f"undisturbed: {life_s:.1f} s, {len(wanted.curve)} records of the log")
        number = getattr(signal, f"SIG{args.signal}")
        disturber = Disturber(number, args.stops, life_s, random.Random(args.seed), phases)
        run = 0
        while disturber.stops.total() < args.stops:
            run += 1
            if run > MAX_STARTS:
                sys.exit(f"{disturber.stops.total()} stops in {run} runs: no moment was met.")
            folder = workspace / f"run{run}"
            stops = disturber.run(command(args, workspace, folder.name), folder)
            if outcome(folder) != wanted:
                sys.exit(f"run {run}, stopped {stops} times, learnt something else")
            print(f"run {run}: stopped {stops} times by SIG{args.signal}, the same log and weights")
        where = ", ".join(f"{count} in {name}" for name, count in disturber.stops.most_common())
        print(f"{disturber.stops.total()} stops ({where}): every run learnt the same")


if __name__ == "__main__":
    main()
