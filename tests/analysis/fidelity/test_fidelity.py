"""The fidelity of images at each number of scan groups, and what a sample of them adds up to."""

import io
from pathlib import Path

import numpy as np
import pytest
from jpeg_samples import jpeg, picture
from PIL import Image

from dl2cli import pcr
from dl2cli.analysis.fidelity.images import Comparison, measure, parse_comparisons
from dl2cli.analysis.fidelity.metrics import ms_ssim, psnr, ssim
from dl2cli.analysis.fidelity.report import FidelityTally
from dl2cli.analysis.run import AnalysisConfig, analyse_dataset
from dl2cli.analysis.sources import FileReader, Item, open_source
from dl2cli.analysis.table.rows import Analysis, ImageRow, Note, Point
from dl2cli.errors import DataError, UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli_native import _core


def one(tmp_path: Path, data: bytes, comparisons=()):
    (tmp_path / "a.jpg").write_bytes(data)
    return measure(Item("a.jpg", ""), FileReader(str(tmp_path)), comparisons)


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def test_points_are_those_of_the_images_that_a_pcr_reader_decodes(sample_set, tmp_path):
    out = tmp_path / "pcr"
    convert(ConvertConfig(source=sample_set / "val", out=out, images_per_record=5))
    source = open_source(out)
    dataset = pcr.open(out)
    for item in source.items[::4]:
        points, notes = measure(item, source.reader, ())
        assert notes == (Note.SMALL,)
        whole = bytes(dataset.read(item.record).image(item.slot))
        for k, point in enumerate(points, start=1):
            prefix = bytes(dataset.read(item.record, k).image(item.slot))
            assert (point.setting, point.size_bytes) == (f"k{k}", len(prefix))
            # No smoothing of missing coefficients, as in training: not what Pillow decodes.
            seen = np.asarray(_core.decode([prefix]))
            if k == dataset.groups:
                assert np.array_equal(seen, pixels(whole))
                assert (point.psnr_db, point.ssim, point.ms_ssim) == (None, 1.0, 1.0)
            else:
                reference = pixels(whole)
                assert point.psnr_db == pytest.approx(psnr(seen, reference))
                assert point.ssim == pytest.approx(ssim(seen, reference))
                assert point.ms_ssim == pytest.approx(ms_ssim(seen, reference))


def test_files_and_a_pcr_dataset_of_them_have_the_same_points(sample_set, tmp_path):
    folder = sample_set / "val"
    convert(ConvertConfig(source=folder, out=tmp_path / "pcr"))
    from_files, from_pcr = open_source(folder), open_source(tmp_path / "pcr")
    stored = {item.name: item for item in from_pcr.items}
    for item in from_files.items[::5]:
        points, _ = measure(item, from_files.reader, ())
        again, _ = measure(stored[item.name], from_pcr.reader, ())
        assert points == again


def test_more_scan_groups_cost_more_and_lose_less(tmp_path):
    points, notes = one(tmp_path, jpeg(picture(240, 200), quality=92))
    assert notes == ()
    sizes = [point.size_bytes for point in points]
    assert sizes == sorted(set(sizes))
    noises = [point.psnr_db for point in points[:-1]]
    assert noises == sorted(noises)
    assert points[0].ms_ssim < 0.97 < points[-2].ms_ssim < 1
    assert points[-1].psnr_db is None


def test_a_gray_image_has_the_groups_of_a_colour_image(tmp_path):
    points, _ = one(tmp_path, jpeg(picture(100, 80).convert("L")))
    assert [point.setting for point in points] == [f"k{k}" for k in range(1, 11)]
    # Groups 3, 4, 8 and 9 are chroma: nothing is added by them.
    for chroma in (3, 4, 8, 9):
        before, here = points[chroma - 2], points[chroma - 1]
        assert (here.size_bytes, here.ms_ssim) == (before.size_bytes, before.ms_ssim)


def test_lossy_formats_beside_them(tmp_path):
    data = jpeg(picture(200, 200), quality=95, subsampling="4:4:4")
    comparisons = parse_comparisons(["jpeg:40,80", "webp:60"])
    points, _ = one(tmp_path, data, comparisons)
    found = {point.setting: point for point in points[10:]}
    out = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.save(out, "JPEG", quality=40, progressive=True, optimize=True)
    assert list(found) == ["jpeg:40", "jpeg:80", "webp:60"]
    assert found["jpeg:40"].size_bytes == len(out.getvalue())
    assert found["jpeg:40"].ms_ssim == pytest.approx(ms_ssim(pixels(out.getvalue()), pixels(data)))
    assert found["jpeg:40"].ms_ssim < found["jpeg:80"].ms_ssim
    gray, _ = one(tmp_path, jpeg(picture().convert("L")), comparisons)
    assert len(gray) == 13


