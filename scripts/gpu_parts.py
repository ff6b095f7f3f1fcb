"""The measured parts of scripts/test_gpu.sh: what each does, and what counts as right.

Each part is a function that yields rows as it gets them; bench_gpu.py runs each in a process of its
own, with a time limit. On the CPU all of it runs with tiny sizes: the figures then mean nothing.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bench_train  # sets what torch reads from the environment, so it comes before torch
import torch
from bench_loaders import processor_seconds

from dl2cli.cores import usable_cores
from dl2cli.dataset.sample import SampleConfig, ensure_sample_set
from dl2cli.loaders.registry import has_dali
from dl2cli.loaders.throttle import Throttle
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.training.log.events import EpochReport, Observer, PhaseReport
from dl2cli.training.trainer import train

GOAL = 0.98  # images/s of dl2 over those of the bare loop
STALL_TOLERANCE = 0.05  # by which the logged share of stalls may differ from the measured one
FULL_BATCH = 256  # images
# Memory of a ResNet-50 step in mixed precision, an image of 224 pixels, with room to spare.
BYTES_AN_IMAGE = 130e6
SHARE_OF_MEMORY = 0.8
FEEDS = (("pcr", 10), ("jpeg", None), ("pytorch", None), ("pcr", 5), ("pcr", 1))
DALI_FEEDS = (("dali-gpu", None), ("pcr-dali-gpu", 10), ("pcr-dali-gpu", 5), ("pcr-dali-gpu", 1))


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        part: the part that it belongs to.
        what: what was measured or tested.
        figures: names with units, and values.
        ok: whether it is right, or reaches its goal; None where there is nothing to judge.
        note: a sentence, or "".
    """

    part: str
    what: str
    figures: dict[str, Any]
    ok: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Plan:
    """What the parts work with.

    Attributes:
        device: "cuda" or "cpu"; on a CPU nothing is judged that depends on speed.
        work: a folder for the photos.
        training: the training of the parts (2) to (4).
        steps: of an epoch in the parts (3) and (4).
        photos: how many different ones are generated; each is there several times.
        photo_px: their longer side.
        bench_s: seconds of a run of `dl2 bench-io`.
        compiled: whether part (2) uses torch.compile, each in turn.
    """

    device: str
    work: Path
    training: bench_train.Options
    steps: int
    photos: int
    photo_px: int
    bench_s: float
    compiled: tuple[bool, ...] = (False, True)

    @property
    def images(self) -> int:
        """Images in an epoch."""
        return self.steps * self.training.batch_size

    @property
    def workers(self) -> int:
        """Threads or processes that decode."""
        return min(usable_cores(), 16)

    def judged(self, right: bool) -> bool | None:
        """Return `right` on a GPU, and None on a CPU, whose figures mean nothing."""
        return right if self.device == "cuda" else None


def make_plan(device: str, work: Path) -> Plan:
    """Return the sizes: those of the goal on a GPU with memory for them, tiny ones on a CPU."""
    if device == "cpu":
        tiny = bench_train.Options("small_cnn", 32, 8, 4, channels_last=True, block=2)
        return Plan(device, work, tiny, steps=4, photos=6, photo_px=64, bench_s=0.2)
    free, _ = torch.cuda.mem_get_info()
    batch = FULL_BATCH
    while batch > 8 and batch * BYTES_AN_IMAGE > SHARE_OF_MEMORY * free:
        batch //= 2
    options = bench_train.Options(
        "resnet50", 224, batch, 40, device, "float16", channels_last=True, block=10
    )
    return Plan(device, work, options, steps=20, photos=240, photo_px=500, bench_s=2.0)


def synthetic(plan: Plan) -> Iterator[Row]:
    """(2) dl2's images/s beside a bare loop's, in turn; what takes long to compile comes last."""
    for compiled in plan.compiled:
        for amp in ("float16", "bfloat16"):
            options = replace(plan.training, amp=amp, compile=compiled)
            pairs = bench_train.alternate(options)
            dl2, bare = (
                options.batch_size / statistics.median(pair[i].wall_s for pair in pairs)
                for i in range(2)
            )
            ratio = statistics.median(b.wall_s / a.wall_s for a, b in pairs)
            figures = {
                "batch": options.batch_size,
                "dl2_img_s": dl2,
                "bare_img_s": bare,
                "ratio": ratio,
            }
            name = f"{options.arch} {amp}" + (", compiled" if compiled else "")
            small = plan.device == "cuda" and options.batch_size < FULL_BATCH
            note = "The batches are smaller: less memory is free." if small else ""
            yield Row("synthetic", name, figures, plan.judged(ratio >= GOAL), note)


