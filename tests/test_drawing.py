"""Plots do not depend on the environment: backend, display, home folder, fonts, matplotlibrc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_DRAW = """
import io, os
from dl2cli.drawing import new_figure
before = os.environ.get("MPLBACKEND")
with new_figure(3, 2) as figure:
    figure.subplots().set_title("name with $ and $")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
assert os.environ.get("MPLBACKEND") == before
print(len(buffer.getvalue()))
"""

_MATPLOTLIBRC = """\
text.usetex: True
font.family: No Such Font
savefig.bbox: tight
figure.facecolor: red
no.such.key: 3
backend: nonsense
"""


def _drawn(folder: Path, **environment: str) -> str:
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", _DRAW],
        env={**kept, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


@pytest.mark.parametrize(
    "environment",
    [
        {"MPLBACKEND": "module://matplotlib_inline.backend_inline"},
        {"MPLBACKEND": "TkAgg"},
        {"MPLBACKEND": "nonsense"},
        {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere"},
    ],
    ids=lambda environment: "-".join(environment.values()).replace("/", "_"),
)
def test_a_plot_is_the_same_in_any_environment(tmp_path: Path, environment: dict[str, str]) -> None:
    usual = _drawn(tmp_path, HOME=str(tmp_path))
    assert _drawn(tmp_path, **{"HOME": str(tmp_path), **environment}) == usual


def test_a_matplotlibrc_changes_no_plot(tmp_path: Path) -> None:
    usual = _drawn(tmp_path, HOME=str(tmp_path))
    (tmp_path / "matplotlibrc").write_text(_MATPLOTLIBRC)
    assert _drawn(tmp_path, HOME=str(tmp_path)) == usual


def test_what_the_caller_had_set_is_there_again() -> None:
    import matplotlib as mpl

    from dl2cli.drawing import new_figure

    with mpl.rc_context({"font.size": 31}):
        with new_figure(3, 2):
            assert mpl.rcParams["font.size"] == 9
        assert mpl.rcParams["font.size"] == 31
