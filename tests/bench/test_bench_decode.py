"""Decoding variants to pixels, and the logs of it."""

import json
from pathlib import Path

import pytest
from bench_photos import make_dataset, make_folder

from dl2cli.bench.config import BenchConfig
from dl2cli.bench.decode import decode_variants, write_logs
from dl2cli.errors import DataError, UsageError
from dl2cli.report.model import CodecRun, Kind
from dl2cli.report.read.discover import Finder
from dl2cli.variants.config import VariantsConfig
from dl2cli.variants.convert import convert
from dl2cli.variants.formats import Target


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("decode")
    make_folder(root / "photos", 8, 90, 60)
    make_dataset(root / "photos", root / "pcr", 4)
    targets = (Target("webp", 20), Target("jpeg2000", 35))
    convert(VariantsConfig(root / "photos", root / "variants", targets, samples=0))
    return root


def test_the_same_images_are_decoded_of_every_variant(photos: Path, tmp_path: Path) -> None:
    names = ["photos", "variants/webp-20", "variants/jpeg2000-35", "pcr:2", "pcr"]
    rounds: list[tuple[int, int]] = []
    config = BenchConfig(Path(), repeat=2, sample_images=5)
    result = decode_variants(
        config, [str(photos / name) for name in names], lambda *r: rounds.append(r)
    )
    assert [each.name for each in result.variants] == [
        "raw", "webp-20", "jpeg2000-35", "pcr-2", "pcr-10"
    ]  # fmt: skip
    assert result.images == 5
    assert rounds == [(0, 2), (1, 2), (2, 2)]
    for each in result.variants:
        assert len(each.rate_img_s.runs) == 2
        assert len(each.dec_times_s) == len(each.cpu_times_s) == 10
        assert each.bits_per_pixel == pytest.approx(each.bytes_per_image * 8 / (90 * 60))
    by_name = {each.name: each.bytes_per_image for each in result.variants}
    assert by_name["pcr-2"] < by_name["pcr-10"]
    written = write_logs(config, result, tmp_path)
    document = json.loads(written[0].read_text())
    assert len(document["dec_times"]) == 10
    assert "null" not in json.dumps(document["provenance"])
    runs = Finder([tmp_path]).load().runs
    assert {run.kind for run in runs} == {Kind.CODEC_DEC}
    assert not any(run.notes for run in runs)
    assert all(isinstance(run, CodecRun) and len(run.cpu_s) == 10 for run in runs)


def test_what_has_nothing_in_common_or_is_damaged_is_refused(photos: Path, tmp_path: Path) -> None:
    make_folder(tmp_path / "few", 2, 20, 20)
    other = tmp_path / "other" / "c"
    other.mkdir(parents=True)
    (other / "x.jpg").write_bytes(b"\xff\xd8\xff no")
    config = BenchConfig(Path(), repeat=1)
    with pytest.raises(UsageError, match="no image of the same class and name"):
        decode_variants(config, [str(photos / "photos"), str(tmp_path / "other")])
    with pytest.raises(DataError, match="image 1 of the sample does not decode"):
        decode_variants(config, [str(tmp_path / "other")])
    with pytest.raises(UsageError, match="neither a folder nor a loader"):
        decode_variants(config, [str(tmp_path / "absent")])
