"""What is found out about one image."""

import io
import random
import sys
import zlib

import imagecodecs
import numpy as np
import pytest
from jpeg_samples import damaged, jpeg, picture, with_tables
from PIL import Image, ImageStat, PngImagePlugin

from dl2cli.analysis.image.examine import examine
from dl2cli.analysis.image.quality import Engine
from dl2cli.analysis.table.rows import CHEAP, Analysis, Note
from dl2cli_native import _core

LIMITS = _core.Limits()


def look(
    data: bytes, name: str = "a.jpg", analyses=CHEAP, engine=Engine.NATIVE, limits=LIMITS
) -> dict:
    return examine(name, io.BytesIO(data), len(data), frozenset(analyses), engine, limits=limits)


def twelve_bits(gray: np.ndarray | None = None) -> bytes:
    gray = np.asarray(picture().convert("L")) if gray is None else gray
    samples = gray.astype(np.uint16) * 16 + gray // 16
    return bytes(imagecodecs.jpeg8_encode(samples, level=100, bitspersample=12))


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(200, 150), (61, 47), (1, 1)])
@pytest.mark.parametrize(
    "options",
    [{}, {"progressive": True}, {"subsampling": "4:4:4"}, {"subsampling": "4:2:2", "quality": 30}],
)
def test_mean_and_deviation_are_those_of_pillow_and_of_numpy(mode, size, options):
    if mode == "L":
        options = {name: value for name, value in options.items() if name != "subsampling"}
    data = jpeg(picture(*size).convert(mode), **options)
    found = look(data)
    with Image.open(io.BytesIO(data)) as image:
        theirs = ImageStat.Stat(image)
        pixels = np.asarray(image, dtype=np.float64).reshape(-1, len(image.getbands()))
    assert found["mean"] == pytest.approx(theirs.mean, abs=1e-6)
    assert found["std"] == pytest.approx(theirs.stddev, abs=1e-6)
    assert found["mean"] == pytest.approx(pixels.mean(axis=0), abs=1e-6)
    assert found["std"] == pytest.approx(pixels.std(axis=0), abs=1e-6)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (picture().convert("CMYK"), "JPEG"),
        (picture().convert("P"), "PNG"),
        (picture().convert("RGBA"), "WEBP"),
        (picture().convert("LA"), "PNG"),
        (picture().convert("1"), "TIFF"),
        (picture().convert("P"), "GIF"),
    ],
)
def test_other_modes_count_as_gray_or_rgb(image, kind):
    data = encoded(image, kind)
    found = look(data, f"a.{kind.lower()}")
    with Image.open(io.BytesIO(data)) as opened:
        gray = image.mode in {"1", "LA"}
        theirs = ImageStat.Stat(opened.convert("L" if gray else "RGB"))
        assert found["mode"] == opened.mode
    assert found["mean"] == pytest.approx(theirs.mean, abs=1e-6)
    assert found["std"] == pytest.approx(theirs.stddev, abs=1e-6)
    assert found["format"] == kind
    assert "error" not in found


def test_everything_about_a_jpeg():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = jpeg(
        picture(70, 50), quality=81, progressive=True, subsampling="4:2:2", exif=exif,
        icc_profile=b"\0" * 64,
    )  # fmt: skip
    found = look(data, "odd.png")
    expected = {
        "size": len(data), "width": 70, "height": 50, "mode": "RGB", "quality": 81,
        "format": "JPEG", "subsampling": "4:2:2", "progressive": True, "scans": 10,
        "orientation": 6, "icc": True,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    assert set(found["notes"]) == {Note.ENDING, Note.ROTATED, Note.ICC}


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (jpeg(picture().convert("CMYK")), Note.CMYK),
        (jpeg() + b"\0\0\0", Note.TRAILING),
        (jpeg(exif=b"Exif\0\0MM\0*\xff\xff"), Note.BAD_EXIF),
        (with_tables(jpeg(), [(0, 0, [200] * 64), (1, 0, [1] * 64)]), Note.NO_QUALITY),
        (with_tables(jpeg(), [(0, 0, [7] * 64), (1, 0, [8] * 64)]), Note.OWN_TABLES),
        (encoded(picture().convert("F"), "TIFF"), Note.UNSUPPORTED),
        (twelve_bits(), Note.RARE_JPEG),
    ],
)
def test_oddities(data, note):
    found = look(data)
    assert note in found["notes"]
    assert "error" not in found


