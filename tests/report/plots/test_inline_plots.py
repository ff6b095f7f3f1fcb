"""Plots of a page are the same, however many processes draw them and whatever becomes of those."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from report_logs import Training, write_training

from dl2cli.report.config import ReportConfig
from dl2cli.report.plots import inline
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    root = tmp_path_factory.mktemp("logs")
    for number, variant in enumerate(("raw", "jpeg-10", "jpeg-50")):
        data = f"data-hdd/imagenet/{variant}/"
        training = Training(data=data, start=number + 1.0, epochs=20, workers=4 * (number + 1))
        write_training(root / variant / "r.json", training)
    return build_report(Finder([root]).load(), ReportConfig())


def test_any_number_of_processes_draws_the_same(report: Report) -> None:
    alone = inline.inline_plots(report, 1)
    assert len(alone) >= 3
    assert inline.inline_plots(report) == alone  # too few for a second process
    assert inline.inline_plots(report, 2) == alone
    assert inline.inline_plots(report, len(alone) + 2) == alone


def test_a_helper_draws_its_share_and_nothing_else(report: Report) -> None:
    helpers = inline._start_helpers(report, 2)
    drawn = inline._answer(helpers[0])
    inline._end(helpers[0])
    assert sorted(drawn) == list(range(1, len(inline.all_plots(report)), 2))


def test_what_a_killed_helper_leaves_is_drawn_here(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = inline._start_helpers

    def killed(*args: object) -> list[subprocess.Popen[bytes]]:
        helpers = start(*args)  # type: ignore[arg-type]
        os.kill(helpers[0].pid, signal.SIGKILL)
        return helpers

    alone = inline.inline_plots(report, 1)
    monkeypatch.setattr(inline, "_start_helpers", killed)
    assert inline.inline_plots(report, 3) == alone


def test_without_room_for_a_process_everything_is_drawn_here(
    report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    assert inline.inline_plots(report, 3) == inline.inline_plots(report, 1)


def test_a_module_in_the_working_folder_is_not_run(
    report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "matplotlib.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    assert inline.inline_plots(report, 2) == inline.inline_plots(report, 1)
    assert not (tmp_path / "ran").exists()


def test_a_helper_is_sent_no_iterations(report: Report) -> None:
    whole = len(pickle.dumps(report))
    assert any(entry.run.steps for entry in report.entries)  # type: ignore[union-attr]
    slim = inline._without_steps(report)
    assert not any(entry.run.steps for entry in slim.entries)  # type: ignore[union-attr]
    assert len(pickle.dumps(slim)) < whole
