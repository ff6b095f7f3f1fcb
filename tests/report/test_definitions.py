"""What a report says of its figures: where they do not hold, they are not given."""

from pathlib import Path
from typing import Any

import pytest
from report_logs import Training, write_training

from dl2cli.errors import UsageError
from dl2cli.report.config import EpochImages, EpochTime, ReportConfig, Selection
from dl2cli.report.plots.figures import all_plots
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report


def make(root: Path, **options: Any) -> Report:
    return build_report(Finder([root]).load(), ReportConfig(**options))


def rows(result: Report, name: str) -> dict[str, dict[str, Any]]:
    table = result.table(name)
    assert table is not None
    return {str(record["run"]): record for record in table.records()}


@pytest.fixture
def regimen(tmp_path: Path) -> Path:
    """Two stages of two epochs; the second begins at 50 % top-1."""
    first = Training(data="data-hdd/imagenet/jpeg-10/", epochs=2, top1=40.0)
    second = Training(first_epoch=2, epochs=2, top1=50.0, start=5e9)
    write_training(tmp_path / "r" / "experiment_report_stage_0.json", first)
    write_training(tmp_path / "r" / "experiment_report_stage_1.json", second)
    return tmp_path


def test_a_stage_does_not_know_when_its_training_began(regimen: Path) -> None:
    options = {"targets_pct": (50.0,), "budgets_h": (1.0,)}
    result = make(regimen, **options)
    accuracy, budget = rows(result, "accuracy"), rows(result, "budget")
    whole, first, second = "r", "r/stage_0", "r/stage_1"
    assert accuracy[whole]["time_to_50_pct_s"] > 100
    assert accuracy[first]["time_to_50_pct_s"] is None, "it never gets there"
    assert accuracy[second]["time_to_50_pct_s"] is None, "what came before counts, too"
    assert accuracy[second]["clock"] == "unknown before epoch 3"
    assert budget[whole]["best_top1_pct"] == 55.0
    assert budget[second]["best_top1_pct"] is None
    borrowed = make(regimen, **options, epoch_times=(EpochTime.parse("60"),))
    assert rows(borrowed, "accuracy")[second]["time_to_50_pct_s"] == 180.0


def test_a_training_without_a_beginning_is_in_no_plot_over_time(tmp_path: Path) -> None:
    write_training(tmp_path / "late" / "r.json", Training(first_epoch=3, epochs=2))
    names = [plot.name for plot in all_plots(make(tmp_path))]
    assert "accuracy-over-epochs-resnet50-imagenet" in names
    assert "accuracy-over-time-resnet50-imagenet" not in names


@pytest.mark.parametrize(
    ("drop_first", "words"),
    [
        (0, "Means are over all epochs"),
        (1, "Means leave out the first epoch of each file"),
        (2, "Means leave out the first 2 epochs of each file"),
    ],
)
def test_the_throughput_says_what_its_means_are_over(
    tmp_path: Path, drop_first: int, words: str
) -> None:
    write_training(tmp_path / "a" / "r.json")
    table = make(tmp_path, drop_first=drop_first).table("throughput")
    assert table is not None
    assert table.about.startswith(words)


def test_a_name_with_brackets_names_itself(tmp_path: Path) -> None:
    name = "sizes=[32,64]"
    write_training(tmp_path / name / "r.json", Training(data="data-hdd/imagenet/jpeg-10/"))
    write_training(tmp_path / "raw" / "r.json", Training(start=5.0))
    result = make(
        tmp_path,
        select=(Selection.parse(f"run={name}"), Selection.parse("run=raw")),
        baseline=name,
        images=(EpochImages.parse(f"{name}=500+20"),),
        epoch_times=(EpochTime("raw", None, name),),
    )
    throughput = rows(result, "throughput")
    assert throughput.keys() == {name, "raw"}
    assert throughput["raw"]["baseline"] == name
    assert throughput[name]["images_train"] == 500
    assert result.clocks["raw"].source == f"epoch time of {name}"
    with pytest.raises(UsageError, match="write run=sizes="):
        Selection.parse(name)


def test_synthetic_data_that_is_slower_bounds_nothing(tmp_path: Path) -> None:
    synthetic = Training(
        data="no/real/dataset",
        loader="synthetic",
        compute_s=0.2,
        data_s=0.0,
        params={"synth_train_samples": 1_281_167, "synth_val_samples": 50_000},
    )
    write_training(tmp_path / "synth" / "r.json", synthetic)
    write_training(tmp_path / "raw" / "r.json", Training(start=5.0))
    sentence = next(s for s in make(tmp_path).findings if "synthetic" in s)
    assert "no loader can beat" not in sentence
    assert "differ in more than their data" in sentence
