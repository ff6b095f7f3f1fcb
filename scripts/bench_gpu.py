#!/usr/bin/env python3
"""The parts of scripts/test_gpu.sh, each in a process of its own with a time limit.

    scripts/bench_gpu.py RESULTS.json [--parts tests,synthetic,...] [--seconds 470]

A row is printed and written to RESULTS.json as soon as it is known; rows that are there already are
kept, so that parts can be run one after another. A part that fails or takes too long is told as
such, and the next one runs. gpu_parts.py says what the parts do. DL2_TEST_GPU_DEVICE=cpu runs the
same parts on a CPU with tiny sizes, to try the script itself: the figures then mean nothing.
Exit codes: 0 all is well, 1 something is wrong or too slow, 2 usage, 4 there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# The order is that of importance. A part begins only while there is time left.
LIMITS_S = {
    "tests": 90,
    "synthetic": 150,
    "photos": 60,
    "loaders": 100,
    "stalls": 60,
    "nccl": 40,
    "bench-io": 80,
    "dali-tests": 60,
    "dali": 80,
}
NEED_PHOTOS = ("loaders", "stalls", "bench-io", "dali")
WORK_BYTES = 2e9  # that the photos and records may take
GRACE_S = 10  # that a part has to end after it is told to


@dataclass
class Results:
    """The JSON document, written anew with each row."""

    path: Path
    document: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def open(path: Path) -> Results:
        """Go on with the document at a path, or begin one."""
        if path.exists() and path.stat().st_size:
            return Results(path, json.loads(path.read_text()))
        begun = datetime.now(UTC).isoformat(timespec="seconds")
        return Results(path, {"schema_version": 1, "begun": begun, "machine": {}, "rows": []})

    def add(self, row: dict[str, Any]) -> None:
        """Print a row and keep it."""
        self.document["rows"].append(row)
        self.write()
        print(shown(row), flush=True)

    def write(self) -> None:
        """Write the document, so that a reader always finds a whole one."""
        temporary = self.path.with_name(self.path.name + ".tmp")
        temporary.write_text(json.dumps(self.document, indent=1, allow_nan=False) + "\n")
        temporary.replace(self.path)

    def wrong(self) -> list[str]:
        """Return the names of rows that are not right."""
        return [f"{r['part']}: {r['what']}" for r in self.document["rows"] if r["ok"] is False]


def shown(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    mark = {True: "ok", False: "WRONG", None: ""}[row["ok"]]
    figures = "  ".join(
        f"{name} {value:.3g}"
        if isinstance(value, float) and value < 100
        else f"{name} {_number(value)}"
        for name, value in row["figures"].items()
        if value is not None
    )
    return f"{row['part']:10} {row['what']:38} {mark:5}  {figures}  {row['note']}".rstrip()


def _number(value: object) -> str:
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def row(part: str, what: str, *, ok: bool | None = None, note: str = "", **figures: Any) -> dict:
    """Return a row as gpu_parts.Row has it."""
    return {"part": part, "what": what, "figures": figures, "ok": ok, "note": note}


def run_limited(
    command: list[str], limit_s: float, *, quiet: bool = False
) -> tuple[int | None, str]:
    """Run a command; return its exit code, None where it took too long, and the end of its stderr.

    A quiet one's stdout is taken for stderr, instead of being shown.

    The command and what it started are ended together, so that nothing is left on the GPU.
    """
    with tempfile.TemporaryFile("w+") as said:
        child = subprocess.Popen(
            command,
            stdout=said if quiet else None,
            stderr=said,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            code: int | None = child.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(child)
        said.seek(0)
        return code, said.read()[-4000:].strip()


def end(child: subprocess.Popen) -> None:
    """End a process and its children, if they have not ended."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue
        if number == signal.SIGTERM:
            time.sleep(0.1)  # its children end too; those that do not are killed


def run_tests(results: Results, part: str, limit_s: float, which: str) -> None:
    """(1) Run the tests with the marker `gpu`, and add a row of how many passed."""
    files = [str(f) for f in sorted(ROOT.glob("tests/**/test_*.py")) if "mark.gpu" in f.read_text()]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        # Warnings of versions that dl2 is not pinned to are no failure here.
        pytest = [sys.executable, "-m", "pytest", "-q", "-W", "default", "-p", "no:cacheprovider"]
        chosen = ["-m", "gpu", "-k", which, f"--junitxml={report}", *files]
        code, said = run_limited([*pytest, *chosen], limit_s, quiet=True)
        if code is None:
            results.add(
                row(part, "pytest -m gpu", ok=False, note=f"cut short after {limit_s:.0f} s")
            )
            return
        if not report.exists():
            results.add(row(part, "pytest -m gpu", ok=False, note=error_line(said)))
            return
        suite = ET.parse(report).getroot().find("testsuite")
    assert suite is not None
    count = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    names = [c.get("name", "") for c in suite if any(x.tag in ("failure", "error") for x in c)]
    note = f"failed: {', '.join(names)}" if names else ""
    if not passed and not failed:
        note = "Skipped: the tests found no GPU, or not what they need."
    what = f"pytest -m gpu -k {which!r}"
    figures = {"passed": passed, "failed": failed, "skipped": count["skipped"]}
    results.add(
        row(part, what, ok=None if not (passed or failed) else not failed, note=note, **figures)
    )
    if failed:
        print(said, file=sys.stderr)


