"""`dl2 env`, on the machine at hand, and with an nvidia-smi of any kind."""

import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import dl2cli
from dl2cli import environment as env
from dl2cli.cores import usable_cores
from dl2cli_native import _core

SMI_HEADER = "| NVIDIA-SMI 550.54.15   Driver Version: 550.54.15   CUDA Version: 12.4  |"


def dl2(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dl2cli", *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_json_says_what_is_here() -> None:
    run = dl2("env", "--json", DL2_TEST_ENV="seen", JSIMD_FORCENONE="")
    assert (run.returncode, run.stderr) == (0, "")
    result = json.loads(run.stdout)
    assert result["schema_version"] == 1
    assert result["dl2"] == dl2cli.__version__
    assert result["python"].startswith(platform.python_version())
    assert result["cpu"]["cores_usable"] == usable_cores()
    flags = Path("/proc/cpuinfo").read_text().split()
    assert set(result["cpu"]["features"]) <= set(flags)
    assert ("avx2" in flags) == ("avx2" in result["cpu"]["features"])
    assert result["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert result["native_core"] == _core.__file__
    assert result["libjpeg"]["version"] == _core.libjpeg_version()
    assert Path(result["libjpeg"]["file"]).is_file()
    assert result["packages"]["numpy"] == version("numpy")
    assert result["packages"]["Pillow"] == version("Pillow")
    assert set(result["packages"]) == set(env.PACKAGES)
    assert result["variables"]["DL2_TEST_ENV"] == "seen"


def test_the_codec_says_when_libjpeg_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    # DL2_CODEC_ISA asks for the portable code, so it decodes as well.
    run = dl2("env", "--json", DL2_CODEC_ISA="portable")
    assert json.loads(run.stdout)["codec"] == "portable"
    # There is no processor without AVX2 at hand: the core's answer there is put in its place.
    monkeypatch.setattr(_core, "native_codec_decodes", lambda: False)
    monkeypatch.setattr(_core, "codec_instruction_set", lambda: "portable")
    assert env.environment().codec == (
        "portable (only transcodes: libjpeg decodes faster on a processor without AVX2)"
    )


def test_the_table_names_what_is_missing() -> None:
    run = dl2("env", COLUMNS="200")
    assert run.returncode == 0
    lines = {cells[1].strip(): cells[2].strip() for line in run.stdout.splitlines()
             if len(cells := line.split("│")) == 4}  # fmt: skip
    assert lines["numpy"] == version("numpy")
    absent = {name for name in env.PACKAGES if env._version(name) is None}
    assert absent  # nobody has DALI for three versions of CUDA
    assert {name for name, value in lines.items() if value == "not installed"} >= absent


def test_it_imports_neither_torch_nor_dali() -> None:
    code = (
        "import sys; from dl2cli.environment import environment; environment();"
        "print({'torch', 'nvidia.dali', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"


def test_simd_is_seen_to_be_switched_off() -> None:
    on, off = (
        json.loads(dl2("env", "--json", JSIMD_FORCENONE=value).stdout) for value in ("", "1")
    )
    assert on["libjpeg"]["file"] == off["libjpeg"]["file"]
    assert off["libjpeg"]["simd"] is False
    assert off["pillow_libjpeg"]["simd"] is False
    if platform.machine() == "x86_64":  # where every distribution builds it in
        assert on["libjpeg"]["simd"] is True


def test_a_libjpeg_without_vector_code(tmp_path: Path) -> None:
    library = tmp_path / "libjpeg.so.62"
    library.write_bytes(b"\x7fELF no such variable")
    assert env._jpeg_library("2.1.5", [library]) == env.JpegLibrary("2.1.5", library, False)
    assert env._jpeg_library("2.1.5", [tmp_path / "gone"]).simd is None
    assert env._jpeg_library("2.1.5", []) == env.JpegLibrary("2.1.5", None, None)


def test_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert env._gpus() is None


def test_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = 'case "$1" in --query*) printf "%s\\n" "NVIDIA A, 81559, 550.54.15" "B, 16, x";; '
    nvidia_smi(tmp_path, answer + f'*) echo "{SMI_HEADER}";; esac', monkeypatch)
    gpus = env._gpus()
    devices = env.Gpu("NVIDIA A", 81559 << 20), env.Gpu("B", 16 << 20)
    assert gpus == env.Gpus(devices, driver="550.54.15", cuda="12.4")
    run = dl2("env", COLUMNS="200")
    assert "NVIDIA A, 80 GiB" in run.stdout
    assert "driver 550.54.15, CUDA up to 12.4" in run.stdout


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("echo 'NVIDIA-SMI has failed because of the driver'; exit 9", "NVIDIA-SMI has failed"),
        ("exit 6", r"nvidia-smi failed \(6\)"),
        ("echo something else", "nvidia-smi cannot be understood"),
        ("exec sleep 60", "nvidia-smi gave no answer in 0.2 s"),
    ],
)
def test_an_nvidia_smi_in_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    monkeypatch.setattr(env, "NVIDIA_SMI_TIMEOUT_S", 0.2)
    nvidia_smi(tmp_path, script, monkeypatch)
    gpus = env._gpus()
    assert gpus is not None
    assert gpus.devices == ()
    assert gpus.problem is not None
    assert re.match(problem, gpus.problem)


def test_torch_cuda_comes_from_its_version_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "torch-2.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.0.1\n")
    (tmp_path / "torch").mkdir()
    file = tmp_path / "torch" / "version.py"
    monkeypatch.syspath_prepend(tmp_path)
    for text, expected in {
        "__version__ = '2.0.1'\ncuda = '11.7'\nhip = None\n": "11.7",
        "from typing import Optional\ncuda: Optional[str] = '12.6'\n": "12.6",
        "__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\n": None,
    }.items():
        file.write_text(text)
        assert env._torch_cuda() == expected
    file.unlink()
    assert env._torch_cuda() is None
