"""Training logs, whole and in every way damaged."""

import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_logs import Training, training_lines, write_text, write_training

from dl2cli.report.model import Corpus, Setup, Severity, Status, TrainingRun
from dl2cli.report.read.discover import Finder


def load(root: Path) -> Corpus:
    return Finder([root]).load()


def only_run(root: Path) -> TrainingRun:
    (run,) = load(root).runs
    assert isinstance(run, TrainingRun)
    return run


def codes(run: TrainingRun, *levels: Severity) -> set[str]:
    return {note.code for note in run.notes if not levels or note.severity in levels}


def damage(tmp_path: Path, text: str) -> TrainingRun:
    write_text(tmp_path / "x" / "run-raw-hdd" / "experiment_report.json", text)
    return only_run(tmp_path)


def test_a_whole_log_is_read_without_a_complaint(tmp_path: Path) -> None:
    training = Training(name="run-raw-hdd")
    run = damage(tmp_path, "".join(training_lines(training)))
    assert (run.source.run, run.source.group) == ("x/run-raw-hdd", "x")
    assert run.status is Status.COMPLETE
    assert run.notes == ()
    assert [epoch.index for epoch in run.epochs] == [0, 1, 2, 3]
    assert [epoch.total_s for epoch in run.epochs] == [training.epoch_s(i) for i in range(4)]
    assert [epoch.v_top1_pct for epoch in run.epochs] == [40, 45, 50, 55]
    assert len(run.steps) == 8
    assert run.lines == 1 + 4 + 8 * 2 + 4 * 3 + 2
    assert run.setup.storage == "hdd"
    assert run.summary["v.top1"] == 55


def test_a_missing_summary_is_a_warning_but_no_damage(tmp_path: Path) -> None:
    run = damage(tmp_path, "".join(training_lines(Training())[:-2]))
    assert run.status is Status.NO_SUMMARY
    assert "no summary" in codes(run, Severity.WARNING)
    assert not codes(run, Severity.ERROR)
    assert len(run.epochs) == 4


def test_half_of_the_summary_is_a_cut(tmp_path: Path) -> None:
    run = damage(tmp_path, "".join(training_lines(Training())[:-1]))
    assert run.status is Status.CUT
    assert "cut" in codes(run, Severity.ERROR)


def test_a_cut_in_the_middle_of_a_line(tmp_path: Path) -> None:
    lines = training_lines(Training())
    run = damage(tmp_path, "".join(lines[:-4]) + lines[-4][:100])
    assert run.status is Status.CUT
    assert "cut" in codes(run, Severity.ERROR)
    assert [e.total_s is None for e in run.epochs] == [False, False, False, True]


@pytest.mark.parametrize("kept", [1, 2])
def test_a_cut_inside_the_three_records_of_an_epoch(tmp_path: Path, kept: int) -> None:
    lines = training_lines(Training())
    run = damage(tmp_path, "".join(lines[: -5 + kept]))
    assert run.status is Status.CUT
    assert "incomplete epoch" in codes(run, Severity.ERROR)
    assert run.epochs[-1].total_s is None
    assert run.epochs[-1].v_top1_pct == 55, "what is known is shown"


def test_other_text_blank_lines_and_crlf_do_no_harm(tmp_path: Path) -> None:
    whole = training_lines(Training())
    mixed = ["Epoch 1:  3%|#    | it/s\r\n", "\n"]
    for line in whole:
        mixed += [line.replace("\n", "\r\n"), "\r\n", "WARNING: a library speaks\n"]
    run = damage(tmp_path / "a", "".join(mixed))
    clean = damage(tmp_path / "b", "".join(whole))
    assert (run.epochs, run.steps, run.summary) == (clean.epochs, clean.steps, clean.summary)
    assert run.status is Status.COMPLETE
    assert codes(run) >= {"other text", "crlf"}


def test_text_before_a_record_on_its_line(tmp_path: Path) -> None:
    lines = training_lines(Training())
    lines[5] = " 50%|#####" + lines[5]
    lines[8] = lines[8][:60] + lines[8]  # a torn record, and the next one after it
    run = damage(tmp_path, "".join(lines))
    clean = damage(tmp_path / "clean", "".join(training_lines(Training())))
    assert run.steps == clean.steps
    assert run.status is Status.COMPLETE
    assert any("passed over: 2" in note.text for note in run.notes)


