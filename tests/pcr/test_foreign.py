"""Formats that are no ordinary JPEG: re-encoded once, listed, and close to the original."""

import io
import struct
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from jpegs import jpeg_bytes, photo
from PIL import Image

from dl2cli import pcr
from dl2cli.errors import DataError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli_native import _core


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def twelve_bit() -> bytes:
    samples = np.asarray(photo()).astype(np.uint16) * 16
    return bytes(imagecodecs.jpeg8_encode(samples, level=100, bitspersample=12, subsampling="444"))


def lossless_jpeg(samples: np.ndarray | None = None) -> bytes:
    samples = np.asarray(photo()) if samples is None else samples
    return bytes(imagecodecs.jpeg8_encode(samples, lossless=True))


def rational_orientation() -> bytes:
    """A PNG whose EXIF gives the orientation as a fraction, which Pillow cannot write again."""
    entry = struct.pack("<HHII", 0x0112, 5, 1, 26)
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + struct.pack("<II", 6, 1)
    return saved(photo(), "PNG", exif=b"Exif\0\0" + tiff)


def sixteen_bit_gray() -> bytes:
    samples = np.asarray(photo(mode="L")).astype(np.uint16) * 257
    return saved(Image.fromarray(samples), "PNG")


FORMATS: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "rgb.png": (lambda: saved(photo(), "PNG"), "PNG", "RGB"),
    "gray.png": (lambda: saved(photo(mode="L"), "PNG"), "PNG", "L"),
    "gray16.png": (sixteen_bit_gray, "PNG", "L"),
    "alpha.png": (lambda: saved(photo().convert("RGBA"), "PNG"), "PNG", "RGB"),
    "photo.webp": (lambda: saved(photo(), "WEBP", lossless=True), "WEBP", "RGB"),
    "photo.bmp": (lambda: saved(photo(), "BMP"), "BMP", "RGB"),
    "photo.tiff": (lambda: saved(photo(), "TIFF"), "TIFF", "RGB"),
    "photo.ppm": (lambda: saved(photo(), "PPM"), "PPM", "RGB"),
    "png_named.jpg": (lambda: saved(photo(), "PNG"), "PNG", "RGB"),
    "twelve.jpg": (twelve_bit, "12-bit JPEG", "RGB"),
    "lossless.jpg": (lossless_jpeg, "lossless JPEG", "RGB"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_is_reencoded_once_and_close(name: str, tmp_path: Path) -> None:
    make, kind, mode = FORMATS[name]
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / name).write_bytes(make())
    result = convert(ConvertConfig(tmp_path / "in", tmp_path / "out", quality=100))
    assert (result.images, result.reencoded, result.rejected) == (1, 1, ())
    dataset = pcr.open(tmp_path / "out")
    (source,) = dataset.sources()
    assert (source.format, source.note) == (kind, "re-encoded at quality 100")
    with Image.open(io.BytesIO(dataset.read(0).image(0))) as image:
        assert image.mode == mode
        if mode == "RGB":
            assert image.layer[0][1:3] == (1, 1)  # 4:4:4
        difference = np.asarray(image).astype(int) - np.asarray(photo(mode=mode))
    assert np.abs(difference).max() <= 12
    assert np.abs(difference).mean() < 1


def test_the_first_frame_of_a_gif_counts(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "blue")]
    path = tmp_path / "in" / "a" / "x.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    convert(ConvertConfig(tmp_path / "in", tmp_path / "out"))
    with Image.open(io.BytesIO(pcr.open(tmp_path / "out").read(0).image(0))) as image:
        red, _, blue = image.convert("RGB").getpixel((5, 5))
    assert red > 240
    assert blue < 15


