"""The formats that are one document, the disk's statistics, and what is no log at all."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from report_logs import BENCH, Training, iostat_document, write_json, write_text, write_training

from dl2cli.dataset.naming import parse_data_path
from dl2cli.errors import UsageError
from dl2cli.report.config import ReportConfig
from dl2cli.report.model import BenchIoRun, CodecRun, Corpus, RegimenRun, Severity, Status
from dl2cli.report.read.discover import Finder
from dl2cli.report.read.naming import parse_codec_directory, storage_label
from dl2cli.report.report import Report, build_report


def load(*roots: Path) -> Corpus:
    return Finder(list(roots)).load()


def report(root: Path, **options: Any) -> Report:
    return build_report(load(root), ReportConfig(**options))


def rows(result: Report, name: str) -> list[dict[str, Any]]:
    table = result.table(name)
    return table.records() if table else []


@pytest.mark.parametrize(
    ("path", "dataset", "variant", "fraction", "storage"),
    [
        ("data-ssd/imagenet/raw/", "imagenet", "raw", 1.0, "ssd"),
        ("data-hdd/places365/jpeg-05", "places365", "jpeg-05", 1.0, "hdd"),
        ("data-sas/imagenet/raw-50/", "imagenet", "raw-50", 0.5, "sas"),
        ("data-sas/imagenet-5/mbt2018_mean-mse-1", "imagenet-5", "mbt2018_mean-mse-1", 1.0, "sas"),
        ("no/real/dataset", "synthetic", "synthetic", 1.0, "synth"),
        ("/home/me/photos/train/", "photos", None, None, None),
        ("", None, None, None, None),
    ],
)  # fmt: skip
def test_data_paths(
    path: str, dataset: str | None, variant: str | None, fraction: float | None, storage: str | None
) -> None:
    found = parse_data_path(path)
    assert (found.dataset, found.storage) == (dataset, storage)
    assert (found.variant.name if found.variant else None) == variant
    assert (found.variant.subset_frac if found.variant else None) == fraction


def test_directory_names() -> None:
    assert storage_label("h3/inet-r50-10:45_raw:45-mem") == "mem"
    assert storage_label("misc/io-160G-dali") is None
    found = parse_codec_directory("h5/enc-dl-mbt2018_mean-mse-4")
    assert found is not None
    assert (found.encodes, found.method, found.variant.codec) == (
        True,
        "dataloader",
        "mbt2018_mean",
    )
    assert found.variant.name == "mbt2018_mean-mse-4"


def test_codecs(tmp_path: Path) -> None:
    encode = {"dataset": "data-sas/imagenet-5/raw", "total_time": 2.0,
              "enc_times": [0.5, 1.5], "bpp": [0.25, 0.75]}  # fmt: skip
    write_json(tmp_path / "enc-mp-jpeg-10" / "experiment_report.json", encode)
    batches = {"dataset": "data-sas/imagenet-5/raw", "total_time": 100.0, "batch_times": [30, 60.0]}
    write_json(tmp_path / "enc-dl-lossyless-0.1" / "experiment_report.json", batches)
    write_json(tmp_path / "enc-dl-lossyless-0.1" / "full_dataset.json", batches | {"total_time": 7})
    found = rows(report(tmp_path), "codecs")
    assert [r["run"] for r in found] == [
        "enc-dl-lossyless-0.1/experiment_report",
        "enc-dl-lossyless-0.1/full_dataset",
        "enc-mp-jpeg-10",
    ]
    assert [r["device"] for r in found] == ["cuda", "cuda", "cpu"]
    assert found[0]["rate_total_img_s"] == 67.5
    assert found[0]["rate_times_img_s"] == 75.0
    assert found[2]["bpp_mean"] == 0.5
    assert (found[2]["time_p50_s"], found[2]["time_p99_s"]) == (0.5, 1.5)


def test_standalone(tmp_path: Path) -> None:
    waits = [[0.5] * 5005, [0.25] * 5005, [0.75] * 5005]
    document = {"data_times": waits, "epoch_times": [3000.0, 1000.0, 2000.0], "total_time": 6000.5}
    write_json(tmp_path / "standalone-jpeg10-ssd-dalic" / "experiment_report.json", document)
    (row,) = rows(report(tmp_path), "throughput")
    assert row["epoch_first_s"] == 3000.0
    assert row["rate_epoch_img_s"] == 1_281_167 / 1500
    assert row["rate_train_img_s"] == 256 / 0.5
    (seen,) = rows(report(tmp_path), "overview")
    assert (seen["variant"], seen["storage"], seen["loader"]) == ("jpeg-10", "ssd", "dali-cpu")


def test_bad_numbers_in_a_document_are_counted(tmp_path: Path) -> None:
    text = '{"dataset": "d/x", "total_time": Infinity, "dec_times": [0.5, NaN, null, "a", 1]}'
    write_text(tmp_path / "dec-dl-webp-10" / "r.json", text)
    (run,) = load(tmp_path).runs
    assert isinstance(run, CodecRun)
    assert run.times_s == (0.5, 1.0)
    assert run.status is Status.NO_SUMMARY
    assert any("numbers: 4." in note.text for note in run.notes)


def regimen(root: Path, *, journal: bool = True) -> Path:
    folder = root / "inet-r50-10:2_raw:3-mem"
    one = Training(data="data-sas/imagenet/jpeg-10", epochs=2)
    two = Training(epochs=3, first_epoch=2, start=one.start + 500, data="data-sas/imagenet/raw")
    write_training(folder / "experiment_report_stage_0.json", one)
    write_training(folder / "experiment_report_stage_1.json", two)
    stage = {"time": 150.25, "epochs": 2, "dataset": "data-sas/imagenet/jpeg-10"}
    if journal:
        document = {"stage_0": stage, "stage_1": {**stage, "time": 160.5}, "total_time": 311.125}
        write_json(folder / "regimen_log.json", document)
    return folder


def test_a_regimen_is_merged(tmp_path: Path) -> None:
    regimen(tmp_path)
    result = report(tmp_path, targets_pct=(45.0, 50.0))
    run = result.entries[0].run
    assert isinstance(run, RegimenRun)
    assert [e.name for e in result.compared] == ["inet-r50-10:2_raw:3-mem"]
    row = rows(result, "accuracy")[0]
    assert (row["best_top1_pct"], row["best_top1_epoch"]) == (50.0, 5)
    assert rows(result, "overview")[0]["total_s"] == 311.125
    # Stage 1 begins when the journal says that stage 0 had ended.
    assert row["time_to_50_pct_s"] == pytest.approx(150.25 + run.stages[1].epochs[-1].end_s)
    assert rows(result, "regimens")[1]["first_epoch"] == 3


def test_a_regimen_without_its_journal(tmp_path: Path) -> None:
    regimen(tmp_path, journal=False)
    result = report(tmp_path)
    run = result.entries[0].run
    assert isinstance(run, RegimenRun)
    assert run.total_s == sum(stage.total_s or 0 for stage in run.stages)
    assert "no regimen log" in {note.code for note in run.notes}


def test_a_regimen_with_a_missing_stage(tmp_path: Path) -> None:
    (regimen(tmp_path) / "experiment_report_stage_0.json").unlink()
    (note,) = (n for n in load(tmp_path).notes if n.code == "missing stage")
    assert note.severity is Severity.ERROR


def test_disk_reads_are_joined_to_epochs_by_the_local_clock(tmp_path: Path) -> None:
    training = Training(epochs=3, compute_s=0.17)
    write_training(tmp_path / "io" / "experiment_report.json", training)
    write_json(tmp_path / "io" / "iostat.json", iostat_document(training))
    memory = "MemTotal:  64 kB\nCached:   32 kB\nHugePages_Free:   0\nActive(anon):  1 kB\n"
    write_text(tmp_path / "io" / "meminfo.txt", memory)
    (disk,) = report(tmp_path).disks
    assert (disk.run, disk.devices, disk.page_cache_bytes) == ("io", "sda4", 32 * 1024)
    mib = 1024 * 1024
    for index, read in enumerate(disk.epoch_read_bytes):
        assert read / mib == pytest.approx(training.epoch_s(index), abs=1.01)
    assert disk.iowait_mean_pct == 0.5
    assert disk.read_max_bytes_s == mib


def test_an_iostat_that_was_killed_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    text = json.dumps(iostat_document(Training()))
    write_text(tmp_path / "io" / "iostat.json", text[: len(text) // 2])
    corpus = load(tmp_path)
    assert 20 < len(corpus.traces[0].samples) < 100
    assert [n.code for n in corpus.notes] == ["cut"]


def test_bench_io(tmp_path: Path) -> None:
    write_json(tmp_path / "bench.json", BENCH)
    result = report(tmp_path, baseline="*originals")
    second, first = (entry.run for entry in result.entries)
    assert isinstance(first, BenchIoRun)
    assert isinstance(second, BenchIoRun)
    assert [first.setup.variant, second.setup.variant] == ["pcr-5", "raw"]
    row = rows(result, "throughput")[1]
    assert row["rate_train_img_s"] == 812.5
    assert row["speedup"] == 2.0
    assert row["stall_frac"] == pytest.approx(0.5)
    assert any("80 % of that for storage" in text for text in result.findings)


def test_a_damaged_bench_file_is_told(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {**BENCH, "schema_version": 9, "runs": [1, {"name": 5}]})
    corpus = load(tmp_path)
    assert {n.code for n in corpus.notes} == {"version", "damaged"}
    assert corpus.runs[0].status is Status.NO_SUMMARY


def test_foreign_files_are_passed_over_and_broken_ones_named(tmp_path: Path) -> None:
    write_training(tmp_path / "run" / "log.json")
    write_json(tmp_path / "package.json", {"name": "x"})
    write_json(tmp_path / "list.json", [1, 2])
    write_text(tmp_path / "notes.txt", "hello")
    (tmp_path / "checkpoint.pth.tar").write_bytes(bytes(range(256)) * 100)
    write_text(tmp_path / "torn.json", '{"data_times": [[1, 2')
    write_text(tmp_path / "deep.json", '{"a": ' + "[" * 200_000)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    corpus = load(tmp_path)
    assert [run.source.run for run in corpus.runs] == ["run"]
    errors = {note.file for note in corpus.notes if note.severity is Severity.ERROR}
    assert {Path(name).name for name in errors} == {"torn.json", "deep.json", "pipe.json"}
    assert corpus.files_ignored == 4


def test_quality_lists_become_histograms(tmp_path: Path) -> None:
    lines = "file,quality,size,mode\na,95,1,RGB\nb,95,2,RGB\nc,80,3,L\nd,,4,L\ne,x,5,L\n"
    write_text(tmp_path / "q.csv", lines)
    (found,) = load(tmp_path).qualities
    assert found.counts == {80: 1, 95: 2}
    assert len(found.notes) == 1


def test_roots_that_do_not_exist_or_meet(tmp_path: Path) -> None:
    write_training(tmp_path / "a" / "run" / "log.json")
    with pytest.raises(UsageError, match="does not exist"):
        load(tmp_path / "absent")
    twice = load(tmp_path, tmp_path / "a", tmp_path / "a" / "run" / "log.json")
    assert len(twice.runs) == 1, "one file is read once"


def test_two_roots_keep_their_names_apart(tmp_path: Path) -> None:
    write_training(tmp_path / "old" / "run" / "log.json")
    write_training(tmp_path / "new" / "run" / "log.json", Training(start=1.0))
    names = [r.source.run for r in load(tmp_path / "old", tmp_path / "new").runs]
    assert names == ["new/run", "old/run"]


def test_a_log_in_the_folder_itself_is_named_by_the_folder(tmp_path: Path) -> None:
    write_training(tmp_path / "alex-raw-hdd" / "experiment_report.json")
    (run,) = load(tmp_path / "alex-raw-hdd").runs
    assert run.source.run == "alex-raw-hdd"
    assert run.setup.storage == "hdd"


def test_names_stay_unique(tmp_path: Path) -> None:
    write_training(tmp_path / "run" / "r.json")
    write_training(tmp_path / "run" / "r.log", Training(start=2.0))
    twice = {**BENCH, "runs": [BENCH["runs"][0], BENCH["runs"][0]]}
    write_json(tmp_path / "bench" / "b.json", twice)
    names = [run.source.run for run in load(tmp_path).runs]
    assert names == ["b: pcr k=5", "b: pcr k=5 (2)", "run/r", "run/r (2)"]


def test_a_lonely_stage_and_its_journal_keep_their_names_apart(tmp_path: Path) -> None:
    (regimen(tmp_path) / "experiment_report_stage_1.json").unlink()
    result = report(tmp_path)
    assert [e.name for e in result.entries] == [
        "inet-r50-10:2_raw:3-mem",
        "inet-r50-10:2_raw:3-mem/stage_0",
    ]
    assert len(result.compared) == 1


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/run-\xff\x1b[2J"
    os.mkdir(folder)  # noqa: PTH102 - the name is bytes
    write_training(Path(os.fsdecode(folder)) / "r.json")
    (run,) = load(tmp_path).runs
    assert run.source.run == "run-\\udcff\\x1b[2J"


def test_deeply_nested_parameters_are_no_trap(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(850):
        deep = [deep]
    write_training(tmp_path / "a" / "r.json", Training(params={"deep": deep}))
    write_training(tmp_path / "b" / "r.json", Training(start=1.0))
    assert report(tmp_path).table("parameters") is not None
