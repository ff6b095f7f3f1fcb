"""Formats other than ordinary JPEG: re-encoded once, listed, and close to the original."""

import io
import struct
import zlib
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
    "photo.jp2": (lambda: saved(photo(), "JPEG2000"), "JPEG2000", "RGB"),
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
def test_the_orientation_is_recorded_for_every_format_and_told(tmp_path: Path, keep: str) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 8
    exif[0x010F] = "camera"
    for kind, name in (("PNG", "1.png"), ("WEBP", "2.webp"), ("JPEG", "3.jpg")):
        (tmp_path / "in" / "a" / name).write_bytes(saved(photo(), kind, exif=exif.tobytes()))
    (tmp_path / "in" / "a" / "4.jpg").write_bytes(jpeg_bytes(photo()))
    config = ConvertConfig(tmp_path / "in", tmp_path / "out", shuffle=False, keep_metadata=keep)
    result = convert(config)
    dataset = pcr.open(tmp_path / "out")
    record = dataset.read(0)
    assert record.orientations.tolist() == [8, 8, 8, 1]
    assert dataset.read_orientations(0).tolist() == [8, 8, 8, 1]
    (note,) = result.notes
    assert note.startswith(f"3 of 4 images in {config.out} have an EXIF orientation other than 1")
    assert "--exif-orientation apply" in note
    assert not any("EXIF" in note for note in convert(config).notes)  # it was finished before
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


@pytest.mark.parametrize("make", [lossless_jpeg, twelve_bit])
def test_a_rare_jpeg_keeps_its_orientation_and_metadata(
    tmp_path: Path, make: Callable[[], bytes]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "camera"
    jpeg = make()
    profile = profile_of(b"RGB ")
    segments = b""
    for marker, payload in (
        (0xE1, exif.tobytes()),
        (0xE2, b"ICC_PROFILE\0\2\2" + profile[100:]),
        (0xE2, b"ICC_PROFILE\0\1\2" + profile[:100]),
    ):
        segments += struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload
    files = {"x.jpg": jpeg[:2] + segments + jpeg[2:]}
    for keep, camera, icc in (("none", None, None), ("all", "camera", profile)):
        record = converted(tmp_path / keep, files, keep_metadata=keep).read(0)
        assert record.orientations.tolist() == [6]
        with Image.open(io.BytesIO(record.image(0))) as image:
            assert image.getexif().get(0x010F) == camera
            assert image.info.get("icc_profile") == icc


def converted(folder: Path, files: dict[str, bytes], **options: object) -> pcr.Dataset:
    """The dataset of some files in sorted order, none of which may be rejected."""
    (folder / "in" / "a").mkdir(parents=True)
    for name, content in files.items():
        (folder / "in" / "a" / name).write_bytes(content)
    result = convert(ConvertConfig(folder / "in", folder / "out", shuffle=False, **options))
    assert result.rejected == ()
    return pcr.open(folder / "out")


def test_exif_that_pillow_cannot_write_costs_nothing_but_itself(tmp_path: Path) -> None:
    files = {"x.png": rational_orientation()}
    for keep in ("none", "exif"):
        dataset = converted(tmp_path / keep, files, keep_metadata=keep)
        assert dataset.read(0).orientations.tolist() == [6]
        (source,) = dataset.sources()
        assert ("EXIF's orientation kept" in source.note) == (keep == "exif")


def test_exif_that_is_too_large_is_cut_to_what_fits(tmp_path: Path) -> None:
    comment, maker = Image.Exif(), Image.Exif()
    comment[0x010F] = maker[0x010F] = "camera"
    comment.get_ifd(0x8769)[0x9286] = b"ASCII\0\0\0" + b"x" * 70_000
    maker[0x013B] = "an artist" * 10_000
    files = {
        "1.png": saved(photo(), "PNG", exif=comment.tobytes()),
        "2.png": saved(photo(), "PNG", exif=maker.tobytes()),
    }
    dataset = converted(tmp_path, files, keep_metadata="all")
    notes = [source.note for source in dataset.sources()]
    assert "MakerNote and UserComment left out of EXIF" in notes[0]
    assert "only EXIF's orientation kept" in notes[1]
    makers = []
    for jpeg in dataset.read(0).images:
        with Image.open(io.BytesIO(jpeg)) as image:
            makers.append(image.getexif().get(0x010F))
    assert makers == ["camera", None]


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png_with(*chunks: bytes, at: bytes = b"IDAT", image: Image.Image | None = None) -> bytes:
    content = saved(image or photo(), "PNG")
    place = content.index(at) - 4
    return content[:place] + b"".join(chunks) + content[place:]


ORIENTATION_8 = b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x08\0\0\0\0\0\0\0"
LARGE_TEXT = chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(b"y" * 2_000_000))
ODD_METADATA = {
    "text_2MB.png": png_with(LARGE_TEXT),
    "text_2MB_behind.png": png_with(LARGE_TEXT, at=b"IEND"),
    "text_2MB_zTXt.png": png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2_000_000)))),
    "text_65MB.png": png_with(*[chunk(b"tEXt", b"a\0" + b"x" * 1_000_000)] * 65),
    "icc_2MB.png": png_with(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(range(256)) * 8000))),
    "icc_junk.png": png_with(chunk(b"iCCP", b"p\0\0not zlib")),
    "icc_short.png": png_with(chunk(b"iCCP", b"")),
    "exif_junk.png": png_with(chunk(b"eXIf", b"b'Exif\\x00\\x00MM'")),
    "exif_empty.png": png_with(chunk(b"eXIf", b"")),
    "exif_cut.png": png_with(chunk(b"eXIf", ORIENTATION_8[:20])),
    "text_badcrc.png": png_with(chunk(b"tEXt", b"a\0b", crc=0)),
    "badcrc_and_exif.png": png_with(chunk(b"tEXt", b"a\0b", 0), chunk(b"eXIf", ORIENTATION_8)),
    "phys_short.png": png_with(chunk(b"pHYs", b"\0")),
    "gamma_short.png": png_with(chunk(b"gAMA", b"")),
    "chrm_short.png": png_with(chunk(b"cHRM", b"\0\0")),
    "srgb_empty.png": png_with(chunk(b"sRGB", b"")),
    "unknown.png": png_with(chunk(b"prVt", b"x" * 100)),
    "actl_junk.png": png_with(chunk(b"acTL", b"")),
    "exif_junk.webp": saved(photo(), "WEBP", lossless=True, exif=b"junkjunkjunk"),
    "icc_junk.webp": saved(photo(), "WEBP", lossless=True, icc_profile=b"junk"),
    "xmp_junk.webp": saved(photo(), "WEBP", lossless=True, xmp=b"<junk"),
    "xmp_junk.png": png_with(chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<junk")),
    "exif_junk.tiff": saved(photo(), "TIFF", tiffinfo={0x8769: 0x7FFFFFFF, 0x8825: 1}),
    "comment.gif": saved(photo().convert("P"), "GIF", comment=b"\xff\0" * 200),
}


