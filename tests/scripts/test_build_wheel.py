"""What a release is built from: the sdist, the metadata, and the script that makes the wheels."""

import os
import subprocess
import sys
import tarfile
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SCRIPT = ROOT / "scripts" / "build_wheel.sh"


def run_backend(call: str) -> str:
    """Call the build backend as pip does, in a process of its own, and return its result."""
    program = f"from scikit_build_core import build; print(build.{call})"
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return run.stdout.splitlines()[-1]


def test_the_sdist_has_what_a_build_needs_and_nothing_that_was_built(tmp_path: Path) -> None:
    name = run_backend(f"build_sdist({str(tmp_path)!r})")
    with tarfile.open(tmp_path / name) as archive:
        files = {member.name.split("/", 1)[-1] for member in archive.getmembers()}
    assert {"pyproject.toml", "LICENSE", "README.md", "dl2cli/__init__.py"} <= files
    native = list((ROOT / "dl2cli_native").rglob("*.[ch]pp"))
    assert {str(path.relative_to(ROOT)) for path in native} <= files
    assert "dl2cli_native/CMakeLists.txt" in files
    built = [file for file in files if file.endswith((".so", ".o", ".pyc")) or "/build/" in file]
    assert built == []


def test_the_metadata_bounds_torch_from_below_alone(tmp_path: Path) -> None:
    folder = run_backend(f"prepare_metadata_for_build_wheel({str(tmp_path)!r})")
    metadata = PathDistribution(tmp_path / folder).metadata
    assert metadata["Requires-Python"] == ">=3.11"
    requirements = metadata.get_all("Requires-Dist") or []
    bounds = [each.split(";")[0].strip() for each in requirements if each.startswith("torch>")]
    assert bounds == ["torch>=2.0"]


def run_script(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_script_says_what_it_does() -> None:
    run = run_script("--help")
    assert run.returncode == 0
    assert "scripts/build_wheel.sh [PYTHON ...]" in run.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "libjpeg.so is missing"), (b"\x7fELF without vector code", "has no vector code")],
)
def test_a_libjpeg_without_vector_code_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    library = tmp_path / "libjpeg.so"
    if content is not None:
        library.write_bytes(content)
    compiler = tmp_path / "c++"
    compiler.write_text(f"#!/bin/sh\necho {library}\n")
    compiler.chmod(0o755)
    run = run_script(sys.executable, CXX=str(compiler), DL2_DIST=str(tmp_path / "dist"))
    assert run.returncode == 1
    assert message in run.stderr
    assert list((tmp_path / "dist").iterdir()) == []
