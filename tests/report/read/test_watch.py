"""Following logs that are being written."""

from itertools import islice
from pathlib import Path

from report_logs import Training, training_lines, write_text

from dl2cli.report.read.discover import Finder
from dl2cli.report.read.watch import changes


def test_it_yields_at_once_and_then_at_each_change(tmp_path: Path) -> None:
    lines = training_lines(Training())
    log = write_text(tmp_path / "run" / "r.json", "".join(lines[:20]))
    finder = Finder([tmp_path])
    waits: list[float] = []

    def write_later(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            with log.open("a") as more:
                more.write("".join(lines[20:]))
        if len(waits) == 5:
            write_text(tmp_path / "next" / "r.json", "".join(lines))

    epochs = [
        [len(run.epochs) for run in finder.load().runs]  # type: ignore[attr-defined]
        for _ in islice(changes(finder, 0.5, write_later), 3)
    ]
    assert epochs == [[2], [4], [4, 4]]
    assert waits == [0.5] * 5


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    write_text(tmp_path / "run" / "r.json", "".join(training_lines(Training())))
    finder = Finder([tmp_path])
    first, second = finder.load().runs[0], finder.load().runs[0]
    assert first.epochs is second.epochs  # type: ignore[attr-defined]


def test_the_reports_own_files_are_no_change(tmp_path: Path) -> None:
    write_text(tmp_path / "run" / "r.json", "".join(training_lines(Training())))
    finder = Finder([tmp_path], skip=[tmp_path / "page.html", tmp_path / "plots"])
    before = finder.signature()
    write_text(tmp_path / "page.html", "<html>")
    write_text(tmp_path / "plots" / "a.svg", "<svg/>")
    assert finder.signature() == before
    assert finder.load().files_ignored == 0
