"""JPEGs that break a rule and that every decoder shows: taken as they are, and proved lossless."""

import io
import random
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from jpegs import contents, jpeg_bytes, photo
from PIL import Image

from dl2cli import pcr
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.scan_script import DEFAULT, SPECTRAL, ScanScript
from dl2cli.pcr.verify import verify
from dl2cli_native import _core


def segments(jpeg: bytes) -> list[tuple[int, bytes]]:
    """The markers of a header with their bytes; the last item is all from the first scan on."""
    found = []
    at = 2
    while jpeg[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        found.append((jpeg[at + 1], jpeg[at:end]))
        at = end
    return [*found, (0xDA, jpeg[at:])]


def without(jpeg: bytes, marker: int) -> bytes:
    kept = [part for kind, part in segments(jpeg) if kind != marker]
    return jpeg[:2] + b"".join(kept)


def cjpeg(*options: str, image: Image.Image | None = None) -> bytes:
    ppm = io.BytesIO()
    (image or photo()).save(ppm, "PPM")
    command = ["cjpeg", *options]
    return subprocess.run(command, input=ppm.getvalue(), capture_output=True, check=True).stdout


def three_scans(tmp_path: Path) -> bytes:
    (tmp_path / "scans").write_text("0;\n1;\n2;\n")
    return cjpeg("-sample", "1x1", "-scans", str(tmp_path / "scans"))


def scan_parameters(jpeg: bytes, ss: int, se: int, ahal: int) -> bytes:
    at = jpeg.index(b"\xff\xda")
    place = at + 5 + 2 * jpeg[at + 4]
    assert jpeg[place : place + 3] == b"\0\x3f\0"
    return jpeg[:place] + bytes((ss, se, ahal)) + jpeg[place + 3 :]


def equal_ids(jpeg: bytes) -> bytes:
    changed = bytearray(jpeg)
    frame, scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    for i in range(3):
        changed[frame + 10 + 3 * i] = changed[scan + 5 + 2 * i] = 1
    return bytes(changed)


def odd_files(tmp_path: Path) -> dict[str, bytes]:
    base = jpeg_bytes(photo())
    separate = three_scans(tmp_path)
    third = [i for i in range(len(separate)) if separate[i : i + 2] == b"\xff\xda"][2]
    table = b"\xff\xdb\0\x43\1" + bytes([2] * 64)
    large = b"".join(b"\xff\xed" + struct.pack(">H", 65002) + bytes(65000) for _ in range(265))
    return {
        "zero_scan_header.jpg": scan_parameters(base, 0, 0, 0),
        "zero_scan_header_gray.jpg": scan_parameters(jpeg_bytes(photo(mode="L")), 0, 0, 0),
        "last_coefficient_5.jpg": scan_parameters(base, 0, 5, 0),
        "no_end.jpg": base[:-2],
        "end_damaged.jpg": base[:-1] + b"\xe9",
        "half_an_end.jpg": base[:-1],
        "progressive_no_end.jpg": jpeg_bytes(photo(), progressive=True)[:-2],
        "three_scans_no_end.jpg": separate[:-2],
        "table_between_scans.jpg": separate[:third] + table + separate[third:],
        "equal_ids.jpg": equal_ids(base),
        "header_17MB.jpg": base[:2] + large + base[2:],
        "no_huffman_tables.jpg": without(base, 0xC4),
        "no_jfif.jpg": without(base, 0xE0),
        "comment_behind.jpg": base[:-2] + b"\xff\xfe\0\5abc\xff\xd9",
        "fill_bytes.jpg": base[:2] + b"\xff\xff\xff" + base[2:],
    }


def test_odd_files_are_taken_and_proved_lossless(tmp_path: Path) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    files = odd_files(tmp_path)
    for name, content in files.items():
        (tmp_path / "in" / "a" / name).write_bytes(content)
    result = convert(ConvertConfig(tmp_path / "in", tmp_path / "out", workers=2))
    assert result.rejected == ()
    dataset = pcr.open(tmp_path / "out")
    check = verify(dataset, tmp_path / "in")
    assert check.damage == ()
    assert check.proved_lossless == len(files)
    record = dataset.read(0)
    for source in dataset.sources():
        # djpeg shows the same pixels, whatever it warns of.
        command = ["djpeg", "-pnm"]
        content = files[source.path.removeprefix("a/")]
        theirs = subprocess.run(command, input=content, capture_output=True, check=False).stdout
        ours = subprocess.run(
            command, input=record.image(source.slot), capture_output=True, check=True
        )
        assert ours.stdout == theirs, source.path


def frames_among_photos(root: Path) -> None:
    """MJPEG frames, which have no Huffman tables, among JPEGs with tables of their own."""
    for name in ("photo", "frame", "none"):
        (root / name).mkdir(parents=True)
    for seed in range(12):
        fitted = jpeg_bytes(photo(seed=seed), optimize=True, quality=40 + 4 * seed)
        (root / "photo" / f"{seed}.jpg").write_bytes(fitted)
        frame = without(jpeg_bytes(photo(seed=100 + seed)), 0xC4)
        (root / "frame" / f"{seed}.jpg").write_bytes(frame)
        (root / "none" / f"{seed}.jpg").write_bytes(without(fitted, 0xDB))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_no_image_depends_on_its_neighbours_or_the_workers(tmp_path: Path, workers: int) -> None:
    frames_among_photos(tmp_path / "in")
    outputs = []
    for attempt in range(3):
        out = tmp_path / f"out{attempt}"
        config = ConvertConfig(tmp_path / "in", out, workers=workers, images_per_record=5)
        result = convert(config)
        assert {each.path.split("/")[0] for each in result.rejected} == {"none"}
        assert result.images == 24
        outputs.append({name: b for name, b in contents(out).items() if name.startswith("PCR_")})
        records = {name for name in outputs[0] if name not in {"PCR_sources.db", "PCR.db"}}
        assert all(outputs[0][name] == outputs[-1][name] for name in records)


@pytest.mark.parametrize("seed", range(4))
def test_any_order_gives_each_image_the_same_bytes(tmp_path: Path, seed: int) -> None:
    frames_among_photos(tmp_path / "in")
    shuffled = ConvertConfig(tmp_path / "in", tmp_path / "out", seed=seed, workers=2)
    convert(shuffled)
    dataset = pcr.open(tmp_path / "out")
    record = dataset.read(0)
    for source in dataset.sources():
        original = (tmp_path / "in" / source.path).read_bytes()
        alone = b"".join(_core.transcode(original, DEFAULT.native).fragments) + b"\xff\xd9"
        assert bytes(record.image(source.slot)) == alone


def test_decoding_does_not_depend_on_what_was_decoded_before() -> None:
    frame = without(jpeg_bytes(photo()), 0xC4)
    fitted = [jpeg_bytes(photo(seed=i), optimize=True, quality=50) for i in range(5)]
    with Image.open(io.BytesIO(frame)) as image:
        expected = np.asarray(image)
    rng = random.Random(3)
    for _ in range(20):
        _core.decode([rng.choice(fitted)])
        assert np.array_equal(np.asarray(_core.decode([frame], whole_file=True)), expected)
        with pytest.raises(_core.DataError, match="uantization table"):
            _core.decode([without(fitted[0], 0xDB)])


def one_block(bits: int, value: int) -> bytes:
    """A gray JPEG of 8 x 8 pixels: a DC coefficient of 0 and one AC coefficient of `bits` bits."""
    huffman = b"".join(
        struct.pack(">BBHB", 0xFF, 0xC4, 19 + len(symbols), kind) + bytes(counts) + symbols
        for kind, counts, symbols in (
            (0x00, [1] + [0] * 15, b"\0"),
            (0x10, [1, 1] + [0] * 14, bytes([bits, 0])),
        )
    )
    code = "0" + "0" + f"{value:0{bits}b}" + "10"
    code += "1" * (-len(code) % 8)
    data = int(code, 2).to_bytes(len(code) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = b"\xff\xc0\0\x0b\x08\0\x08\0\x08\1\1\x11\0"
    table = b"\xff\xdb\0\x43\0" + b"\1" * 64
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0"
    return b"\xff\xd8" + table + frame + huffman + scan + data + b"\xff\xd9"


@pytest.mark.parametrize("script", [DEFAULT, SPECTRAL], ids=lambda s: s.name)
@pytest.mark.parametrize("bits", range(9, 16))
def test_coefficients_of_any_size_are_taken_by_every_script(script: ScanScript, bits: int) -> None:
    for value in ((1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1):  # the last is negative
        source = one_block(bits, value)
        fragments = _core.transcode(source, script.native).fragments
        assert len(fragments) == script.groups
        whole = b"".join(fragments) + b"\xff\xd9"
        assert _core.compare_coefficients(source, whole) == ""
        assert np.array_equal(_core.decode([source]), _core.decode([whole]))
