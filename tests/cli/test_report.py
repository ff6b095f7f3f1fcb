"""`dl2 report` as a user runs it."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "report"))
from report_logs import Training, training_lines, write_json, write_text, write_training

from dl2cli.errors import ExitCode

_BLOCK = (
    "import sys; sys.modules['matplotlib'] = None; sys.modules['jinja2'] = None;"
    "from dl2cli.cli.main import main; main()"
)


def dl2(*args: object, code: int = 0, columns: int = 120) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "COLUMNS": str(columns), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "dl2cli", "report", *map(str, args)],
        capture_output=True, text=True, env=env, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    root = tmp_path / "logs"
    write_training(root / "raw-hdd" / "r.json", Training(data_s=0.13))
    packed = Training(data="data-hdd/imagenet/jpeg-10", start=5.0, top1=38.0)
    write_training(root / "jpeg10-hdd" / "r.json", packed)
    return root


@pytest.mark.parametrize("columns", [80, 120])
def test_tables_fit_the_terminal(logs: Path, columns: int) -> None:
    out = dl2(logs, columns=columns).stdout
    assert max(len(line) for line in out.splitlines()) <= columns
    for word in ("Throughput", "Accuracy", "raw-hdd", "jpeg10-hdd", "bound by its data path"):
        assert word in out


def test_short_names_leave_the_words_of_other_columns_whole(tmp_path: Path) -> None:
    for index in range(3):
        packed = Training(data="data-hdd/imagenet/jpeg-10", start=float(index))
        write_training(tmp_path / str(index) / "r.json", packed)
    for columns in range(76, 100, 3):
        out = dl2(tmp_path, "--table", "overview", columns=columns).stdout
        rows = [line for line in out.splitlines() if line.strip()[:2] in ("0 ", "1 ", "2 ")]
        assert len(rows) == 3
        for row in rows:
            words = row.split()
            whole = {"train", "complete", "resnet50", "imagenet", "jpeg-10"}
            assert whole >= set(words[1:4]), columns


def test_a_narrow_terminal_folds_no_numbers(logs: Path) -> None:
    tables = json.loads(dl2(logs, "--json").stdout)["tables"]
    out = dl2(logs, "--table", "throughput", columns=40).stdout
    assert max(len(line) for line in out.splitlines()) <= 40
    for row in tables["throughput"]:
        assert f" {row['rate_epoch_img_s']:.1f}" in out
    assert "Too wide to show" in " ".join(out.split())


def test_json_is_strict_and_complete(logs: Path) -> None:
    path = logs / "raw-hdd" / "r.json"
    path.write_text(path.read_text().replace('"t.loss": 3.25', '"t.loss": NaN'))

    def refuse(token: str) -> None:
        raise AssertionError(token)

    for option in (["--json"], ["--format", "json"]):
        done = dl2(logs, *option)
        document = json.loads(done.stdout, parse_constant=refuse)
        assert document["schema_version"] == 1
        assert document["findings"]
        (row,) = [r for r in document["tables"]["accuracy"] if r["run"] == "raw-hdd"]
        assert row["final_train_loss"] is None
        assert row["best_top1_pct"] == 55.0


def test_one_table_as_csv_is_plain_csv(logs: Path) -> None:
    out = dl2(logs, "-f", "csv", "--table", "throughput", "--sort", "-speedup").stdout
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["run"] for row in rows] == ["jpeg10-hdd", "raw-hdd"]
    assert float(rows[0]["speedup"]) > 1.5


def test_markdown_and_latex(logs: Path) -> None:
    assert "| Run | " in dl2(logs, "--format", "markdown").stdout
    assert r"\toprule" in dl2(logs, "--format", "latex").stdout


def test_the_options_reach_the_report(logs: Path) -> None:
    out = dl2(
        logs, "--select", "variant=raw", "--target", 45, "--budget", 0.5, "--epoch-time", 600,
        "--group-by", "storage,workers", "--drop-first", 2, "--images-per-epoch", "1000+10",
        "--baseline", "hdd", "--json",
    ).stdout  # fmt: skip
    tables = json.loads(out)["tables"]
    assert [r["run"] for r in tables["overview"]] == ["raw-hdd"]
    assert tables["accuracy"][0]["time_to_45_pct_s"] == 1200.0
    assert tables["budget"][0]["epoch"] == 3
    assert tables["groups"][0]["workers"] == 16
    assert tables["throughput"][0]["images_train"] == 1000


def test_damage_is_shown_and_told_by_the_exit_code(logs: Path) -> None:
    lines = training_lines(Training(start=9.0))
    write_text(logs / "cut" / "r.json", "".join(lines[:-4]) + lines[-4][:80])
    write_text(logs / "empty" / "r.json", "")
    done = dl2(logs, code=ExitCode.BAD_DATA)
    assert "cut" in done.stdout
    assert "raw-hdd" in done.stdout, "the rest goes on"
    assert "2 files cannot be read in full" in done.stderr
    (logs / "empty" / "r.json").unlink()
    assert "1 file cannot be read in full" in dl2(logs, code=ExitCode.BAD_DATA).stderr
    assert "Traceback" not in done.stderr


def test_a_training_that_goes_on_is_no_damage(logs: Path) -> None:
    lines = training_lines(Training(start=9.0))
    write_text(logs / "going" / "r.json", "".join(lines[:-2]))
    assert "no summary" in dl2(logs).stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["/absent/logs"], "/absent/logs does not exist"),
        (["{logs}", "--select", "colour=red"], "there is no field 'colour'"),
        (["{logs}", "--table", "speed"], "or warnings, not 'speed'"),
        (["{logs}", "--sort", "speed"], "no table here has a column 'speed'"),
        (["{logs}", "--epoch-time", "absent*"], "absent*"),
        (["{logs}", "--drop-first", "-1"], "cannot be below 0"),
        (["{logs}", "--table", "budget"], "--budget HOURS"),
        (["{logs}", "--table", "groups"], "--group-by FIELD"),
        (["{logs}", "--json", "--format", "latex"], "choose one"),
        (["{logs}", "--plot-format", "png"], "--plots DIR"),
        (["{logs}", "--interval", "5"], "--watch"),
    ],
)
def test_wrong_usage_is_one_sentence(logs: Path, args: list[str], words: str) -> None:
    done = dl2(*(arg.format(logs=logs) for arg in args), code=ExitCode.USAGE)
    assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("option", "value", "names"),
    [
        ("--baseline", "absent", ("hdd", "*jpeg*")),
        ("--images-per-epoch", "absent=1000", ("raw-hdd", "imagenet")),
        ("--epoch-time", "absent=60", ("raw-hdd", "*")),
    ],
)
def test_an_option_about_runs_that_are_not_here_is_no_secret(
    logs: Path, option: str, value: str, names: tuple[str, ...]
) -> None:
    done = dl2(logs, option, value, "--json")
    (warning,) = [
        row
        for row in json.loads(done.stdout)["tables"]["warnings"]
        if row["code"] == "unused option"
    ]
    assert warning["level"] == "warning"
    assert f"{option} names absent" in warning["text"]
    for known in names:
        used = value.replace("absent", known)
        assert "unused option" not in dl2(logs, option, used, "--json").stdout


def test_a_table_that_has_nothing_to_show_is_told_of(logs: Path) -> None:
    done = dl2(logs, "--table", "codecs", "--table", "accuracy")
    assert "Nothing to show in the table codecs." in done.stderr
    assert "Accuracy" in done.stdout


def test_a_field_that_is_named_twice_groups_once(logs: Path) -> None:
    out = dl2(logs, "--group-by", "arch,arch", "-f", "csv", "--table", "groups").stdout
    assert out.splitlines()[0].startswith("arch,runs,")


def test_one_remark_and_one_file_are_one(tmp_path: Path) -> None:
    write_training(tmp_path / "raw" / "r.json", Training(name="raw"))
    write_text(tmp_path / "notes.txt", "hello")
    out = dl2(tmp_path).stdout
    assert "There is 1 remark more: --table warnings." in out
    assert "1 other file is not a run log." in out


def test_a_folder_without_logs(tmp_path: Path) -> None:
    done = dl2(tmp_path, code=ExitCode.BAD_DATA)
    assert "No run log was found" in done.stderr


def test_plots_and_page(logs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    page, plots = tmp_path / "out" / "report.html", tmp_path / "plots"
    done = dl2(logs, "--html", page, "--plots", plots, "--plot-format", "png", "--json")
    json.loads(done.stdout)
    assert page.read_text().startswith("<!doctype html>")
    assert {path.suffix for path in plots.iterdir() if path.suffix} == {".png"}
    assert "Page written" in done.stderr


def test_tables_need_no_matplotlib_and_plots_say_what_to_install(
    logs: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", _BLOCK, "report", str(logs)]
    plain = subprocess.run(command, capture_output=True, text=True, check=False)
    assert plain.returncode == 0, plain.stderr
    assert "Throughput" in plain.stdout
    for option in (["--plots", tmp_path / "p"], ["--html", tmp_path / "h.html"]):
        done = subprocess.run(
            [*command, *map(str, option)], capture_output=True, text=True, check=False
        )
        assert done.returncode == ExitCode.MISSING_DEPENDENCY
        assert "pip install 'dl2cli[plots]'" in done.stderr


def test_watch_follows_a_training_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    lines = training_lines(Training())
    log = write_text(tmp_path / "run" / "r.json", "".join(lines[:18]))
    command = [sys.executable, "-m", "dl2cli", "report", str(tmp_path), "--watch"]
    out = tmp_path / "out.txt"
    with out.open("w") as file, subprocess.Popen(
        [*command, "--interval", "0.2", "-f", "csv", "--table", "overview"],
        stdout=file, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            _wait(lambda: "no summary" in out.read_text() or "cut" in out.read_text())
            with log.open("a") as more:
                more.write("".join(lines[18:]))
            _wait(lambda: "complete" in out.read_text())
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Stopped watching" in err


def _wait(condition: object) -> None:
    assert callable(condition)
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_bench_and_train_logs_stand_in_one_report(logs: Path) -> None:
    run = {"name": "pcr", "loader": "pcr", "scans": 5, "rate_img_s": 800.0, "fetch_stall_s": 0.001,
           "prep_stall_s": 0.0, "compute_s": 0.001, "bytes_per_image": 5e4}  # fmt: skip
    write_json(logs / "b.json", {"schema_version": 1, "kind": "dl2-bench-io", "runs": [run]})
    tables = json.loads(dl2(logs, "--json").stdout)["tables"]
    kinds = {row["kind"] for row in tables["overview"]}
    assert kinds == {"train", "bench"}
