"""What a report computes, and how exactly it writes it."""

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_logs import Training, write_training

from dl2cli.errors import UsageError
from dl2cli.report.config import EpochImages, EpochTime, ReportConfig, Selection
from dl2cli.report.read.discover import Finder
from dl2cli.report.read.values import natural_key
from dl2cli.report.report import Report, build_report
from dl2cli.report.tables.render import to_csv, to_latex, to_markdown
from dl2cli.report.tables.table import Column, Style, Table, duration, shown, size


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    raw, packed = "data-hdd/imagenet/raw/", "data-hdd/imagenet/jpeg-10/"
    write_training(tmp_path / "raw-hdd" / "r.json", Training(data=raw, data_s=0.13))
    write_training(
        tmp_path / "jpeg10-hdd" / "r.json",
        Training(data=packed, data_s=0.03, top1=38.0, start=2.0),
    )
    write_training(
        tmp_path / "raw-ssd" / "r.json",
        Training(data="data-ssd/imagenet/raw/", data_s=0.03, start=3.0),
    )
    return tmp_path


def make(root: Path, **options: Any) -> Report:
    return build_report(Finder([root]).load(), ReportConfig(**options))


def rows(result: Report, name: str) -> dict[str, dict[str, Any]]:
    table = result.table(name)
    assert table is not None
    return {str(record["run"]): record for record in table.records()}


def test_throughput_is_total_over_total_and_leaves_out_the_first_epoch(logs: Path) -> None:
    row = rows(make(logs), "throughput")["raw-hdd"]
    times = [Training(data_s=0.13).epoch_s(i) for i in range(4)]
    mean = sum(times[1:]) / 3
    assert row["epoch_first_s"] == times[0]
    assert row["epoch_mean_s"] == pytest.approx(mean, rel=1e-12)
    assert row["epoch_std_s"] == pytest.approx(
        math.sqrt(sum((t - mean) ** 2 for t in times[1:]) / 2), rel=1e-9
    )
    assert row["rate_epoch_img_s"] == pytest.approx(1_331_167 / mean, rel=1e-12)
    assert row["rate_train_img_s"] == pytest.approx(100 / 0.2, rel=1e-12)
    assert row["rate_speedmean_img_s"] == 9e3
    assert row["stall_frac"] == pytest.approx(0.65, rel=1e-12)
    assert row["stall_frac_first"] == pytest.approx(0.26 / 0.33, rel=1e-12)


def test_drop_first(logs: Path) -> None:
    none = rows(make(logs, drop_first=0), "throughput")["raw-hdd"]
    assert none["epoch_max_s"] == none["epoch_first_s"]
    many = make(logs, drop_first=9)
    assert rows(many, "throughput")["raw-hdd"]["epoch_mean_s"] is None
    assert "too few epochs" in {note.code for note in many.notes}


def test_a_first_epoch_alone_gives_no_mean_but_is_shown(tmp_path: Path) -> None:
    write_training(tmp_path / "run" / "r.json", Training(epochs=1))
    result = make(tmp_path)
    row = rows(result, "throughput")["run"]
    assert row["epoch_first_s"] == Training().epoch_s(0)
    assert (row["epoch_mean_s"], row["rate_epoch_img_s"]) == (None, None)
    assert "too few epochs" in {note.code for note in result.notes}


@pytest.mark.parametrize(
    ("baseline", "expected"),
    [
        ("raw", {"raw-hdd": "raw-hdd", "jpeg10-hdd": "raw-hdd", "raw-ssd": "raw-ssd"}),
        ("hdd", {"raw-hdd": "raw-hdd", "jpeg10-hdd": "jpeg10-hdd", "raw-ssd": "raw-hdd"}),
        ("raw-ss*", {"raw-hdd": "raw-ssd", "jpeg10-hdd": "raw-ssd", "raw-ssd": "raw-ssd"}),
        ("absent", {"raw-hdd": None, "jpeg10-hdd": None, "raw-ssd": None}),
    ],
)
def test_baselines(logs: Path, baseline: str, expected: dict[str, str | None]) -> None:
    found = rows(make(logs, baseline=baseline), "throughput")
    assert {name: row["baseline"] for name, row in found.items()} == expected