def test_two_sessions_in_one_file_are_two_runs(tmp_path: Path) -> None:
    first = training_lines(Training(epochs=2))[:-2]
    second = training_lines(Training(epochs=3, start=1_700_000_000.5))
    write_text(tmp_path / "x" / "run" / "log.json", "".join(first + second))
    corpus = load(tmp_path)
    assert [run.source.run for run in corpus.runs] == ["x/run#1", "x/run#2"]
    assert [len(run.epochs) for run in corpus.runs] == [2, 3]
    assert [run.status for run in corpus.runs] == [Status.NO_SUMMARY, Status.COMPLETE]
    assert any(n.code == "several sessions" and n.severity is Severity.ERROR for n in corpus.notes)


def test_very_many_sessions_end_somewhere(tmp_path: Path) -> None:
    sessions = [training_lines(Training(epochs=1, start=float(i + 1))) for i in range(120)]
    write_text(tmp_path / "run" / "r.json", "".join(line for lines in sessions for line in lines))
    runs = load(tmp_path).runs
    assert len(runs) == 100
    assert {len(run.epochs) for run in runs if isinstance(run, TrainingRun)} == {1}
    assert "too many" in {note.code for note in runs[-1].notes}


def test_nulls_nan_and_infinity(tmp_path: Path) -> None:
    text = "".join(training_lines(Training()))
    text = text.replace('"v.loss": 1.5', '"v.loss": NaN', 1)
    text = text.replace('"v.loss": 1.5', '"v.loss": -Infinity', 1)
    text = text.replace('"v.top1": 50.0', '"v.top1": null', 1)
    run = damage(tmp_path, text)
    assert run.nonfinite == 2
    assert math.isnan(run.epochs[0].v_loss or 0)
    assert run.epochs[2].v_top1_pct is None
    assert codes(run, Severity.WARNING) == {"nonfinite", "nulls"}
    assert run.status is Status.COMPLETE


def test_parameters_only(tmp_path: Path) -> None:
    run = damage(tmp_path, "".join(training_lines(Training())[:5]))
    assert run.status is Status.PARAMETERS_ONLY
    assert run.setup.arch == "resnet50"
    assert "no epoch" in codes(run, Severity.WARNING)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "run" / "experiment_report.json", "")
    write_text(tmp_path / "run" / "lock", "")
    corpus = load(tmp_path)
    assert corpus.runs == ()
    assert [(n.code, n.severity) for n in corpus.notes] == [("empty", Severity.ERROR)]
    assert corpus.files_ignored == 1


def test_a_log_without_parameters(tmp_path: Path) -> None:
    run = damage(tmp_path, "".join(training_lines(Training())[1:]))
    assert len(run.epochs) == 4
    assert "no parameters" in codes(run, Severity.ERROR)


def test_gaps_and_repeated_epochs_are_told(tmp_path: Path) -> None:
    lines = training_lines(Training())
    one = [line for line in lines if '"step": ["E", 1]' in line]
    three = [line for line in lines if '"step": ["E", 3]' in line]
    kept = [line for line in lines if '"step": ["E", 2]' not in line]
    run = damage(tmp_path, "".join([*kept[:-2], *one, *three, *kept[-2:]]))
    assert [e.index for e in run.epochs] == [0, 1, 3]
    assert codes(run, Severity.WARNING) >= {"repeated epochs", "missing epochs", "clock"}


def test_a_changed_clock_is_told(tmp_path: Path) -> None:
    text = "".join(training_lines(Training()))
    record = next(line for line in text.splitlines() if '["E", 2]' in line)
    parsed = json.loads(record[5:])
    hour = int(parsed["datetime"][11:13])
    moved = parsed["datetime"][:11] + f"{hour + 1:02d}" + parsed["datetime"][13:]
    run = damage(tmp_path, text.replace(parsed["datetime"], moved, 1))
    assert "clock" in codes(run, Severity.WARNING)


def test_dates_without_a_fraction_and_times_as_text(tmp_path: Path) -> None:
    start = 1_631_603_123.0
    run = damage(tmp_path, "".join(training_lines(Training(start=start))).replace(".000016", "", 2))
    assert run.start == "2021-09-14 09:05:23"
    assert run.utc_offset_s == 7200
    assert run.start_unix_s == start