def error_line(said: str) -> str:
    """Return the line of a process's words that names its error, or else the last one."""
    lines = said.splitlines() or ["it said nothing"]
    named = [
        line
        for line in lines
        if re.match(r"(\[rank\d+\]: )?[\w.]+(Error|Exception|Missing\w+): ", line)
    ]
    return (named or lines)[-1][:300]


def run_part(results: Results, part: str, limit_s: float, work: Path, device: str) -> None:
    """Run a measured part; its process adds the rows."""
    command = [sys.executable, __file__, str(results.path), "--one", part, "--work", str(work)]
    # What torch.compile makes goes with the folder, and is none that an earlier run has made.
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(work / "inductor")
    os.environ["TRITON_CACHE_DIR"] = str(work / "triton")
    code, said = run_limited([*command, "--device", device], limit_s)
    results.document = json.loads(results.path.read_text())
    if code is None:
        results.add(row(part, "cut short", note=f"It was ended after {limit_s:.0f} s."))
    elif code:
        results.add(row(part, "failed", ok=False, note=error_line(said)))
        print(said, file=sys.stderr)


def measure(path: Path, part: str, work: Path, device: str) -> None:
    """Run a part in this process, and keep each row as it comes."""
    import gpu_parts

    results = Results.open(path)
    for each in gpu_parts.PARTS[part](gpu_parts.make_plan(device, work)):
        results.add(asdict(each))


def find_device() -> str | None:
    """Return "cuda" where torch can use a GPU, "cpu" where that is asked for, else None."""
    if os.environ.get("DL2_TEST_GPU_DEVICE") == "cpu":
        return "cpu"
    try:
        import torch
    except ImportError:
        print("Python has no torch: install one that fits the driver.", file=sys.stderr)
        return None
    if torch.cuda.is_available():
        return "cuda"
    built = (
        f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "is for CPUs alone"
    )
    print(
        f"There is no GPU that torch can use; torch {torch.__version__} {built}.", file=sys.stderr
    )
    return None


def describe(results: Results, device: str) -> None:
    """Put into the document, and print, what this runs on."""
    from dl2cli.environment import environment

    machine = results.document["machine"]
    machine.update(json.loads(json.dumps(asdict(environment()), default=str)))
    machine["device"] = device
    results.write()
    versions = {name: version for name, version in machine["packages"].items() if version}
    gpus = machine["gpus"] or {}
    cards = ", ".join(str(gpu.get("name")) for gpu in gpus.get("devices", [])) or "no GPU"
    print(
        f"{cards}; driver {gpus.get('driver')}, CUDA of the driver {gpus.get('cuda')}; torch "
        f"{versions.get('torch')} for CUDA {machine['torch_cuda']}; "
        f"{machine['cpu']['cores_usable']} cores; {results.document['begun']}"
    )
    if device == "cpu":
        print("On the CPU, with tiny sizes: this tries the script, and the figures mean nothing.")
    if not any(name.startswith("nvidia-dali") for name in versions):
        print("NVIDIA DALI is not installed (yet): its parts, the last ones, need it.")


def run_all(results: Results, parts: list[str], until: float, work: Path, device: str) -> None:
    """Run parts in turn, each as long as it may and as there is time."""
    ready = work / "pcr" / "PCR.db"
    if set(NEED_PHOTOS) & set(parts) and "photos" not in parts and not ready.exists():
        parts = ["photos", *parts]
    for part in parts:
        limit_s = min(LIMITS_S[part], until - time.monotonic())
        if limit_s < 1:
            results.add(row(part, "skipped", note="Skipped: there was no time left."))
        elif part == "photos" and shutil.disk_usage(work).free < WORK_BYTES:
            results.add(row(part, "skipped", note=f"Skipped: {work} has less than 2 GB free."))
        elif part in NEED_PHOTOS and not ready.exists():
            results.add(row(part, "skipped", note="Skipped: the photos are missing."))
        elif part == "tests":
            run_tests(results, part, limit_s, "not dali")
        elif part == "dali-tests":
            run_tests(results, part, limit_s, "dali")
        else:
            run_part(results, part, limit_s, work, device)


def main() -> None:
    """Run the parts and say what is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("--parts", default=",".join(LIMITS_S))
    parser.add_argument("--seconds", type=float, default=470)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help="a folder for the photos, which stay there")
    parser.add_argument("--device", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.results = given.results.resolve()
    if given.one:
        measure(given.results, given.one, given.work, given.device)
        return
    parts = given.parts.split(",")
    if unknown := sorted(set(parts) - set(LIMITS_S)):
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(LIMITS_S)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that parts end with this process
    device = find_device()
    if device is None:
        sys.exit(4)
    results = Results.open(given.results)
    if not results.document["machine"]:
        describe(results, device)
    until = time.monotonic() + given.seconds
    with tempfile.TemporaryDirectory(prefix="dl2-gpu-", ignore_cleanup_errors=True) as temporary:
        run_all(results, parts, until, given.work or Path(temporary), device)
    if wrong := results.wrong():
        print(f"Wrong, or below its goal: {'; '.join(wrong)}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