def test_what_cannot_be_measured(tmp_path):
    assert one(tmp_path, jpeg(picture().convert("CMYK"))) == ((), (Note.NO_FIDELITY,))
    assert one(tmp_path, jpeg(picture(40, 8))) == ((), (Note.TINY,))
    with pytest.raises(DataError):
        one(tmp_path, jpeg()[:400])


def test_comparisons_are_read():
    assert parse_comparisons(["jpeg:50, 75", "webp:1"]) == (
        Comparison("jpeg", 50), Comparison("jpeg", 75), Comparison("webp", 1),
    )  # fmt: skip
    assert parse_comparisons(["jpeg:50,webp:7,jpeg:50"]) == parse_comparisons(["jpeg:50", "webp:7"])
    assert parse_comparisons(["none"]) == ()
    for text in ("50", "png:50", "jpeg:0", "jpeg:101", "jpeg:", "jpeg", ""):
        with pytest.raises(UsageError, match="A comparison must be jpeg or webp"):
            parse_comparisons([text])


def row(class_name: str, sizes: list[int], alike: list[float]) -> ImageRow:
    points = [
        Point(f"k{k}", size, None if value == 1 else 30.0, value, value)
        for k, (size, value) in enumerate(zip(sizes, alike, strict=True), start=1)
    ]
    return ImageRow(f"{class_name}/x.jpg", class_name, fidelity=tuple(points))


def test_a_sample_is_added_up_and_the_smallest_sufficient_k_is_recommended():
    tally = FidelityTally(0.95)
    tally.add(row("a", [100, 300, 600], [0.80, 0.98, 1.0]))
    tally.add(row("b", [200, 400, 400], [0.90, 0.94, 1.0]))
    tally.add(ImageRow("b/not-measured.jpg", "b"))
    report = tally.result()
    assert (report.images, report.groups, report.recommended_k) == (2, 3, 2)
    second = report.levels[1]
    assert second.mean_bytes == 350
    assert second.share == pytest.approx(700 / 1000)
    assert report.saved_share == pytest.approx(0.3)
    assert second.ms_ssim.mean == pytest.approx(0.96)
    assert (second.exact, second.psnr_db.mean) == (0, 30)
    assert (report.levels[2].exact, report.levels[2].psnr_db) == (2, None)
    assert {name: c.recommended_k for name, c in report.per_class.items()} == {"a": 2, "b": 3}
    assert FidelityTally(0.95).result() is None


def test_the_fidelity_of_a_dataset(sample_set, tmp_path):
    config = AnalysisConfig(
        sample_set, frozenset({Analysis.FIDELITY}), tmp_path / "f.csv", workers=2,
        fidelity_samples=9, comparisons=parse_comparisons(["jpeg:50"]), target_ms_ssim=0.9,
    )  # fmt: skip
    summary = analyse_dataset(config).summary
    report = summary.fidelity
    assert summary.images == report.images == 9
    assert [level.setting for level in report.levels] == [
        *(f"k{k}" for k in range(1, 11)), "jpeg:50",
    ]  # fmt: skip
    assert report.levels[report.recommended_k - 1].ms_ssim.mean >= 0.9
    assert all(level.ms_ssim.mean < 0.9 for level in report.levels[: report.recommended_k - 1])
    assert sum(each.images for each in report.per_class.values()) == 9
    header, *lines = (tmp_path / "f.csv").read_text().splitlines()
    assert len(lines) == 9
    assert header.startswith("file,bytes_k1,ms_ssim_k1,ssim_k1,psnr_db_k1,bytes_k2")
    assert header.endswith("psnr_db_jpeg50,notes,error")


def test_a_file_that_is_no_jpeg_is_noted(tmp_path):
    picture().save(tmp_path / "a.png")
    summary = analyse_dataset(
        AnalysisConfig(tmp_path, frozenset({Analysis.FIDELITY}), workers=1)
    ).summary
    assert summary.fidelity is None
    assert summary.failures == ()
    assert [oddity.text for oddity in summary.oddities] == [Note.NO_FIDELITY.value]
