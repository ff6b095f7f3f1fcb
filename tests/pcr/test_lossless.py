"""Losslessness, judged by decoders that are not ours: Pillow, djpeg, jpegtran."""

import io
import struct
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import jpeg_bytes, jpegtran, photo
from PIL import Image
from random_scripts import scan_scripts

from dl2cli import pcr
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.scan_script import BUILT_IN, DEFAULT, ScanScript
from dl2cli_native import _core

SCRIPTS = pytest.mark.parametrize("script", BUILT_IN.values(), ids=lambda s: s.name)


def pillow_pixels(jpeg: bytes) -> np.ndarray:
    """Pillow's decode in the image's own mode (its wheel brings a libjpeg-turbo of its own)."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return np.asarray(image)


def djpeg(jpeg: bytes) -> bytes:
    """djpeg's decode; raises if it says anything at all."""
    run = subprocess.run(["djpeg", "-pnm"], input=jpeg, capture_output=True, check=True)
    assert run.stderr == b""
    return run.stdout


def canonical(jpeg: bytes) -> bytes:
    """The same coefficients as a baseline file with fitted tables, through jpegtran."""
    return jpegtran(jpeg, "-copy", "none", "-optimize")


def prefix(fragments: list[bytes], scans: int) -> bytes:
    return b"".join(fragments[:scans]) + b"\xff\xd9"


@SCRIPTS
def test_every_kind_keeps_its_pixels_and_coefficients(
    kinds: dict[str, bytes], script: ScanScript
) -> None:
    for name, jpeg in kinds.items():
        whole = prefix(_core.transcode(jpeg, script.native).fragments, script.groups)
        # jpegtran itself complains about a missing end marker, and Pillow about nothing else.
        mended = jpeg + b"\xff\xd9" if name == "no_end_marker" else jpeg
        assert canonical(whole) == canonical(mended), name
        if name.startswith("arithmetic"):  # Pillow's libjpeg may lack arithmetic coding
            assert djpeg(whole) == djpeg(jpeg), name
        else:
            assert np.array_equal(pillow_pixels(whole), pillow_pixels(mended)), name


@SCRIPTS
def test_every_prefix_decodes_without_a_warning(
    kinds: dict[str, bytes], script: ScanScript
) -> None:
    for name, jpeg in kinds.items():
        fragments = _core.transcode(jpeg, script.native).fragments
        assert fragments[0], name
        for scans in range(1, script.groups + 1):
            part = prefix(fragments, scans)
            if name != "cmyk":  # djpeg writes no CMYK
                djpeg(part)
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                pillow_pixels(part)


def test_our_decode_is_that_of_djpeg_and_pillow(kinds: dict[str, bytes]) -> None:
    for name, jpeg in kinds.items():
        fragments = _core.transcode(jpeg, DEFAULT.native).fragments
        ours = np.asarray(_core.decode(fragments))
        if name == "cmyk":
            # Pillow inverts what Adobe's programs store inverted; ours are the stored samples.
            assert np.array_equal(255 - ours, pillow_pixels(prefix(fragments, 10)))
        else:
            pnm = Image.open(io.BytesIO(djpeg(prefix(fragments, 10))))
            assert np.array_equal(ours.squeeze(axis=2) if ours.shape[2] == 1 else ours, pnm)


def test_smoothing_is_off_unless_asked_for() -> None:
    fragments = _core.transcode(jpeg_bytes(photo()), DEFAULT.native).fragments[:1]
    plain = djpeg_nosmooth(prefix(fragments, 1))
    assert np.array_equal(np.asarray(_core.decode(fragments)), plain)
    smooth = np.asarray(_core.decode(fragments, smoothing=True))
    assert np.array_equal(smooth, np.asarray(Image.open(io.BytesIO(djpeg(prefix(fragments, 1))))))
    assert not np.array_equal(smooth, plain)


def djpeg_nosmooth(jpeg: bytes) -> np.ndarray:
    """An independent decode of a prefix without block smoothing."""
    # djpeg has no option for it; a baseline file of the same coefficients is never smoothed.
    return np.asarray(Image.open(io.BytesIO(djpeg(canonical(jpeg)))))