def test_records_are_compared_with_originals_whatever_loads_them(logs: Path) -> None:
    params = {"dataset": "imagenet", "scans": 5, "storage": "hdd"}
    training = Training(data="/data/pcr", loader="pcr", start=9.0, params=params)
    write_training(logs / "pcr5" / "r.json", training)
    assert rows(make(logs), "throughput")["pcr5"]["baseline"] == "raw-hdd"


def test_a_named_baseline_is_compared_only_with_its_like(logs: Path) -> None:
    write_training(logs / "other-hdd" / "r.json", Training(arch="alexnet", start=9.0))
    places = Training(data="data-hdd/places365/raw", start=10.0)
    write_training(logs / "places-hdd" / "r.json", places)
    synthetic = Training(data="no/real/dataset", loader="synthetic", start=11.0)
    write_training(logs / "bound-synth" / "r.json", synthetic)
    found = rows(make(logs, baseline="raw-hdd"), "throughput")
    with_baseline = {name for name, row in found.items() if row["baseline"]}
    assert with_baseline == {"raw-hdd", "raw-ssd", "jpeg10-hdd", "bound-synth"}
    learned = rows(make(logs, baseline="raw-hdd"), "accuracy")
    assert learned["bound-synth"]["delta_top1_points"] is None


def test_speedup_and_delta(logs: Path) -> None:
    result = make(logs)
    speed, learned = rows(result, "throughput"), rows(result, "accuracy")
    row, base = speed["jpeg10-hdd"], speed["raw-hdd"]
    assert row["speedup"] == row["rate_epoch_img_s"] / base["rate_epoch_img_s"]
    assert learned["jpeg10-hdd"]["delta_top1_points"] == -2.0
    assert any("1.9" in t and "costs 2.00 points" in t for t in result.findings)


def test_time_to_a_target_and_within_a_budget(logs: Path) -> None:
    training = Training(data_s=0.13)
    first_two = 2.0 + training.epoch_s(0) + training.epoch_s(1)
    hours = (first_two + 1) / 3600
    result = make(logs, targets_pct=(45.0, 99.0), budgets_h=(hours,))
    row = rows(result, "accuracy")["raw-hdd"]
    assert row["time_to_45_pct_s"] == pytest.approx(first_two, abs=1e-5)
    assert row["time_to_99_pct_s"] is None
    spent = rows(result, "budget")["raw-hdd"]
    assert (spent["best_top1_pct"], spent["epoch"], spent["clock"]) == (45.0, 2, "own")


def test_borrowed_epoch_times(logs: Path) -> None:
    times = tuple(EpochTime.parse(t) for t in ("jpeg*=1800", "raw-ssd=raw-hdd"))
    result = make(logs, epoch_times=times, budgets_h=(1.0,))
    found = rows(result, "budget")
    assert found["jpeg10-hdd"]["epoch"] == 2
    assert found["jpeg10-hdd"]["end_s"] == 3600
    assert found["raw-ssd"]["clock"] == "epoch time of raw-hdd"
    assert found["raw-hdd"]["clock"] == "own"
    with pytest.raises(UsageError, match="absent"):
        make(logs, epoch_times=(EpochTime.parse("absent"),))


def test_selection_and_groups(logs: Path) -> None:
    chosen = make(logs, select=(Selection.parse("storage=hdd"), Selection.parse("raw*")))
    assert [e.name for e in chosen.entries] == ["raw-hdd"]
    grouped = make(logs, group_by=("storage",)).table("groups")
    assert grouped is not None
    found = {r["storage"]: r for r in grouped.records()}
    assert (found["hdd"]["runs"], found["ssd"]["runs"]) == (2, 1)
    single = rows(make(logs), "throughput")
    times = [single[n]["epoch_mean_s"] for n in ("raw-hdd", "jpeg10-hdd")]
    assert found["hdd"]["rate_epoch_img_s"] == pytest.approx(2 * 1_331_167 / sum(times), rel=1e-12)


