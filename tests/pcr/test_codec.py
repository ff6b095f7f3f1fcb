"""The native codec's conversions: libjpeg-turbo's bytes, whatever the image and the script."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import contents, jpeg_bytes, jpegtran, photo
from PIL import Image

from dl2cli.errors import Interrupted
from dl2cli.pcr.config import ConvertConfig, ConvertProgress
from dl2cli.pcr.convert import convert
from dl2cli.pcr.dataset import limits_of
from dl2cli.pcr.scan_script import DEFAULT, Scan, ScanScript, parse
from dl2cli_native import _core


@st.composite
def scan_scripts(draw: st.DrawFn) -> ScanScript:
    """Any valid script: bands, bit positions, and the order in which they come."""
    dc_al = draw(st.integers(0, 3))
    scans = [Scan((0, 1, 2), 0, 0, 0, dc_al)]
    waiting = [Scan((0, 1, 2), 0, 0, dc_al, dc_al - 1)] if dc_al else []
    for component in range(3):
        ss = 1
        while ss <= 63:
            se = draw(st.sampled_from([63, *range(ss, 64, 7)]))
            waiting.append(Scan((component,), ss, se, 0, draw(st.integers(0, 4))))
            ss = se + 1
    while waiting and len(scans) < 64:
        scan = waiting.pop(draw(st.integers(0, len(waiting) - 1)))
        scans.append(scan)
        if scan.al > 0:
            waiting.append(Scan(scan.components, scan.ss, scan.se, scan.al, scan.al - 1))
    if waiting:  # a script may have 64 scans, and this one would take more
        return DEFAULT
    return parse("".join(map(str, scans)), "random")


def transcode(jpeg: bytes, script: ScanScript, codec: str) -> list[bytes]:
    image = _core.Transcoder(script.native, codec=codec).transcode(jpeg)
    assert (image.declined == "") == (codec == "native")
    return image.fragments


@settings(max_examples=60)
@given(
    width=st.integers(1, 90),
    height=st.integers(1, 70),
    quality=st.integers(1, 100),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0", "4:1:1"]),
    progressive=st.booleans(),
    mode=st.sampled_from(["L", "RGB", "CMYK"]),
    restarts=st.sampled_from(["0", "1", "3B", "7B"]),
    script=scan_scripts(),
)
def test_any_image_and_script(
    width: int,
    height: int,
    quality: int,
    subsampling: str,
    *,
    progressive: bool,
    mode: str,
    restarts: str,
    script: ScanScript,
) -> None:
    jpeg = jpeg_bytes(photo(width, height, mode), quality=quality, subsampling=subsampling)
    options = ["-progressive"] if progressive else []
    jpeg = jpegtran(jpeg, "-copy", "all", "-restart", restarts, *options)
    fragments = transcode(jpeg, script, "native")
    assert fragments == transcode(jpeg, script, "libjpeg")
    whole = b"".join(fragments) + b"\xff\xd9"
    limits = limits_of(width * height)  # four components take more scans than a file may have
    assert _core.compare_coefficients(jpeg, whole, limits) == ""
    assert jpegtran(whole, "-copy", "none") == jpegtran(jpeg, "-copy", "none")
    for scans in {1, len(fragments) // 2 + 1, len(fragments)}:
        prefix = b"".join(fragments[:scans]) + b"\xff\xd9"
        if mode != "CMYK":  # djpeg writes no CMYK
            run = subprocess.run(["djpeg"], input=prefix, capture_output=True, check=True)
            assert run.stderr == b""


def test_every_real_photo(test_data: Path) -> None:
    photos = sorted((test_data / "clothing").rglob("*.jpg"))
    assert photos
    native = _core.Transcoder(DEFAULT.native, codec="native")
    libjpeg = _core.Transcoder(DEFAULT.native, codec="libjpeg")
    left = []
    for path in photos:
        jpeg = path.read_bytes()
        image = native.transcode(jpeg)
        assert image.fragments == libjpeg.transcode(jpeg).fragments, path
        if image.declined:
            left.append(f"{path}: {image.declined}")
    assert not left


@pytest.fixture
def folder(tmp_path: Path, kinds: dict[str, bytes]) -> Path:
    """An ImageFolder with every kind of JPEG, a damaged one, and a PNG."""
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name, jpeg in kinds.items():
        (tmp_path / "in" / "a" / f"{name}.jpg").write_bytes(jpeg)
    (tmp_path / "in" / "a" / "cut.jpg").write_bytes(kinds["progressive"][:-300])
    photo().save(tmp_path / "in" / "a" / "b.png")
    return tmp_path / "in"


def test_datasets_of_both_codecs_are_the_same(folder: Path, tmp_path: Path) -> None:
    for codec in ("native", "libjpeg"):
        result = convert(ConvertConfig(folder, tmp_path / codec, workers=2, codec=codec))
        assert [each.path for each in result.rejected] == ["a/cut.jpg"]
    assert record_files(tmp_path / "native") == record_files(tmp_path / "libjpeg")


def record_files(dataset: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(dataset).items() if name[4:-3].isdigit()}


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_every_instruction_set_gives_the_same_bytes(isa: str, kinds: dict[str, bytes]) -> None:
    if isa not in _core.codec_instruction_sets():
        pytest.skip(f"this processor has no {isa}")
    before = _core.codec_instruction_set()
    _core.use_codec_instruction_set(isa)
    try:
        for jpeg in kinds.values():
            native = _core.transcode(jpeg, DEFAULT.native)
            libjpeg = _core.transcode(jpeg, DEFAULT.native, codec="libjpeg")
            assert native.fragments == libjpeg.fragments
    finally:
        _core.use_codec_instruction_set(before)


def test_a_plain_photo_from_pillow_goes_the_native_way() -> None:
    jpeg = jpeg_bytes(Image.new("RGB", (64, 64), (200, 30, 40)))
    assert _core.transcode(jpeg, DEFAULT.native).declined == ""
    arithmetic = jpegtran(jpeg, "-arithmetic")
    assert _core.transcode(arithmetic, DEFAULT.native).declined != ""


def test_a_conversion_may_go_on_with_the_other_codec(folder: Path, tmp_path: Path) -> None:
    config = ConvertConfig(folder, tmp_path / "resumed", images_per_record=4, workers=2)

    def stop_in_the_middle(progress: ConvertProgress) -> None:
        if progress.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        convert(config, stop_in_the_middle)
    result = convert(replace(config, codec="libjpeg"))
    assert result.resumed_records > 0
    convert(replace(config, out=tmp_path / "whole"))
    assert contents(tmp_path / "resumed") == contents(tmp_path / "whole")