def photos(plan: Plan) -> Iterator[Row]:
    """Generate photos, as an ImageFolder in which each is there several times, and as records."""
    per_class = -(-plan.photos // 6)
    config = SampleConfig(train_per_class=per_class, val_per_class=1, long_side_px=plan.photo_px)
    originals = ensure_sample_set(config, cache=plan.work / "sample") / "train"
    files = sorted(originals.glob("*/*.jpg"))
    folder = plan.work / "photos"
    for number in range(plan.images):
        file = files[number % len(files)]
        target = folder / file.parent.name / f"{number // len(files):04}_{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, target)
    convert(ConvertConfig(folder, plan.work / "pcr", images_per_record=64, workers=plan.workers))
    figures = {
        "images": plan.images,
        "different": len(files),
        "kb_an_image": statistics.mean(file.stat().st_size for file in files) / 1e3,
    }
    yield Row("photos", f"generated, {plan.photo_px} px", figures)


class _Account(Observer):
    """Takes the processor time of each epoch."""

    def __init__(self) -> None:
        self.at_s: list[float] = []

    def epoch_ended(self, report: EpochReport) -> None:
        """Note how much processor time there was until now."""
        self.at_s.append(processor_seconds())


@dataclass(frozen=True)
class Fed:
    """An epoch of a training with a loader, after one that warmed everything up."""

    train: PhaseReport
    cpu_ms: float

    @property
    def rate_img_s(self) -> float:
        """Return images/s."""
        return self.train.images / self.train.wall_s

    @property
    def logged(self) -> float:
        """Return the share of the time that waited for data, as the log has it."""
        return self.train.data_s / self.train.iteration_s

    def figures(self, free: Fed) -> dict[str, Any]:
        """Return what is shown; `free` is the run on synthetic images."""
        share = {
            name: None if stall_s is None else stall_s / self.train.iteration_s
            for name, stall_s in (
                ("fetch_stall", self.train.fetch_stall_s),
                ("prep_stall", self.train.prep_stall_s),
            )
        }
        return {
            "img_s": self.rate_img_s,
            "cpu_ms_an_image": self.cpu_ms,
            "bytes_an_image": self.train.bytes_read / self.train.images,
            "logged_stall": self.logged,
            "stall_against_synthetic": self.stall_against(free),
            **share,
        }

    def stall_against(self, free: Fed) -> float:
        """Return the share of the time that data cost, by the difference to synthetic images."""
        return max(0.0, 1 - free.train.iteration_s / self.train.iteration_s)


def feed(plan: Plan, loader: str, scans: int | None = None, throttle: str | None = None) -> Fed:
    """Train two epochs with a loader and return the account of the second."""
    account = _Account()
    with tempfile.TemporaryDirectory(dir=plan.work) as folder:
        config = bench_train.train_config(plan.training, Path(folder))
        data = plan.work / ("pcr" if loader.startswith("pcr") else "photos")
        loading = replace(
            config.data.train,
            data=data,
            scans=scans,
            workers=plan.workers,
            synthetic_images=plan.images if loader == "synthetic" else None,
            throttle=None if throttle is None else Throttle.parse(throttle),
        )
        config = replace(
            config,
            data=replace(config.data, train=loading, loader=loader),
            lr=replace(config.lr, epochs=2),
            epochs=2,
        )
        result = train(config, [account])
    assert result.final is not None
    assert result.final.train is not None
    cpu_ms = 1e3 * (account.at_s[1] - account.at_s[0]) / result.final.train.images
    return Fed(result.final.train, cpu_ms)


def _feeds(plan: Plan, part: str, feeds: tuple[tuple[str, int | None], ...]) -> Iterator[Row]:
    free = feed(plan, "synthetic")
    yield Row(part, "synthetic", free.figures(free))
    for loader, scans in feeds:
        fed = feed(plan, loader, scans)
        name = loader if scans is None else f"{loader} k={scans}"
        yield Row(part, name, fed.figures(free), _stall_is_right(plan, fed, free))


def _stall_is_right(plan: Plan, fed: Fed, free: Fed) -> bool | None:
    """Judge the stall that the log has: it is what data cost against synthetic images."""
    return plan.judged(abs(fed.logged - fed.stall_against(free)) <= STALL_TOLERANCE)


def loaders(plan: Plan) -> Iterator[Row]:
    """(3) The same training fed by each loader that needs no DALI."""
    return _feeds(plan, "loaders", FEEDS)


def stalls(plan: Plan) -> Iterator[Row]:
    """(4) Storage so slow that it bounds: the logged stall against the difference to synthetic."""
    free, fast = feed(plan, "synthetic"), feed(plan, "pcr", 10)
    bytes_s = fast.train.bytes_read / fast.train.wall_s
    for share in (0.5, 0.25):
        throttle = f"{share * bytes_s / 1e3:.0f}kB/s"
        slow = feed(plan, "pcr", 10, throttle)
        what = f"pcr k=10 at {throttle}"
        yield Row("stalls", what, slow.figures(free), _stall_is_right(plan, slow, free))


def processes(plan: Plan) -> Iterator[Row]:
    """(5) NCCL in one process; `dl2 train` in as many as there are GPUs, two on a CPU."""
    yield _collective(plan)
    count = torch.cuda.device_count() if plan.device == "cuda" else 2
    if count < 2:
        yield Row("nccl", "several processes", {}, note="Skipped: there is only one GPU.")
        return
    for ranks in (1, count):
        rate = _train_ranks(plan, ranks)
        yield Row("nccl", f"dl2 train, {ranks} processes", {"img_s": rate})


def _collective(plan: Plan) -> Row:
    """Sum and train through the library of collectives, in a group of this one process."""
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel

    backend = "nccl" if plan.device == "cuda" else "gloo"
    device = torch.device(plan.device)
    with tempfile.TemporaryDirectory(dir=plan.work) as folder:
        store = dist.FileStore(f"{folder}/store", 1)
        dist.init_process_group(backend, store=store, rank=0, world_size=1)
        try:
            values = torch.arange(1000.0, device=device)
            dist.all_reduce(values)
            bare = bench_train.BareLoop(plan.training)
            bare.model = DistributedDataParallel(bare.model)
            bare.step()
            right = bool((values.cpu() == torch.arange(1000.0)).all())
        finally:
            dist.destroy_process_group()
    return Row("nccl", f"{backend}, one process", {}, right)


def _train_ranks(plan: Plan, ranks: int) -> float:
    """Return images/s of `dl2 train` on synthetic images, started by torchrun."""
    options = plan.training
    with tempfile.TemporaryDirectory(dir=plan.work) as folder:
        command = [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(ranks), "-m", "dl2cli", "train", "--loader", "synthetic"),
            *("--synth-train-samples", str(plan.images * ranks), "--skip-validation"),
            *("--arch", options.arch, "--image-size", str(options.image_size)),
            *("--batch-size", str(options.batch_size), "--epochs", "2", "--device", plan.device),
            *("--workspace", folder, "--name", "ranks", "--no-checkpoints", "--seed", "0"),
        ]
        if plan.device == "cuda":
            command += ["--amp", "--static-loss-scale", "128", "--memory-format", "nhwc"]
        _run(command)
        log = Path(folder) / "ranks" / "experiment_report.json"
        return _last_rate(log)


