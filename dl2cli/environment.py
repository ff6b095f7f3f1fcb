"""Describe what dl2 runs on: the versions and features that decide its results and its speed.

Nothing heavy is imported: the versions of torch and DALI are read from their metadata, and
`nvidia-smi` is asked about GPUs.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psutil

import dl2cli
from dl2cli.cores import usable_cores

PACKAGES = (
    *("numpy", "Pillow", "psutil", "rich", "typer", "wand", "matplotlib", "imagecodecs"),
    *("torch", "torchvision"),
    *("nvidia-dali-cuda110", "nvidia-dali-cuda120", "nvidia-dali-cuda130"),
)
# What libjpeg-turbo, numpy and the checksums choose their code by, as /proc/cpuinfo names it.
CPU_FEATURES = (
    *("sse4_2", "pclmulqdq", "bmi2", "f16c", "fma", "avx", "avx2"),
    *("avx512f", "avx512bw", "avx512vl", "amx_tile", "asimd", "crc32", "sve"),
)
# The packages whose versions decide what a training computes, by the names that its log has.
COMPUTING = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "dali": ("nvidia-dali-cuda110", "nvidia-dali-cuda120", "nvidia-dali-cuda130"),
    "numpy": ("numpy",),
}
# Modules that may also have read, decoded, changed or fed the images of a result.
LOADING = (
    *("webdataset", "spdl", "streaming", "litdata", "ffcv", "obstore", "distributed"),
    *("cv2", "turbojpeg", "albumentations", "kornia", "scipy", "pyarrow"),
    *("timm", "lightning", "accelerate", "transformers"),
)
VARIABLES = re.compile(
    r"DL2_.*|JSIMD_.*|OMP_NUM_THREADS|MKL_NUM_THREADS|MAGICK_.*|CUDA_VISIBLE_DEVICES|MALLOC_.*"
)
NVIDIA_SMI_TIMEOUT_S = 10.0
UNKNOWN: Final = "unknown"  # in logs and results, where null might mean anything


@dataclass(frozen=True, slots=True)
class Cpu:
    """`cores_usable` is what this process may run on, of `cores`."""

    model: str
    cores: int
    cores_usable: int
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JpegLibrary:
    """A libjpeg-turbo: `simd` says whether it runs vector code here, None where that is unknown."""

    version: str
    file: Path | None
    simd: bool | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as nvidia-smi names it."""

    name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Gpus:
    """The GPUs and the newest CUDA that their driver supports; `problem` when asking failed."""

    devices: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Environment:
    """Everything that belongs in a bug report; None stands for what was not found."""

    dl2: str
    location: Path
    python: str
    system: str
    kernel: str
    cpu: Cpu
    memory_bytes: int
    native_core: str
    codec: str | None
    libjpeg: JpegLibrary | None
    pillow_libjpeg: JpegLibrary | None
    imagemagick: str | None
    sqlite: str
    packages: dict[str, str | None]
    torch_cuda: str | None
    gpus: Gpus | None
    variables: dict[str, str]


def environment() -> Environment:
    """Look at this machine and this Python; takes about a tenth of a second without a GPU."""
    native_core, libjpeg = _native_core()
    return Environment(
        dl2=dl2cli.__version__,
        location=Path(dl2cli.__file__).parent,
        python=f"{platform.python_version()} ({sys.executable})",
        system=_system(),
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=_cpu(),
        memory_bytes=psutil.virtual_memory().total,
        native_core=native_core,
        codec=_codec(),
        libjpeg=libjpeg,
        pillow_libjpeg=_pillow_libjpeg(),
        imagemagick=_imagemagick(),
        sqlite=sqlite3.sqlite_version,
        packages={name: _version(name) for name in PACKAGES},
        torch_cuda=_torch_cuda(),
        gpus=_gpus(),
        variables={k: v for k, v in sorted(os.environ.items()) if VARIABLES.fullmatch(k)},
    )


def host(device: str) -> dict[str, Any]:
    """Return what a training runs on, for its log: name, processor, memory and GPU.

    Args:
        device: "cpu" or "cuda:N"; for the latter, torch is asked for the GPU's name.
    """
    cpu = _cpu()
    found: dict[str, Any] = {
        "name": platform.node(),
        "cpu": cpu.model,
        "cores_usable": cpu.cores_usable,
        "memory_bytes": psutil.virtual_memory().total,
        "kernel": platform.release(),
    }
    if device.startswith("cuda"):
        import torch

        found["gpu"] = torch.cuda.get_device_name(device)
        found["cuda"] = torch.version.cuda
    return found


def versions() -> dict[str, str]:
    """Return the versions of dl2, Python and the packages in `COMPUTING`, importing none."""
    installed = {
        name: next(filter(None, map(_version, packages)), None)
        for name, packages in COMPUTING.items()
    }
    own = {"dl2": dl2cli.__version__, "python": platform.python_version()}
    return own | {name: version for name, version in installed.items() if version is not None}


