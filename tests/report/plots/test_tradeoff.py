"""What bytes buy: rate-distortion curves, and accuracy with its errors."""

import json
from pathlib import Path

import pytest
from report_logs import Training, write_json, write_text, write_training

from dl2cli.report.config import ReportConfig
from dl2cli.report.plots.canvas import inline_svg
from dl2cli.report.plots.figures import all_plots
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

pytest.importorskip("matplotlib.figure")


def make(root: Path, **options: object) -> Report:
    return build_report(Finder([root]).load(), ReportConfig(**options))  # type: ignore[arg-type]


def encoding(bpp: float, ms_ssim: list[float], psnr: list[float | None]) -> dict[str, object]:
    return {
        "dataset": "/data/photos", "total_time": 4.0, "enc_times": [0.5, 1.5], "bpp": [bpp, bpp],
        "ms_ssim": ms_ssim, "psnr_db": psnr, "shared_pass": 2,
    }  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    write_json(tmp_path / "enc-mp-jpeg-10" / "encode.json", encoding(0.2, [0.9, 0.8], [30, 20]))
    lossless = encoding(4.0, [1.0, 1.0], [None, None]) | {"total_time": 5.0}
    write_json(tmp_path / "enc-mp-webp-lossless" / "encode.json", lossless)
    csv = "file,quality,width,height,bytes_k1,ms_ssim_k1,psnr_db_k1,bytes_k2,ms_ssim_k2,psnr_db_k2"
    rows = ["a,90,10,10,25,0.5,20,50,1.0,inf", "b,90,10,20,25,0.7,30,50,1.0,inf", "c,90,9,9,,,,,,"]
    write_text(tmp_path / "scans.csv", "\n".join([csv, *rows]) + "\n")
    return tmp_path


def test_encoders_and_scan_groups_stand_in_one_plot(photos: Path) -> None:
    report = make(photos)
    (listed,) = report.qualities
    points = {point.variant: point for point in listed.fidelity}
    assert (points["pcr-1"].bits_per_pixel, points["pcr-1"].images) == (1.5, 2)
    assert points["pcr-1"].ms_ssim == pytest.approx(0.6)
    assert (points["pcr-1"].psnr_db, points["pcr-2"].psnr_db) == (25.0, None)
    (plot,) = [plot for plot in all_plots(report) if plot.title.startswith("Rate and dist")]
    tips = {point[3] for point in inline_svg(plot).points}
    assert "jpeg-10: 0.85 at 0.2 bpp" in tips
    assert "webp-lossless: 1 at 4 bpp" in tips
    assert "pcr-1: 25 at 1.5 bpp" in tips


def test_codecs_show_likeness_and_the_rate_of_a_shared_pass(photos: Path) -> None:
    table = make(photos).table("codecs")
    assert table is not None
    row = next(row for row in table.records() if row["quality"] == "10")
    assert (row["ms_ssim_mean"], row["psnr_mean_db"]) == (pytest.approx(0.85), 25.0)
    (entry,) = [e for e in make(photos).compared if e.setup.variant == "jpeg-10"]
    assert entry.codec_rate_img_s == 1.0  # 2 images in 2 s: the 4 s are those of both variants


def test_decoding_that_makes_pixels_is_told_from_opening(tmp_path: Path) -> None:
    opened = {"dataset": "/data/photos/webp-10", "total_time": 1.0, "dec_times": [0.1]}
    write_json(tmp_path / "dec-mp-webp-10" / "log.json", opened)
    decoded = opened | {"cpu_times": [0.05], "total_time": 2.0}
    write_json(tmp_path / "dec-st-webp-10" / "log.json", decoded)
    raw = opened | {"cpu_times": [0.05], "total_time": 0.5}
    write_json(tmp_path / "dec-st-raw" / "log.json", raw)
    runs = {run.source.run: run for run in Finder([tmp_path]).load().runs}
    assert [note.code for note in runs["dec-mp-webp-10"].notes] == ["opens only"]
    assert runs["dec-st-webp-10"].notes == ()
    assert runs["dec-st-webp-10"].setup.loader == "one thread"
    assert runs["dec-st-raw"].setup.variant == "raw"
    rates = {entry.name: entry.codec_rate_img_s for entry in make(tmp_path).compared}
    assert rates["dec-mp-webp-10"] is None
    assert rates["dec-st-raw"] == pytest.approx(2.0)


def test_accuracy_has_the_error_of_its_seeds(tmp_path: Path) -> None:
    for seed, top1 in enumerate((40.0, 44.0, 42.0)):
        for k, loss in ((10, 0.0), (1, 20.0)):
            training = Training(
                top1=top1 - loss, start=seed * 100.0 + k, name=f"k{k}-seed{seed}",
                params={"scans": k, "data_loader": "pcr", "variant": f"pcr-{k}",
                        "dataset": "photos", "train_images": 1000},
            )  # fmt: skip
            path = tmp_path / f"k{k}-seed{seed}" / "r.json"
            write_training(path, training)
            lines = []
            for line in path.read_text().splitlines():
                record = json.loads(line[5:])
                if "e.total_time" in record.get("data", {}):
                    record["data"]["e.bytes_read"] = 5000.0 * k * 1000
                lines.append("DLLL " + json.dumps(record))
            path.write_text("\n".join(lines) + "\n")
    report = make(tmp_path, group_by=("variant",))
    table = report.table("groups")
    assert table is not None
    full = next(row for row in table.records() if row["variant"] == "pcr-10")
    assert full["mean_top1_pct"] == pytest.approx(42 + 3 * 5)
    assert full["error_top1_pct"] == pytest.approx(2 / 3**0.5)
    (plot,) = [p for p in all_plots(report) if p.title.startswith("Accuracy for bytes")]
    tips = [point[3] for point in inline_svg(plot).points]
    assert "pcr-10: 57.0 % at 50 kB (standard error 1.2, 3 runs)" in tips
    assert "pcr-1: 37.0 % at 5 kB (standard error 1.2, 3 runs)" in tips
