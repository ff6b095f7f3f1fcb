"""`dl2 env`: what dl2 runs on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dl2cli.cli.framework.command import Command
from dl2cli.cli.framework.options import Options
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import HELP, JSON, facts_table

if TYPE_CHECKING:
    from dl2cli.environment import Environment, Gpus, JpegLibrary

_TEXT = """
Shown are the versions of everything that matters, features of the processor, whether libjpeg-turbo
uses its vector code, and the GPUs.
"""

_ABSENT = "not installed"


class EnvOptions(Options):
    """The options of `dl2 env`."""

    json: bool = JSON


def env(options: EnvOptions) -> None:
    """Show what dl2 runs on."""
    from dl2cli.environment import environment

    result = environment()
    table = facts_table()
    for name, value in _rows(result):
        table.add_row(name, value)
    Output(json_mode=options.json).result(result, table)


COMMAND = Command(
    name="env",
    options=EnvOptions,
    run=env,
    about="Show what dl2 runs on, for a bug report.",
    text=_TEXT,
    examples=("--json > env.json",),
    group=HELP,
)


def _rows(result: Environment) -> Iterator[tuple[str, str]]:
    cpu = result.cpu
    yield "dl2", f"{result.dl2} ({result.location})"
    yield "Python", result.python
    yield "system", f"{result.system}, {result.kernel}"
    yield "processor", cpu.model
    yield "cores", f"{cpu.cores_usable} usable of {cpu.cores}"
    yield "features", " ".join(cpu.features) or "none that matter"
    yield "memory", f"{result.memory_bytes / 2**30:.1f} GiB"
    yield "native core", result.native_core
    yield "JPEG codec", f"native ({result.codec})" if result.codec else "not found"
    yield "libjpeg-turbo", _jpeg(result.libjpeg)
    yield "Pillow's libjpeg", _jpeg(result.pillow_libjpeg)
    yield "ImageMagick", result.imagemagick or _ABSENT
    yield "SQLite", result.sqlite
    for name, version in result.packages.items():
        yield name, _package(name, version, result.torch_cuda)
    yield "GPU", _gpu(result.gpus)
    for name, value in result.variables.items():
        yield name, value


def _jpeg(library: JpegLibrary | None) -> str:
    if library is None:
        return "not found"
    simd = {True: "SIMD in use", False: "no SIMD: slow", None: "SIMD unknown"}[library.simd]
    return f"{library.version}, {simd}" + (f" ({library.file})" if library.file else "")


def _package(name: str, version: str | None, torch_cuda: str | None) -> str:
    if version is None:
        return _ABSENT
    if name == "torch":
        return f"{version}, built for " + (f"CUDA {torch_cuda}" if torch_cuda else "CPU")
    return version


def _gpu(gpus: Gpus | None) -> str:
    if gpus is None:
        return "none (no nvidia-smi)"
    if gpus.problem:
        return gpus.problem
    names = [f"{gpu.name}, {gpu.memory_bytes / 2**30:.0f} GiB" for gpu in gpus.devices]
    return "\n".join([*names, f"driver {gpus.driver}, CUDA up to {gpus.cuda}"])
