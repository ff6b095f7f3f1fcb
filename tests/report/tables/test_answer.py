"""The answer table: what each variant gains in speed and costs in accuracy."""

from pathlib import Path
from typing import Any

import pytest
from report_logs import BENCH, Training, write_json, write_training

from dl2cli.report.config import ReportConfig
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report
from dl2cli.report.tables.answer import families


def make(root: Path, **options: Any) -> Report:
    return build_report(Finder([root]).load(), ReportConfig(**options))


def rows(report: Report) -> list[dict[str, Any]]:
    table = report.table("answer")
    assert table is not None
    return table.records()


def logs(root: Path) -> Path:
    raw = Training(data="data-hdd/imagenet/raw/", data_s=0.07, top1=60.5)
    jpeg = Training(data="data-hdd/imagenet/jpeg-10/", data_s=0.0, top1=50.5, start=2.0)
    slow = Training(data="data-hdd/imagenet/jpeg-10/", data_s=0.03, top1=52.5, workers=4, start=3.0)
    alex = Training(arch="alexnet", data="data-hdd/imagenet/raw/", start=4.0)
    for name, training in {"raw": raw, "jpeg": jpeg, "jpeg-w4": slow, "alex": alex}.items():
        write_training(root / name / "r.json", training)
    return root


def test_a_row_has_the_fastest_and_the_best_run_of_a_variant(tmp_path: Path) -> None:
    alex, raw, jpeg = rows(make(logs(tmp_path)))
    assert (alex["model"], raw["model"], jpeg["model"]) == ("alexnet", "resnet50", "resnet50")
    assert (raw["variant"], jpeg["variant"]) == ("raw", "jpeg-10")
    assert raw["speedup"] == 1.0
    assert raw["delta_top1_points"] == 0.0
    assert raw["bound"] == "data"
    assert raw["stall_frac"] == pytest.approx(0.5)
    assert jpeg["runs"] == 2
    assert jpeg["fastest_run"] == "jpeg"
    assert jpeg["best_run"] == "jpeg-w4"
    assert jpeg["speedup"] == pytest.approx(jpeg["rate_img_s"] / raw["rate_img_s"])
    assert jpeg["best_top1_pct"] == 67.5
    assert jpeg["delta_top1_points"] is None, "4 workers have no baseline"
    assert jpeg["bound"] == "compute"


def test_the_target_is_what_all_variants_reach_unless_one_is_given(tmp_path: Path) -> None:
    _, raw, jpeg = rows(make(logs(tmp_path)))
    assert raw["target_pct"] == jpeg["target_pct"] == 67.0
    assert raw["time_to_target_s"] > jpeg["time_to_target_s"] > 0
    _, raw, jpeg = rows(make(tmp_path, targets_pct=(70.0,)))
    assert raw["target_pct"] == 70.0
    assert jpeg["time_to_target_s"] is None


def test_storage_is_named_with_its_path_where_they_differ(tmp_path: Path) -> None:
    write_training(tmp_path / "time-hdd" / "r.json", Training(data="data-sas/imagenet/raw/"))
    write_training(tmp_path / "acc-mem" / "r.json", Training(data="data-sas/imagenet/raw", start=2))
    assert [row["storage"] for row in rows(make(tmp_path))] == ["hdd (path: sas)", "mem"]


def test_bench_io_has_a_family_of_its_own_and_its_own_verdict(tmp_path: Path) -> None:
    runs = [{**run, "bound": bound} for run, bound in zip(BENCH["runs"], ("prep", "storage"))]  # type: ignore[arg-type] # noqa: B905
    write_json(tmp_path / "bench.json", {**BENCH, "runs": runs})
    table = make(tmp_path).table("answer")
    assert table is not None
    (family,) = families(table)
    assert family.title == "bench-io: photos"
    assert [(r["variant"], r["bound"]) for r in family.records()] == [
        ("raw", "storage"),
        ("pcr-5", "decode"),
    ]
    assert "best_top1_pct" not in {c.key for c in family.visible().columns}


def test_without_raw_runs_full_fidelity_is_the_baseline(tmp_path: Path) -> None:
    for scans, data_s in ((10, 0.07), (3, 0.0)):
        params = {"scans": scans, "data_loader": "pcr"}
        training = Training(data="photos_pcr", data_s=data_s, params=params, start=float(scans))
        write_training(tmp_path / f"scans-{scans}" / "r.json", training)
    few, full = rows(make(tmp_path))
    assert (few["variant"], full["variant"]) == ("pcr-3", "pcr-10")
    assert full["speedup"] == 1.0
    assert few["speedup"] == pytest.approx(2.0)
    assert few["baseline"] == "scans-10"


def test_the_best_of_several_seeds_is_compared_with_the_best(tmp_path: Path) -> None:
    for seed, (raw_top1, jpeg_top1) in enumerate([(50.0, 52.0), (60.0, 51.0)]):
        for variant, top1, data_s in (
            ("raw", raw_top1, 0.07 - 0.01 * seed),
            ("jpeg-10", jpeg_top1, 0.0),
        ):
            start = float(len(list(tmp_path.iterdir())))
            training = Training(
                data=f"data-hdd/photos/{variant}/", top1=top1, data_s=data_s, start=start,
                params={"seed": seed},
            )  # fmt: skip
            write_training(tmp_path / f"{variant}-seed{seed}" / "r.json", training)
    report = make(tmp_path)
    raw, jpeg = rows(report)
    assert (raw["speedup"], raw["delta_top1_points"]) == (1.0, 0.0)
    assert jpeg["speedup"] == pytest.approx(jpeg["rate_img_s"] / raw["rate_img_s"])
    assert jpeg["delta_top1_points"] == pytest.approx(jpeg["best_top1_pct"] - raw["best_top1_pct"])
    table = report.table("accuracy")
    assert table is not None
    deltas = {row["run"]: row["delta_top1_points"] for row in table.records()}
    assert deltas["jpeg-10-seed0"] == pytest.approx(2.0)
    assert deltas["jpeg-10-seed1"] == pytest.approx(-9.0)


def test_a_cache_makes_a_row_of_its_own(tmp_path: Path) -> None:
    write_training(tmp_path / "raw" / "r.json", Training(data_s=0.07))
    cached = Training(data_s=0.0, params={"dataset_class": "MinIOFolder"}, start=2.0)
    write_training(tmp_path / "cached" / "r.json", cached)
    assert [row["variant"] for row in rows(make(tmp_path))] == ["raw", "raw, MinIO"]


def test_synthetic_data_has_no_accuracy(tmp_path: Path) -> None:
    training = Training(data="no/real/dataset", loader="synthetic", top1=3.0)
    write_training(tmp_path / "synth" / "r.json", training)
    (row,) = rows(make(tmp_path))
    assert row["best_top1_pct"] is None
    assert row["bound"] == "compute"
