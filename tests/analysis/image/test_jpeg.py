"""The header reader against Pillow and the native core."""

import io
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_samples import damaged, jpeg, picture
from PIL import Image

from dl2cli.analysis.image.jpeg import TruncatedHeaderError, read_header, walk_scans
from dl2cli.errors import DataError
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


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_subsampling_by_its_name(subsampling):
    assert read_header(jpeg(subsampling=subsampling)).subsampling == subsampling


def test_other_subsamplings():
    # The luma factors of a 4:2:0 file, patched: it need not decode.
    data = bytearray(jpeg(subsampling="4:2:0"))
    place = data.index(b"\xff\xc0") + 11
    names = {0x12: "4:4:0", 0x41: "4:1:1", 0x42: "4:1:0", 0x31: "3x1,1x1,1x1"}
    for factors, name in names.items():
        data[place] = factors
        assert read_header(bytes(data)).subsampling == name
    assert read_header(jpeg(picture().convert("L"))).subsampling == "gray"


@pytest.mark.parametrize("data", kinds())
def test_header_and_scans_agree_with_pillow_and_the_native_core(data):
    header = read_header(data)
    with Image.open(io.BytesIO(data)) as image:
        assert (header.width, header.height) == image.size
        assert header.mode == image.mode
        assert header.progressive == bool(image.info.get("progressive"))
        tables = {index: list(steps) for index, steps in header.tables.items()}
        assert tables == image.quantization
    scans = walk_scans(data, header)
    assert scans.count == len(_core.find_scans(data)) - 1
    assert scans.ended
    assert scans.trailing_bytes == 0


def test_no_end_and_what_follows_it():
    data = jpeg(progressive=True)
    header = read_header(data)
    cut = walk_scans(data[:-2], header)
    assert (cut.count, cut.ended) == (10, False)
    assert walk_scans(data + b"\0" * 7, header).trailing_bytes == 7


def test_metadata():
    exif = Image.Exif()
    exif[0x0112] = 6
    header = read_header(jpeg(exif=exif, icc_profile=b"\0" * 200))
    assert header.icc
    assert header.exif is not None
    plain = read_header(jpeg())
    assert not plain.icc
    assert plain.exif is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: b"GIF89a" + d, "not a JPEG"),
        (lambda d: d.replace(b"\xff\xc0", b"\xff\xc3"), "unsupported kind \\(SOF3\\)"),
        (lambda d: d.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"), "12 bits a sample"),
        (lambda d: d.replace(b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\x07"), "quantisation table"),
        (lambda d: d.replace(b"\xff\xc4\0\x1f\0", b"\xff\xc4\0\x1f\x09"), "Huffman table"),
        (lambda d: d[:2] + b"\xff\xd8" + d[2:], "second SOI"),
        (lambda d: d[:2] + b"\xff\xd9" + d[2:], "before its first scan"),
        (lambda d: d[:2] + b"\xff\xf1\0\2" + d[2:], "unknown marker \\(FF F1\\)"),
    ],
)
def test_what_libjpeg_refuses_is_refused(change, reason):
    with pytest.raises(DataError, match=reason):
        read_header(change(jpeg()))


def test_a_header_can_be_read_from_the_beginning_of_a_file():
    data = jpeg(icc_profile=b"\0" * 9000)
    whole = read_header(data)
    assert read_header(data[: whole.first_scan + 14]) == whole
    for end in (3, 500, 9000, whole.first_scan):
        with pytest.raises(TruncatedHeaderError):
            read_header(data[:end])


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=400), seed=st.integers(0, 10**6))
def test_no_bytes_raise_anything_else(data, seed):
    for candidate in (b"\xff\xd8\xff" + data, damaged(jpeg(picture(16, 16)), random.Random(seed))):
        try:
            header = read_header(candidate)
        except DataError:
            continue
        walk_scans(candidate, header)
