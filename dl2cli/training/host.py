"""What a training runs on, for its log: the machine, and the versions that decide its results."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import dl2cli

_PACKAGES = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "dali": ("nvidia-dali-cuda110", "nvidia-dali-cuda120", "nvidia-dali-cuda130"),
    "numpy": ("numpy",),
}


def host(device: str) -> dict[str, Any]:
    """Return name, processor, memory and, where the device is one, GPU of this machine."""
    found: dict[str, Any] = {
        "name": platform.node(),
        "cpu": _cpu_model(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
    }
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
    return found


def versions() -> dict[str, str]:
    """Return the versions of dl2, Python and what computes; without importing any of it."""
    found = {"dl2": dl2cli.__version__, "python": platform.python_version()}
    for name, packages in _PACKAGES.items():
        for package in packages:
            try:
                found[name] = metadata.version(package)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    match = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return match.group(1) if match else platform.machine()