def all_versions() -> dict[str, str]:
    """Return the versions of all that can matter; UNKNOWN where one cannot be told.

    A package that is not installed is told so. None is imported, but for the native core.
    """
    native, libjpeg = _native_core()
    own = {
        "dl2": dl2cli.__version__,
        "python": platform.python_version(),
        "system": _system(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "codec": _codec() or UNKNOWN,
        "libjpeg": libjpeg.version if libjpeg else native,
        "sqlite": sqlite3.sqlite_version,
        "torch_cuda": _torch_cuda() or "none",
    }
    return own | {name: _version(name) or "not installed" for name in PACKAGES}


def loaded_versions() -> dict[str, str]:
    """Return the versions of those modules of `LOADING` that this process has imported."""
    loaded = {name: sys.modules[name] for name in LOADING if name in sys.modules}
    return {
        name: str(getattr(module, "__version__", None) or _version(name) or UNKNOWN)
        for name, module in loaded.items()
    }


def native_core_file() -> Path | None:
    """Return the file of the native core; None where it cannot be loaded."""
    try:
        from dl2cli_native import _core
    except ImportError:
        return None
    return Path(_core.__file__)


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _cpu() -> Cpu:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    fields: dict[str, str] = dict(re.findall(r"^([^\t:]+?)\s*:\s*(.*)$", text, re.MULTILINE))
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    return Cpu(
        model=fields.get("model name") or platform.processor() or platform.machine(),
        cores=os.cpu_count() or 1,
        cores_usable=usable_cores(),
        features=tuple(name for name in CPU_FEATURES if name in flags),
    )


def _native_core() -> tuple[str, JpegLibrary | None]:
    try:
        from dl2cli_native import _core
    except ImportError as error:
        return f"cannot be loaded: {error}", None
    file = Path(_core.__file__)
    # A libjpeg that is linked statically is part of the extension itself.
    return str(file), _jpeg_library(_core.libjpeg_version(), [*_loaded_libjpegs()[1], file])


def _codec() -> str | None:
    """Return which instructions dl2's own codec runs, or why it cannot."""
    try:
        from dl2cli_native import _core
    except ImportError:
        return None
    try:
        instructions = _core.codec_instruction_set()
    except ValueError as error:  # DL2_CODEC_ISA asks for instructions that the processor lacks
        return str(error)
    if _core.native_codec_decodes():
        return instructions
    return f"{instructions} (only transcodes: libjpeg decodes faster on a processor without AVX2)"


def _pillow_libjpeg() -> JpegLibrary | None:
    from PIL import features

    version = features.version_feature("libjpeg_turbo")
    if not version:
        return None
    of_wheel, others = _loaded_libjpegs()
    return _jpeg_library(version, of_wheel or others)


def _loaded_libjpegs() -> tuple[list[Path], list[Path]]:
    """Return the libjpegs that this process has loaded: those in a wheel of Pillow, and others."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [], []
    names = dict.fromkeys(re.findall(r"/.*/libjpeg[-.\w]*\.so[.\d]*$", maps, re.MULTILINE))
    of_wheel = [Path(name) for name in names if "/pillow.libs/" in name.lower()]
    return of_wheel, [Path(name) for name in names if "/pillow.libs/" not in name.lower()]


def _jpeg_library(version: str, files: list[Path]) -> JpegLibrary:
    """Tell whether a libjpeg-turbo has vector code, and may use it.

    One that was built with vector code asks for the variable JSIMD_FORCENONE by its name, so that
    name is in the library (libjpeg-turbo, simd/*/jsimd.c); one that was built without is 2 to 6
    times as slow and says so nowhere else.
    """
    if not files:
        return JpegLibrary(version, None, None)
    file = files[0]
    try:
        built_in = b"JSIMD_FORCENONE" in file.read_bytes()
    except OSError:
        return JpegLibrary(version, file, None)
    return JpegLibrary(version, file, built_in and os.environ.get("JSIMD_FORCENONE") != "1")


def _imagemagick() -> str | None:
    try:
        from wand.version import MAGICK_VERSION
    except ImportError:  # wand, or the library that it loads
        return None
    return str(MAGICK_VERSION)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """Return the CUDA that torch was built for, from its version file: importing it takes long."""
    try:
        file = metadata.distribution("torch").locate_file("torch/version.py")
        text = Path(str(file)).read_text(encoding="utf-8")
    except (metadata.PackageNotFoundError, OSError):
        return None
    match = re.search(r"^cuda\b.*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return match[1] if match else None


def _gpus() -> Gpus | None:
    """Ask nvidia-smi, which answers slowly or never where a driver is in trouble."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [
        program,
        "--query-gpu=name,memory.total,driver_version",
        "--format=csv,noheader,nounits",
    ]
    try:
        rows = _ask(query)
        cuda = re.search(r"CUDA Version:\s*([\d.]+)", _ask([program]))
        devices = [[field.strip() for field in row.split(",")] for row in rows.splitlines()]
        return Gpus(
            devices=tuple(Gpu(name, int(mebibytes) << 20) for name, mebibytes, _ in devices),
            driver=devices[0][2] if devices else None,
            cuda=cuda[1] if cuda else None,
        )
    except subprocess.TimeoutExpired:
        return Gpus(problem=f"nvidia-smi gave no answer in {NVIDIA_SMI_TIMEOUT_S:g} s")
    except subprocess.CalledProcessError as error:
        lines = (error.stdout or error.stderr or "").strip().splitlines()
        return Gpus(problem=lines[0] if lines else f"nvidia-smi failed ({error.returncode})")
    except (OSError, ValueError) as error:
        return Gpus(problem=f"nvidia-smi cannot be understood: {error}")


def _ask(command: list[str]) -> str:
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=NVIDIA_SMI_TIMEOUT_S
    ).stdout
