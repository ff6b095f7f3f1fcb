"""Reports of a training that nobody ran: what observers are told, with values of a closed form."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dl2cli.training.fidelity.curriculum import Fidelity
from dl2cli.training.log.events import (
    EpochReport,
    Phase,
    PhaseReport,
    RunInfo,
    TrainResult,
)

PARAMETERS: dict[str, Any] = {
    "arch": "resnet18", "batch_size": 64, "data": "photos/pcr", "epochs": 3,
    "data_loader": "pcr", "experiment_name": "demo", "print_freq": 100, "workers": 2,
    "dataset_class": "ImageFolder", "cache_size": 0, "mixup": 0.0, "num_classes": 6, "seed": None,
    "skip_validation": False, "run_epochs": -1, "optimizer_batch_size": -1, "scans": "5@0,10@2",
    "dataset": "photos", "variant": "pcr", "lr": 0.1,
}  # fmt: skip


def run_info(folder: Path, **changes: Any) -> RunInfo:
    info = RunInfo(
        folder=folder, parameters=PARAMETERS, rank=0, world_size=1, device="cpu", epochs=3,
        first_epoch=0, first_iteration=0, steps_per_epoch=250, val_steps=40, train_images=16_000,
        val_images=2_500, classes=("a", "b"), model_parameters=11_000,
    )  # fmt: skip
    return replace(info, **changes)


def phase_report(
    epoch: int, iteration: int = 250, phase: Phase = Phase.TRAIN, **changes: Any
) -> PhaseReport:
    n = 250 if iteration == 250 else 100
    data, compute = 0.1 + epoch / 7, 0.3 + iteration / 3000
    training = phase is Phase.TRAIN
    report = PhaseReport(
        phase=phase, epoch=epoch, iteration=iteration, iterations=n, images=n * 64,
        loss=2.5 - epoch / 3, top1_pct=100 / 7 + epoch, top5_pct=100 / 3 + epoch, data_s=data,
        compute_s=compute, iteration_s=data + compute, data_speed_img_s=64 / data,
        compute_speed_img_s=64 / compute, iteration_speed_img_s=64 / (data + compute),
        compute_latency_s={0.95: compute + 0.1, 0.99: compute + 0.2, 1.0: compute + epoch},
        fetch_stall_s=data / 3 if training else None,
        prep_stall_s=data - data / 3 if training else None, wall_s=n * (data + compute),
        bytes_read=n * 1000 + epoch, lr=0.1 / (epoch + 1) if training else None,
        fidelity=Fidelity(5 if training else None, 224),
        stages_s={"fetch_s": 1.5, "decode_s": 4.5} if training else {},
    )  # fmt: skip
    return replace(report, **changes)


def epoch_report(epoch: int, **changes: Any) -> EpochReport:
    report = EpochReport(
        epoch=epoch,
        train=phase_report(epoch),
        validation=phase_report(epoch, 40, Phase.VALIDATION),
        total_s=279.866491 + epoch,
        degraded=1,
        skipped=2,
    )
    return replace(report, **changes)


def train_result(folder: Path, **changes: Any) -> TrainResult:
    history = tuple(epoch_report(epoch) for epoch in range(3))
    result = TrainResult(
        folder=folder, log=folder / "experiment_report.json",
        checkpoint=folder / "checkpoint.pth.tar", status="complete", stopped_by=None, epochs_done=3,
        epochs=3, best_top1_pct=100 / 7 + 2, best_epoch=2, final=history[-1], history=history,
        train_images=48_000, wall_s=842.6, bytes_read=750_003, startup_s=4.2,
    )  # fmt: skip
    return replace(result, **changes)
