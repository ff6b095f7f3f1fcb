"""The native estimate against ImageMagick's own."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest
from jpeg_samples import damaged, in_zigzag_order, jpeg, picture, with_tables

from dl2cli.analysis.image.quality import (
    UNKNOWN_QUALITY,
    fingerprint,
    magick_quality,
    standard_fingerprints,
)
from dl2cli.dataset.jpeg_quality import CHROMINANCE, LUMINANCE, estimate, scaled_table
from dl2cli.errors import DataError
from dl2cli_native import _core

pytest.importorskip("wand.image")


def native(data: bytes) -> int | None:
    header = _core.peek_jpeg_header(data)
    return None if header is None else estimate(header.quant_tables)


def identify(files: list[Path]) -> list[int]:
    """What ImageMagick's own program prints as %Q."""
    if not shutil.which("identify"):
        pytest.skip("ImageMagick's identify is not installed")
    command = ["identify", "-format", "%Q\n", *map(str, files)]
    return [int(line) for line in subprocess.check_output(command, text=True).split()]


def test_every_quality_and_kind_has_the_number_that_identify_prints(tmp_path):
    files, ours, theirs = [], [], []
    for mode in ("RGB", "L", "CMYK"):
        image = picture(32, 32).convert(mode)
        for quality in range(1, 101):
            data = jpeg(image, quality=quality, progressive=quality % 2 == 0)
            files.append(tmp_path / f"{mode}-{quality:03d}.jpg")
            files[-1].write_bytes(data)
            ours.append(native(data) or UNKNOWN_QUALITY)
            theirs.append(magick_quality(data) or UNKNOWN_QUALITY)
    assert ours == theirs == identify(files)
    assert ours == [*range(1, 101)] * 3


def odd_tables(rng: random.Random) -> list[tuple[int, int, list[int]]]:
    """Tables of a quality that are a little off, of two qualities, of 16 bits, or of any steps."""
    tables = []
    quality = rng.randint(1, 100)
    for index in rng.choice([(0, 1)] * 6 + [(0,), (1,), (0, 1, 2), (0, 2), (3, 1, 0), (0, 1, 1)]):
        wide = rng.random() < 0.2
        if rng.random() < 0.1:
            steps = [rng.randint(1, 65535 if wide else 255) for _ in range(64)]
        else:
            base = (LUMINANCE, CHROMINANCE)[index % 2]
            used = quality if rng.random() < 0.8 else rng.randint(1, 100)
            steps = list(scaled_table(base, used))
            for place in rng.sample(range(64), rng.choice((0, 0, 1, 5, 64))):
                steps[place] = min(max(steps[place] + rng.randint(-3, 3), 1), 255)
        tables.append((index, int(wide), in_zigzag_order(steps)))
    return tables


def test_odd_tables_have_the_number_that_imagemagick_gives():
    rng = random.Random(11)
    sources = [jpeg(quality=90), jpeg(picture().convert("L"), quality=90)]
    unknown = 0
    for _ in range(2500):
        data = with_tables(rng.choice(sources), odd_tables(rng))
        expected = magick_quality(data)
        assert native(data) == expected
        unknown += expected is None
    assert 500 < unknown < 2000  # both outcomes are well covered


def test_tables_that_resemble_nothing_are_92_as_identify_says(tmp_path):
    data = with_tables(jpeg(), [(0, 0, [200] * 64), (1, 0, [1] * 64)])
    path = tmp_path / "odd.jpg"
    path.write_bytes(data)
    assert native(data) is None
    assert magick_quality(data) is None
    assert identify([path]) == [UNKNOWN_QUALITY]


def test_damaged_files_have_the_same_number_or_none():
    rng = random.Random(3)
    sources = [jpeg(quality=q, progressive=q > 60) for q in (20, 55, 75, 96)]
    sources.append(jpeg(picture().convert("L"), quality=85))
    readable = 0
    for _ in range(1500):
        data = damaged(rng.choice(sources), rng)
        try:
            theirs = magick_quality(data)
            header = _core.peek_jpeg_header(data)
        except (DataError, _core.DataError):
            continue  # one of both refuses it; libjpeg makes up the bytes that a cut header lacks
        if header is not None:
            assert estimate(header.quant_tables) == theirs
            readable += 1
    assert readable > 500


def test_the_photos_have_the_number_that_imagemagick_gives(test_data):
    files = sorted((test_data / "clothing").rglob("*.jpg"))
    assert len(files) > 1000
    values = [native(path.read_bytes()) for path in files]
    assert values == [magick_quality(path.read_bytes()) for path in files]
    assert [value or UNKNOWN_QUALITY for value in values] == identify(files)


def test_a_header_longer_than_what_is_read_first():
    source = jpeg(quality=63)
    filler = b"\xff\xe5\xff\xff" + bytes(65533)
    data = source[:2] + filler * 8 + source[2:]
    assert len(data) > 512 << 10
    assert native(data) == magick_quality(data) == 63


def test_what_is_no_jpeg_never_reaches_imagemagick():
    with pytest.raises(DataError, match="not a JPEG"):
        magick_quality(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    with pytest.raises(DataError, match="ImageMagick"):
        magick_quality(b"\xff\xd8\xff")


def test_fingerprints_tell_tables_apart():
    assert len(standard_fingerprints()) == 200
    tables = _core.read_jpeg_header(jpeg(quality=87)).quant_tables
    again = _core.read_jpeg_header(jpeg(quality=87)).quant_tables
    assert fingerprint(tables) in standard_fingerprints()
    assert fingerprint(tables) == fingerprint(again)
    odd = tables | {1: (9,) * 64}
    assert fingerprint(odd) not in standard_fingerprints()