def _last_rate(log: Path) -> float:
    """Return images/s of all ranks in the last epoch of a run log."""
    epochs = [json.loads(line[5:]).get("data", {}) for line in log.read_text().splitlines()]
    last = [epoch for epoch in epochs if "e.wall" in epoch][-1]
    return float(last["e.images"] / last["e.wall"])


def bench_io(plan: Plan) -> Iterator[Row]:
    """(6) `dl2 bench-io` with the model on the device: is its verdict right?"""
    slow_storage = "4MB/s" if plan.device == "cuda" else "20kB/s"
    slow_model = ("resnet152", 224) if plan.device == "cuda" else ("resnet18", 64)
    fast_model = (plan.training.arch, plan.training.image_size)
    for bound, (arch, size), more in (
        ("storage", fast_model, ["--throttle", slow_storage, "--scans", "10"]),
        ("compute", slow_model, ["--scans", "1"]),
    ):
        command = [
            *(sys.executable, "-m", "dl2cli", "bench-io", str(plan.work / "pcr"), "--json"),
            *("--device", plan.device, "--arch", arch, "--size", str(size), *more),
            # A quarter of the batch: this is float32, and the slow model takes three times as much.
            *("--batch-size", str(max(plan.training.batch_size // 4, 4)), "--repeat", "1"),
            *("--workers", str(plan.workers), "--seconds", str(plan.bench_s)),
            *("--no-storage", "--sample", "0", "--checks", "0"),
        ]
        verdict = json.loads(_run(command))["verdict"]
        right = verdict["bound"] == bound
        what = f"{arch}, {' '.join(more).removeprefix('--')}: expected {bound}"
        figures = {"bound": verdict["bound"], "img_s": verdict["rate_img_s"], "au": verdict["au"]}
        yield Row("bench-io", what, figures, right, verdict["sentence"])


def dali(plan: Plan) -> Iterator[Row]:
    """(3) again, with DALI on the GPU."""
    if plan.device != "cuda":
        yield Row("dali", "loaders", {}, note="Skipped: DALI decodes on a GPU, and this is a CPU.")
    elif not has_dali():
        yield Row("dali", "loaders", {}, note="Skipped: NVIDIA DALI is not installed.")
    else:
        yield from _feeds(plan, "dali", DALI_FEEDS)


def _run(command: list[str]) -> str:
    """Run a command and return what it printed; what it says when it fails becomes the error."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise RuntimeError(
            f"{' '.join(command[1:6])} ended with {done.returncode}: {' '.join(said[-3:])}"
        )
    return done.stdout


PARTS: dict[str, Callable[[Plan], Iterator[Row]]] = {
    "synthetic": synthetic,
    "photos": photos,
    "loaders": loaders,
    "stalls": stalls,
    "nccl": processes,
    "bench-io": bench_io,
    "dali": dali,
}