def test_samples_of_12_and_16_bits_count_as_converted():
    gray = np.asarray(picture().convert("L"))
    for data in (encoded(Image.fromarray(gray.astype(np.uint16) * 257), "PNG"), twelve_bits(gray)):
        assert look(data)["mean"] == pytest.approx([gray.mean()], abs=0.5)


def test_a_rare_jpeg_without_the_package_that_reads_it_is_no_damage(monkeypatch):
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    found = look(twelve_bits())
    assert "error" not in found
    assert {Note.RARE_JPEG, Note.UNSUPPORTED} <= set(found["notes"])


def test_what_is_over_a_limit_is_not_decoded_and_no_damage():
    for data in (jpeg(), encoded(picture(), "PNG")):
        found = look(data, limits=_core.Limits(max_pixels=64 * 48 - 1))
        assert found["width"] == 64
        assert Note.LARGE in found["notes"]
        assert "error" not in found
        assert "mean" not in found
        found = look(data, limits=_core.Limits(max_bytes=len(data) - 1))
        assert Note.LARGE in found["notes"]
        assert "error" not in found


def test_odd_metadata_costs_nothing():
    text = PngImagePlugin.PngInfo()
    text.add_itxt("prompt", "y" * 2_000_000, zip=True)
    out = io.BytesIO()
    picture().save(out, "PNG", pnginfo=text)
    for analyses in (CHEAP, {Analysis.SIZE}):
        found = look(out.getvalue(), "a.png", analyses)
        assert (found["format"], found["width"]) == ("PNG", 64)
        assert "error" not in found


def test_a_plain_jpeg_has_no_oddities():
    assert look(jpeg(quality=75), "A.JPEG")["notes"] == ()


@pytest.mark.parametrize("engine", list(Engine))
def test_both_engines(engine):
    pytest.importorskip("wand.image")
    found = look(jpeg(quality=37), analyses={Analysis.QUALITY}, engine=engine)
    assert found["quality"] == 37
    odd = with_tables(jpeg(), [(0, 0, [200] * 64), (1, 0, [1] * 64)])
    assert look(odd, engine=engine)["quality"] == 92


class CountingStream(io.BytesIO):
    bytes_read = 0

    def read(self, size=-1):
        data = super().read(size)
        self.bytes_read += len(data)
        return data


def test_quality_and_size_read_no_more_than_the_header():
    data = jpeg(picture(900, 900), quality=98)
    assert len(data) > 300_000
    stream = CountingStream(data)
    chosen = frozenset({Analysis.QUALITY, Analysis.SIZE})
    found = examine("a.jpg", stream, len(data), chosen, Engine.NATIVE, limits=LIMITS)
    assert (found["quality"], found["width"]) == (98, 900)
    assert stream.bytes_read <= 64 << 10


def test_a_header_longer_than_what_is_read_first():
    data = jpeg(quality=66, icc_profile=b"\0" * 150_000)
    assert look(data, analyses={Analysis.QUALITY})["quality"] == 66


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"plain text", "not an image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image that can be read"),
        (jpeg()[:300], "ends within its header"),
        (jpeg(picture(300, 300))[:-4000], "does not decode: "),
        (encoded(picture(), "PNG")[:-900], "does not decode"),
        (jpeg().replace(b"\xff\xc0", b"\xff\xc5"), "does not decode: Unsupported JPEG process"),
    ],
)
def test_damage_has_a_reason(data, reason):
    assert reason in look(data)["error"]


def test_bombs_are_not_decoded():
    data = bytearray(jpeg())
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = b"\xff\xdc\xff\xdc"
    found = look(bytes(data))
    assert "65500 x 65500 pixels promised, with" in found["error"]
    assert found["quality"] == 75
    data = bytearray(encoded(picture(), "PNG"))
    data[16:24] = b"\0\0\xff\xff\0\0\xff\xff"
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    assert look(bytes(data), "a.png")["notes"] == (Note.LARGE,)


def test_damaged_scans_that_pillow_shows_without_a_word_are_found():
    data = bytearray(jpeg(picture(200, 200), quality=90))
    del data[len(data) // 2 : -300]
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    assert "does not decode: Corrupt JPEG data" in look(bytes(data))["error"]


def test_damage_never_raises():
    rng = random.Random(8)
    sources = [
        (jpeg(quality=80), "JPEG"),
        (jpeg(progressive=True), "JPEG"),
        *(
            (encoded(picture(), kind), kind)
            for kind in ("PNG", "WEBP", "GIF", "BMP", "PPM", "JPEG2000")
        ),
    ]
    failed = 0
    for _ in range(600):
        data, _kind = rng.choice(sources)
        failed += "error" in look(damaged(data, rng))
    assert failed > 100