def test_a_gzip_copy_reads_the_same_and_a_cut_one_keeps_what_it_has(tmp_path: Path) -> None:
    text = "".join(training_lines(Training(epochs=90))).encode()
    packed = gzip.compress(text)
    (tmp_path / "a" / "run").mkdir(parents=True)
    (tmp_path / "a" / "run" / "log.json.gz").write_bytes(packed)
    whole = only_run(tmp_path / "a")
    assert (whole.status, len(whole.epochs)) == (Status.COMPLETE, 90)
    (tmp_path / "b" / "run").mkdir(parents=True)
    (tmp_path / "b" / "run" / "log.json.gz").write_bytes(packed[: len(packed) // 2])
    cut = only_run(tmp_path / "b")
    assert cut.status is Status.CUT
    assert 0 < len(cut.epochs) < 90
    assert "unreadable" in codes(cut, Severity.ERROR)


def test_values_of_wrong_types_are_left_out(tmp_path: Path) -> None:
    lines = training_lines(Training(params={"arch": {"a": 1}, "workers": True, "data": 5}))
    lines.insert(6, 'DLLL {"type": "LOG", "step": ["E", 1e99], "data": {}}\n')
    lines.insert(6, 'DLLL {"type": "LOG", "step": "E", "data": {}}\n')
    lines.insert(6, 'DLLL {"type": "LOG", "step": ["E", true], "data": {"v.top1": 1}}\n')
    lines.insert(6, 'DLLL {"type": "LOG", "step": ["E", 0], "data": [1]}\n')
    lines.insert(6, 'DLLL {"a": ' + "[" * 100_000 + "\n")
    lines.insert(6, 'DLLL {"a": ' + "9" * 10_000 + "}\n")
    run = damage(tmp_path, "".join(lines))
    assert (run.setup.arch, run.setup.workers, run.setup.data_path) == (None, None, None)
    assert len(run.epochs) == 4
    assert "damaged" in codes(run, Severity.ERROR)


def test_control_characters_do_not_reach_a_terminal(tmp_path: Path) -> None:
    run = damage(tmp_path, "".join(training_lines(Training(arch="\x1b[2Jres\u202enet\x00"))))
    assert run.setup.arch == "\\x1b[2Jres\\u202enet\\x00"


def test_copies_are_found_and_the_most_complete_counts(tmp_path: Path) -> None:
    lines = training_lines(Training())
    write_text(tmp_path / "a" / "run" / "r.json", "".join(lines[:-8]))
    write_text(tmp_path / "b" / "run" / "r.json", "".join(lines))
    write_training(tmp_path / "c" / "run" / "r.json", Training(start=1.0))
    runs = load(tmp_path).runs
    assert [run.duplicate_of for run in runs] == ["b/run", None, None]
    assert "duplicate" in {note.code for note in runs[0].notes}


def test_the_directory_and_the_path_are_both_kept(tmp_path: Path) -> None:
    training = Training(data="data-sas/imagenet/jpeg-05", name="other")
    write_training(tmp_path / "acc-inet-r50-jpeg05-mem" / "experiment_report.json", training)
    run = only_run(tmp_path)
    setup = run.setup
    assert (setup.storage, setup.storage_path) == ("mem", "sas")
    assert (setup.variant, setup.codec, setup.quality) == ("jpeg-05", "jpeg", "05")
    assert codes(run) == {"name mismatch", "storage differs"}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_ever_raises(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = bytearray("".join(training_lines(Training(epochs=2, iterations=100))).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text) - 1))
        if data.draw(st.booleans()):
            text[at] = data.draw(st.integers(0, 255))
        else:
            del text[at : at + data.draw(st.integers(1, 400))]
        if not text:
            text = bytearray(b"D")
    path = tmp_path_factory.mktemp("fuzz") / "run" / "r.json"
    path.parent.mkdir()
    path.write_bytes(bytes(text))
    corpus = load(path.parent.parent)
    for run in corpus.runs:
        assert isinstance(run, TrainingRun)
        assert len(run.epochs) <= 4


@pytest.mark.parametrize(
    ("device", "world_size", "words"),
    [
        (None, None, "1 GPU"),
        (None, 3, "3 GPUs"),
        ("cuda:0", 1, "1 GPU"),
        ("cpu", 1, "CPU"),
        ("cpu", 2, "2 CPU processes"),
    ],
)
def test_what_computed_is_said_as_it_is(device: str | None, world_size: int | None, words: str):
    assert Setup(device=device, world_size=world_size).ranks == words
