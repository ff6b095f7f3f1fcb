"""The kernels of each instruction set share nothing that the linker could merge."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NATIVE = Path(__file__).resolve().parents[2] / "dl2cli_native"


def flags(name: str) -> list[str]:
    """Return the compiler flags of a kernel file, from CMakeLists.txt."""
    cmake = (NATIVE / "CMakeLists.txt").read_text(encoding="utf-8")
    found = re.search(rf"set\(DL2_{name.upper()} ([^)]*)\)", cmake)
    assert found is not None
    words = found[1].split()
    return [flag for word in words for flag in (flags("avx2") if word == "${DL2_AVX2}" else [word])]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="these are kernels of x86-64")
@pytest.mark.skipif(not shutil.which("g++") or not shutil.which("nm"), reason="g++, nm are needed")
@pytest.mark.parametrize("optimise", ["-O0", "-O3"])
@pytest.mark.parametrize("name", ["avx2", "avx512"])
def test_no_function_can_replace_one_of_another_file(
    name: str, optimise: str, tmp_path: Path
) -> None:
    """A weak symbol compiled for AVX-512 could become the whole program's."""
    compiled = tmp_path / "kernels.o"
    source = NATIVE / "src" / "codec" / "kernels" / f"{name}.cpp"
    words = [word for word in flags(name) if not word.startswith("-O")]
    command = ["g++", "-std=c++17", "-w", *words, optimise, "-c", str(source), "-o", str(compiled)]
    command += [f"-I{NATIVE / 'include'}", f"-I{NATIVE / 'src'}"]
    subprocess.run(command, check=True)
    symbols = subprocess.run(
        ["nm", "--defined-only", "-C", str(compiled)], capture_output=True, text=True, check=True
    ).stdout
    weak = [line for line in symbols.splitlines() if re.match(r"\w* [WVu] ", line)]
    assert weak == []
    public = {line.split(" T ")[1] for line in symbols.splitlines() if " T " in line}
    assert all(name in symbol for symbol in public), public