def test_an_epoch_time_of_another_model_is_told(tmp_path: Path) -> None:
    write_training(tmp_path / "mine" / "r.json", Training())
    write_training(tmp_path / "other" / "r.json", Training(arch="alexnet", start=2.0))
    result = make(tmp_path, epoch_times=(EpochTime.parse("mine=other"),))
    (note,) = (note for note in result.notes if note.code == "unused option")
    assert "of another model or data set than mine" in note.text
    assert result.clocks["mine"].source == "own"


def test_sorting(logs: Path) -> None:
    result = make(logs, sort="-rate_epoch_img_s")
    table = result.table("throughput")
    assert table is not None
    rates = [r["rate_epoch_img_s"] for r in table.records()]
    assert rates == sorted(rates, reverse=True)
    with pytest.raises(UsageError, match="no table here has a column 'rate'"):
        make(logs, sort="rate")


def test_images_per_epoch(tmp_path: Path) -> None:
    training = Training(data="/data/photos", params={"scans": 5}, loader="pcr")
    write_training(tmp_path / "mine" / "r.json", training)
    unknown = make(tmp_path)
    assert rows(unknown, "throughput")["mine"]["rate_epoch_img_s"] is None
    assert "unknown size" in {note.code for note in unknown.notes}
    assert rows(unknown, "overview")["mine"]["variant"] == "pcr-5"
    known = make(tmp_path, images=(EpochImages.parse("photos=25000+1000"),))
    mean = rows(known, "throughput")["mine"]["epoch_mean_s"]
    assert rows(known, "throughput")["mine"]["rate_epoch_img_s"] == 26000 / mean


def test_the_log_of_dl2_train_tells_more(tmp_path: Path) -> None:
    training = Training(data="/d/p", params={"train_images": 500, "val_images": 100, "new": [1]})
    path = write_training(tmp_path / "mine" / "r.json", training)
    text = path.read_text()
    more = '"t.fetch_time": 0.02, "t.prep_time": 0.01, "e.bytes_read": 1000000, "t.data_time"'
    path.write_text(text.replace('"t.data_time"', more))
    row = rows(make(tmp_path), "throughput")["mine"]
    assert row["images_train"] == 500
    assert (row["fetch_stall_s"], row["prep_stall_s"]) == (0.02, 0.01)
    assert row["bytes_per_image"] == 2000.0
    assert row["store_requests"] is None
    store = '"e.store_requests": 8, "e.store_retries": 1, "e.store_bytes": 900000, '
    store += '"e.cache_bytes": 100000, "e.store_hedges": 2, '
    store += '"e.store_latency_p50": 0.03, "e.store_latency_p99": 0.2, '
    path.write_text(path.read_text().replace('"t.data_time"', f'{store}"t.data_time"'))
    row = rows(make(tmp_path), "throughput")["mine"]
    assert (row["store_requests"], row["store_retries"], row["store_hedges"]) == (8, 1, 2)
    assert (row["store_bytes"], row["cache_bytes"]) == (900000, 100000)
    assert row["store_latency_p50_s"] == pytest.approx(0.03)
    assert row["store_latency_p99_s"] == pytest.approx(0.2)


@pytest.mark.parametrize("text", ["x", "0", "5+", "a=b", "1+-1", "="])
def test_bad_images_per_epoch(text: str) -> None:
    with pytest.raises(UsageError, match="images-per-epoch"):
        EpochImages.parse(text)


@pytest.mark.parametrize("text", ["", "=5", "0", "-3", "x="])
def test_bad_epoch_times(text: str) -> None:
    with pytest.raises(UsageError, match="epoch-time"):
        EpochTime.parse(text)


