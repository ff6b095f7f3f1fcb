"""What a header says in the table, and the native reader of markers against Pillow."""

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_samples import damaged, jpeg, picture
from PIL import Image

from dl2cli.analysis.image.jpeg import mode_of, subsampling_of
from dl2cli_native import _core


def kinds() -> list[bytes]:
    image = picture(50, 40)
    return [
        jpeg(image.convert(mode), quality=quality, progressive=progressive, **more)
        for mode in ("RGB", "L", "CMYK")
        for quality in (40, 96)
        for progressive in (False, True)
        for more in ({}, {"restart_marker_rows": 1}, {"optimize": True})
    ]


def subsampling(data: bytes) -> str:
    return subsampling_of(_core.read_jpeg_header(data))


@pytest.mark.parametrize("name", ["4:4:4", "4:2:2", "4:2:0"])
def test_subsampling_by_its_name(name):
    assert subsampling(jpeg(subsampling=name)) == name


def test_other_subsamplings():
    # The luma factors of a 4:2:0 file, patched: it need not decode.
    data = bytearray(jpeg(subsampling="4:2:0"))
    place = data.index(b"\xff\xc0") + 11
    names = {0x12: "4:4:0", 0x41: "4:1:1", 0x42: "4:1:0", 0x31: "3x1,1x1,1x1"}
    for factors, name in names.items():
        data[place] = factors
        assert subsampling(bytes(data)) == name
    assert subsampling(jpeg(picture().convert("L"))) == "gray"


@pytest.mark.parametrize("data", kinds())
def test_header_and_scans_agree_with_pillow(data):
    header = _core.read_jpeg_header(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (header.width, header.height) == image.size
        assert mode_of(header) == image.mode
        assert header.progressive == bool(image.info.get("progressive"))
        tables = {index: list(steps) for index, steps in header.quant_tables.items()}
        assert tables == image.quantization
    scans = _core.survey_scans(data)
    assert scans.count == len(_core.find_scans(data)) - 1
    assert scans.ended
    assert scans.trailing_bytes == 0


def test_no_end_and_what_follows_it():
    data = jpeg(progressive=True)
    cut = _core.survey_scans(data[:-2])
    assert (cut.count, cut.ended) == (10, False)
    assert _core.survey_scans(data + b"\0" * 7).trailing_bytes == 7


def test_metadata():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(exif=exif, icc_profile=b"\0" * 200)
    header = _core.read_jpeg_header(data)
    begin, end = header.exif_span
    assert header.icc
    assert data[begin:end] == exif.tobytes()
    assert _core.read_icc_profile(data) == b"\0" * 200
    plain = _core.read_jpeg_header(jpeg())
    assert not plain.icc
    assert plain.exif_span == (0, 0)
    assert _core.read_icc_profile(jpeg()) == b""


def test_a_header_can_be_read_from_the_beginning_of_a_file():
    data = jpeg(icc_profile=b"\0" * 90_000)
    first_scan = data.index(b"\xff\xda")
    assert _core.peek_jpeg_header(data[: first_scan + 14]).width == 64
    for end in (3, 500, 9000, first_scan):
        assert _core.peek_jpeg_header(data[:end]) is None


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), seed=st.integers(0, 10**6))
def test_no_bytes_raise_anything_else(data, seed):
    for candidate in (b"\xff\xd8\xff" + data, damaged(jpeg(picture(16, 16)), random.Random(seed))):
        _core.survey_scans(candidate)
        try:
            _core.peek_jpeg_header(candidate)
            _core.read_icc_profile(candidate)
        except _core.DataError:
            continue