def test_palette_with_transparency_loses_only_the_transparency(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    image = photo().quantize(64)
    image.save(tmp_path / "in" / "a" / "x.png", transparency=bytes(range(64)))
    result = convert(ConvertConfig(tmp_path / "in", tmp_path / "out"))
    assert result.images == 1


@pytest.mark.parametrize("keep", ["none", "exif"])
def test_the_orientation_is_recorded_for_every_format(tmp_path: Path, keep: str) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 8
    exif[0x010F] = "camera"
    for kind, name in (("PNG", "1.png"), ("WEBP", "2.webp"), ("JPEG", "3.jpg")):
        (tmp_path / "in" / "a" / name).write_bytes(saved(photo(), kind, exif=exif.tobytes()))
    (tmp_path / "in" / "a" / "4.jpg").write_bytes(jpeg_bytes(photo()))
    config = ConvertConfig(tmp_path / "in", tmp_path / "out", shuffle=False, keep_metadata=keep)
    convert(config)
    record = pcr.open(tmp_path / "out").read(0)
    assert record.orientations.tolist() == [8, 8, 8, 1]
    for slot, image_bytes in enumerate(record.images):
        with Image.open(io.BytesIO(image_bytes)) as image:
            maker = image.getexif().get(0x010F)
        assert maker == ("camera" if keep == "exif" and slot < 3 else None)


@pytest.mark.parametrize("shape", [(1, 30), (1, 30, 3), (20, 1), (20, 1, 3), (1, 1), (1, 1, 3)])
def test_rare_jpegs_of_one_row_or_column_keep_their_shape(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    samples = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (tmp_path / "in" / "a" / "x.jpg").write_bytes(lossless_jpeg(samples))
    convert(ConvertConfig(tmp_path / "in", tmp_path / "out", quality=100))
    with Image.open(io.BytesIO(pcr.open(tmp_path / "out").read(0).image(0))) as image:
        pixels = np.asarray(image).astype(int)
    assert pixels.shape == shape
    assert np.abs(pixels - samples).max() <= 4


def test_the_orientation_of_a_rare_jpeg_is_recorded(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    payload = exif.tobytes()
    segment = b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload
    jpeg = lossless_jpeg()
    (tmp_path / "in" / "a" / "x.jpg").write_bytes(jpeg[:2] + segment + jpeg[2:])
    convert(ConvertConfig(tmp_path / "in", tmp_path / "out"))
    assert pcr.open(tmp_path / "out").read(0).orientations.tolist() == [6]


def test_exif_that_pillow_cannot_write_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "good.jpg").write_bytes(jpeg_bytes(photo()))
    (tmp_path / "in" / "a" / "x.png").write_bytes(rational_orientation())
    kept = convert(ConvertConfig(tmp_path / "in", tmp_path / "out", keep_metadata="exif"))
    assert [each.reason.split("(")[0] for each in kept.rejected] == ["damaged image: error"]
    assert kept.images == 1
    convert(ConvertConfig(tmp_path / "in", tmp_path / "plain", shuffle=False))
    assert pcr.open(tmp_path / "plain").read(0).orientations.tolist() == [1, 6]


def test_exif_of_a_tiff_is_kept_without_what_is_none(tmp_path: Path) -> None:
    """A TIFF of many strips has more tags about them than a JPEG holds EXIF."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    path = tmp_path / "in" / "a" / "x.tiff"
    photo(8, 9000).save(path, compression="raw", tiffinfo={271: "camera", 278: 1})
    result = convert(ConvertConfig(tmp_path / "in", tmp_path / "out", keep_metadata="exif"))
    assert result.rejected == ()
    with Image.open(io.BytesIO(pcr.open(tmp_path / "out").read(0).image(0))) as image:
        assert image.getexif().get(271) == "camera"


def test_icc_profiles_are_kept_on_request(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    profile = b"a profile" * 20
    (tmp_path / "in" / "a" / "1.jpg").write_bytes(jpeg_bytes(photo(), icc_profile=profile))
    (tmp_path / "in" / "a" / "2.png").write_bytes(saved(photo(), "PNG", icc_profile=profile))
    for keep, expected in (("none", None), ("icc", profile)):
        config = ConvertConfig(tmp_path / "in", tmp_path / keep, keep_metadata=keep)
        convert(config)
        for image_bytes in pcr.open(config.out).read(0).images:
            with Image.open(io.BytesIO(image_bytes)) as image:
                assert image.info.get("icc_profile") == expected


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("cut.png", saved(photo(), "PNG")[:500], "damaged image"),
        ("cut.webp", saved(photo(), "WEBP")[:500], "damaged image|not an image"),
        ("float.tiff", saved(photo(mode="L").convert("F"), "TIFF"), "range is not known"),
        ("text.png", b"hello", "not an image"),
        ("cmyk12.jpg", lossless_jpeg(np.zeros((8, 9, 4), np.uint8)), "neither gray nor colour"),
        ("ps.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "not an image"),
    ],
)
def test_bad_foreign_files_are_rejected(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "good.jpg").write_bytes(jpeg_bytes(photo()))
    (tmp_path / "in" / "a" / name).write_bytes(content)
    (rejected,) = convert(ConvertConfig(tmp_path / "in", tmp_path / "out")).rejected
    assert rejected.path == f"a/{name}"
    assert any(part in rejected.reason for part in reason.split("|"))


def test_the_limit_on_pixels_is_ours_not_pillows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # as if the image had 180 million
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "x.png").write_bytes(saved(photo(), "PNG"))
    assert convert(ConvertConfig(tmp_path / "in", tmp_path / "out")).images == 1
    assert Image.MAX_IMAGE_PIXELS == 1000
    config = ConvertConfig(tmp_path / "in", tmp_path / "few", limits=_core.Limits(max_pixels=5000))
    with pytest.raises(DataError, match="every image was rejected"):
        convert(config)