@pytest.mark.parametrize(
    "options",
    [{"drop_first": -1}, {"group_by": ("x",)}, {"targets_pct": (0.0,)}, {"budgets_h": (-1.0,)}],
)
def test_bad_options(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ReportConfig(**options)
    with pytest.raises(UsageError, match="no field"):
        Selection.parse("colour=red")


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_csv_and_json_keep_every_digit(values: list[float]) -> None:
    column = Column("v", "V", style=Style.NUMBER)
    table = Table("t", "T", (column,), tuple((v,) for v in values))
    read = list(csv.reader(io.StringIO(to_csv([table]))))
    assert [float(row[0]) for row in read[1:]] == values
    assert json.loads(json.dumps(table.records())) == [{"v": v} for v in values]


def test_values_of_a_log_come_out_to_the_last_digit(tmp_path: Path) -> None:
    digits = "44.36857525125193"
    path = write_training(tmp_path / "run" / "r.json")
    path.write_text(path.read_text().replace('"v.top1": 55.0', f'"v.top1": {digits}', 1))
    table = make(tmp_path).table("accuracy")
    assert table is not None
    assert digits in to_csv([table])


def test_order_does_not_depend_on_the_disk(logs: Path) -> None:
    first = to_csv(make(logs).tables)
    for folder in list(logs.iterdir()):
        folder.rename(logs / f"x-{folder.name}")
    for folder in sorted(logs.iterdir(), reverse=True):
        folder.rename(logs / folder.name.removeprefix("x-"))
    assert to_csv(make(logs).tables) == first


def test_text_formats_escape(tmp_path: Path) -> None:
    evil = Training(arch="a|b_c\\&%$#{}<i>~^`*")
    write_training(tmp_path / "run" / "r.json", evil)
    tables = make(tmp_path).tables
    tables = [table for table in tables if table.name == "overview"]
    markdown = to_markdown(tables)
    row = next(line for line in markdown.splitlines() if "run" in line and "complete" in line)
    assert "a\\|b\\_c" in row
    assert "&lt;i&gt;" in row
    latex = to_latex(tables)
    escaped = r"a\textbar{}b\_c\textbackslash{}\&\%\$\#\{\}\textless{}i\textgreater{}"
    escaped += r"\textasciitilde{}\textasciicircum{}{`}{*}"
    assert escaped in latex
    (record,) = list(csv.DictReader(io.StringIO(to_csv(tables))))
    assert record["arch"] == "a|b_c\\&%$#{}<i>~^`*"


def test_people_see_readable_numbers() -> None:
    assert [duration(s) for s in (0, 2e-6, 0.0035, 45.25, 600, 7200)] == [
        "0 s", "2.00 µs", "3.50 ms", "45.2 s", "10.0 min", "2.00 h",
    ]  # fmt: skip
    assert [size(b) for b in (5, 2048, 3 * 2**20, 2**41)] == [
        "5 B",
        "2.0 KiB",
        "3.0 MiB",
        "2.00 TiB",
    ]
    column = Column("s", "S", style=Style.SHARE)
    assert (column.heading, shown(0.1234, column), shown(None, column)) == ("S (%)", "12.3", "")
    assert sorted(["k10", "k2", "k"], key=natural_key) == ["k", "k2", "k10"]


def test_findings_compare_only_what_differs(logs: Path) -> None:
    write_training(logs / "again-hdd" / "r.json", Training(start=77.0))
    sentences = [t for t in make(logs, baseline="raw-hdd").findings if "times the rate of" in t]
    assert sorted(t.split()[0] for t in sentences) == ["jpeg10-hdd", "raw-ssd"]
    assert any("at the same top-1" in t for t in sentences if t.startswith("raw-ssd"))


def test_no_run_is_called_the_best_of_those_with_the_same_accuracy(logs: Path) -> None:
    (sentence,) = [t for t in make(logs).findings if "best top-1" in t]
    assert "raw-hdd" in sentence
    assert "raw-ssd" in sentence
    assert "jpeg10" not in sentence
    assert "have the same best top-1" in sentence


@pytest.mark.parametrize(
    ("loader", "scans", "variant", "dataset"),
    [
        ("pcr", 5, "pcr-5", "photos"),
        ("pcr-dali", "1@0,5@10", "pcr-1@0,5@10", "photos"),
        ("pcr", None, "pcr", "photos"),
        ("pytorch", None, "raw", "photos"),
        ("synthetic", None, "synthetic", "synthetic"),
    ],
)
def test_variants_of_our_own_trainings(
    tmp_path: Path, loader: str, scans: object, variant: str, dataset: str
) -> None:
    training = Training(loader=loader, data="/data/photos/train", params={"scans": scans})
    write_training(tmp_path / "run" / "r.json", training)
    row = rows(make(tmp_path), "overview")["run"]
    assert (row["variant"], row["dataset"]) == (variant, dataset)