@pytest.mark.parametrize("keep", ["none", "all"])
def test_metadata_never_costs_pixels(tmp_path: Path, keep: str) -> None:
    plain = converted(tmp_path / "plain", {"x.png": saved(photo(), "PNG")}).read(0).image(0)
    dataset = converted(tmp_path / "odd", ODD_METADATA, keep_metadata=keep)
    record = dataset.read(0)
    for slot, source in enumerate(dataset.sources()):
        if not source.path.endswith(".gif"):  # of which the palette has 256 colours
            expected = np.asarray(_core.decode([plain]))
            assert np.array_equal(np.asarray(_core.decode([record.image(slot)])), expected)
    names = [source.path for source in dataset.sources()]
    assert record.orientations[names.index("a/badcrc_and_exif.png")] == 8


def test_transparency_of_a_png_survives_odd_metadata(tmp_path: Path) -> None:
    palette = photo().quantize(64)
    transparent = chunk(b"tRNS", bytes(range(64)))
    files = {
        "1.png": png_with(transparent, image=palette),
        "2.png": png_with(transparent, LARGE_TEXT, image=palette),
    }
    record = converted(tmp_path, files).read(0)
    assert bytes(record.image(0)) == bytes(record.image(1))


@pytest.mark.parametrize("place", [b"IHDR", b"IDAT", b"PLTE"])
def test_damage_of_pixels_is_not_taken_for_metadata(tmp_path: Path, place: bytes) -> None:
    content = bytearray(saved(photo().quantize(64), "PNG"))
    content[content.index(place) + 8] ^= 1
    (tmp_path / "in" / "a").mkdir(parents=True)
    (tmp_path / "in" / "a" / "x.png").write_bytes(bytes(content))
    with pytest.raises(DataError, match="every image was rejected"):
        convert(ConvertConfig(tmp_path / "in", tmp_path / "out"))


def profile_of(space: bytes) -> bytes:
    head = struct.pack(">I", 132) + b"lcms" + struct.pack(">I", 0x02400000) + b"prtr" + space
    return head + b"Lab " + bytes(12) + b"acsp" + bytes(92)


def test_a_profile_is_kept_only_with_colours_that_it_describes(tmp_path: Path) -> None:
    cmyk, gray, rgb = (profile_of(space) for space in (b"CMYK", b"GRAY", b"RGB "))
    files = {
        "1.tif": saved(photo().convert("CMYK"), "TIFF", icc_profile=cmyk),
        "2.png": saved(photo(mode="L"), "PNG", icc_profile=gray),
        "3.png": saved(photo(mode="L"), "PNG", icc_profile=rgb),
        "4.png": saved(photo(), "PNG", icc_profile=rgb),
        "5.jpg": saved(photo().convert("CMYK"), "JPEG", icc_profile=cmyk),
    }
    found = []
    for jpeg in converted(tmp_path, files, keep_metadata="all").read(0).images:
        with Image.open(io.BytesIO(jpeg)) as image:
            found.append((image.mode, image.info.get("icc_profile", b"")[16:20]))
    assert found == [("RGB", b""), ("L", b"GRAY"), ("L", b""), ("RGB", b"RGB "), ("CMYK", b"CMYK")]


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
        ("cut.webp", saved(photo(), "WEBP")[:500], "damaged"),
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