@settings(max_examples=40)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    quality=st.integers(1, 100),
    subsampling=st.integers(0, 2),
    progressive=st.booleans(),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
)
def test_any_size_quality_and_sampling(
    width: int, height: int, quality: int, subsampling: int, *, progressive: bool, mode: str
) -> None:
    jpeg = jpeg_bytes(
        photo(width, height, mode),
        quality=quality,
        subsampling=subsampling,
        progressive=progressive,
    )
    whole = prefix(_core.transcode(jpeg, DEFAULT.native).fragments, DEFAULT.groups)
    assert np.array_equal(pillow_pixels(whole), pillow_pixels(jpeg))
    assert _core.compare_coefficients(jpeg, whole) == ""


@settings(max_examples=25)
@given(script=scan_scripts(), subsampling=st.integers(0, 2), mode=st.sampled_from(["L", "RGB"]))
def test_every_prefix_of_a_random_script_is_what_other_decoders_show(
    script: ScanScript, subsampling: int, mode: str
) -> None:
    jpeg = jpeg_bytes(photo(61, 43, mode), subsampling=subsampling)
    fragments = _core.transcode(jpeg, script.native).fragments
    assert len(fragments) == script.groups
    for scans in range(1, script.groups + 1):
        part = prefix(fragments, scans)
        ours = np.asarray(_core.decode(fragments[:scans]))
        expected = djpeg_nosmooth(part).reshape(ours.shape)
        assert np.array_equal(ours, expected), scans
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            baseline = pillow_pixels(canonical(part)).reshape(ours.shape)
        assert np.array_equal(ours, baseline), scans
    assert canonical(prefix(fragments, script.groups)) == canonical(jpeg)


def test_real_photos(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "clothing" / "val"
    convert(ConvertConfig(source, tmp_path / "out", workers=2))
    dataset = pcr.open(tmp_path / "out")
    files = {s.slot: s.path for s in dataset.sources(0)}
    assert len(files) == 250
    images = dataset.read(0).images
    for slot in range(0, 250, 10):
        original = (source / files[slot]).read_bytes()
        assert np.array_equal(pillow_pixels(bytes(images[slot])), pillow_pixels(original))
        assert canonical(bytes(images[slot])) == canonical(original)


@pytest.mark.parametrize("ids", [(1, 2, 2), (0, 0, 0), (5, 5, 7)])
def test_components_of_one_id_are_told_apart(ids: tuple[int, int, int]) -> None:
    """Every decoder reads such a file, as long as one scan holds all components."""
    jpeg = bytearray(jpeg_bytes(photo()))
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    for i, component in enumerate(ids):
        jpeg[frame + 10 + 3 * i] = jpeg[scan + 5 + 2 * i] = component
    fragments = _core.transcode(jpeg, DEFAULT.native).fragments
    whole = prefix(fragments, 10)
    assert _core.compare_coefficients(jpeg, whole) == ""
    assert np.array_equal(pillow_pixels(whole), pillow_pixels(bytes(jpeg)))
    assert all(djpeg(prefix(fragments, k)) for k in range(1, 11))


def test_a_component_without_a_scan_is_damage(tmp_path: Path) -> None:
    """libjpeg shows it as zeros and warns of nothing; a file cut between its scans is like that."""
    script = tmp_path / "script"
    script.write_text("0;\n1;\n2;\n")
    jpeg = jpegtran(jpeg_bytes(photo()), "-scans", str(script))
    offsets = _core.find_scans(jpeg)
    assert len(offsets) == 4
    cut = jpeg[: offsets[-2]] + b"\xff\xd9"
    with pytest.raises(_core.DataError, match="no scan of colour component 2"):
        _core.transcode(cut, DEFAULT.native)
    assert "component 2" in _core.transcode(cut, DEFAULT.native, keep_damaged=True).damage
    assert _core.transcode(jpeg, DEFAULT.native).damage == ""


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("kind", "pack"), [(3, "HH"), (4, "I")], ids=["SHORT", "LONG"])
def test_the_orientation_is_the_one_that_pillow_reads(order: str, kind: int, pack: str) -> None:
    value = struct.pack(order + pack, *((6, 0) if pack == "HH" else (6,)))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(order + "IHHHI", 8, 1, 0x0112, kind, 1) + value
    exif = b"Exif\0\0" + mark + entry + bytes(4)
    jpeg = jpeg_bytes(photo(), exif=exif)
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.getexif()[0x0112] == 6
    assert _core.read_jpeg_header(jpeg).orientation == 6
