"""The native decoder shows what libjpeg shows: on real photos, odd images, and with each path."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import every_kind_of_jpeg, photo
from PIL import Image

from dl2cli.pcr.scan_script import DEFAULT, SPECTRAL, ScanScript
from dl2cli_native import _core

CODECS = ("native", "libjpeg")


def fragments_of(jpeg: bytes, script: ScanScript) -> list[bytes]:
    scans = [(list(scan.components), scan.ss, scan.se, scan.ah, scan.al) for scan in script.scans]
    return _core.transcode(jpeg, scans).fragments


def shown(fragments: list[bytes], codec: str) -> np.ndarray | str:
    """Return the pixels, or what was said instead."""
    try:
        return np.asarray(_core.decode(fragments, codec=codec))
    except _core.DataError as error:
        return str(error)


def check(fragments: list[bytes]) -> None:
    native, libjpeg = (shown(fragments, codec) for codec in CODECS)
    if isinstance(libjpeg, str):
        assert native == libjpeg
    else:
        assert np.array_equal(native, libjpeg)


@pytest.mark.parametrize("name", every_kind_of_jpeg())
def test_every_kind_of_jpeg(name: str) -> None:
    check([every_kind_of_jpeg()[name]])


@settings(max_examples=60, deadline=None)
@given(
    width=st.integers(1, 130),
    height=st.integers(1, 130),
    quality=st.integers(1, 100),
    subsampling=st.integers(0, 2),
    gray=st.booleans(),
    seed=st.integers(0, 1000),
    script=st.sampled_from([DEFAULT, SPECTRAL]),
    restarts=st.integers(0, 5),
    data=st.data(),
)
def test_all_fidelities_and_crops(
    width: int,
    height: int,
    quality: int,
    subsampling: int,
    gray: bool,
    seed: int,
    script: ScanScript,
    restarts: int,
    data: st.DataObject,
) -> None:
    out = io.BytesIO()
    image = photo(width, height, "L" if gray else "RGB", seed)
    image.save(
        out, "JPEG", quality=quality, subsampling=subsampling, restart_marker_blocks=restarts
    )
    whole = fragments_of(out.getvalue(), script)
    x = data.draw(st.integers(0, width - 1))
    y = data.draw(st.integers(0, height - 1))
    box = (
        x,
        y,
        data.draw(st.integers(1, width - x)),
        data.draw(st.integers(1, height - y)),
    )
    for fragments in ([out.getvalue()], *(whole[:k] for k in range(1, len(whole) + 1))):
        check(fragments)
        native, libjpeg = (
            np.asarray(_core.decode_region(fragments, box, codec=codec)) for codec in CODECS
        )
        assert np.array_equal(native, libjpeg)


def test_real_photos(test_data: Path) -> None:
    """Every tenth photo, baseline, at each fidelity, and as Pillow saves progressive ones."""
    for path in sorted((test_data / "clothing").rglob("*.jpg"))[::10]:
        jpeg = path.read_bytes()
        check([jpeg])
        whole = fragments_of(jpeg, DEFAULT)
        for k in (1, 2, 5, len(whole)):
            check(whole[:k])


def test_kodak_pictures_in_all_samplings(test_data: Path) -> None:
    for number, path in enumerate(sorted((test_data / "kodak").glob("*.png"))):
        out = io.BytesIO()
        picture = Image.open(path).convert("RGB")
        picture.save(
            out, "JPEG", quality=60 + 3 * (number % 13), subsampling=number % 3, progressive=True
        )
        check([out.getvalue()])


@pytest.mark.parametrize("path", ["portable", "avx2", "avx512"])
def test_the_environment_chooses_the_instructions(path: str) -> None:
    program = "from dl2cli_native import _core; print(_core.codec_instruction_set())"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DL2_CODEC_ISA": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        assert f"this processor cannot run the codec's {path} code" in run.stderr
    else:
        assert run.stdout.strip() == path


def test_an_unknown_path_is_refused() -> None:
    program = "from dl2cli_native import _core; _core.codec_instruction_set()"
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DL2_CODEC_ISA": "mmx"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "DL2_CODEC_ISA must be avx512, avx2 or portable, not mmx" in run.stderr


def test_an_unknown_codec_is_refused() -> None:
    with pytest.raises(ValueError, match="codec must be native or libjpeg, not turbo"):
        _core.decode([every_kind_of_jpeg()["gray"]], codec="turbo")
