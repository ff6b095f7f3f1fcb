"""Logs among links that lead in circles, pipes and files of any encoding."""

import os
from pathlib import Path

import pytest
from report_logs import Training, training_lines, write_training

from dl2cli.errors import UsageError
from dl2cli.report.model import Corpus, Severity, TrainingRun
from dl2cli.report.read.discover import Finder

TEXT = "".join(training_lines(Training(name="café", params={"arch": "réseau"})))


def load(*roots: Path) -> Corpus:
    return Finder(list(roots)).load()


def test_circles_of_links_and_pipes_end_no_report(tmp_path: Path) -> None:
    write_training(tmp_path / "run" / "r.json")
    (tmp_path / "self.json").symlink_to("self.json")
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "run" / "up").symlink_to("..")
    (tmp_path / "gone.json").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.json")
    corpus = load(tmp_path)
    assert [run.source.run for run in corpus.runs] == ["run"]
    bad = {note.file for note in corpus.notes if note.severity is Severity.ERROR}
    assert {Path(file).name for file in bad} == {"self.json", "gone.json", "pipe.json"}
    with pytest.raises(UsageError, match="leads nowhere"):
        load(tmp_path / "self.json")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (TEXT.encode(), None),
        (b"\xef\xbb\xbf" + TEXT.encode(), "text"),
        (TEXT.encode("utf-16"), "text"),
        (TEXT.encode("utf-16-le"), "text"),
        (TEXT.encode("utf-16-be"), "text"),
        (TEXT.encode("utf-32"), "text"),
        (TEXT.replace("\n", "\r\n").encode("utf-16"), "crlf"),
        (TEXT.replace("\n", "\r").encode(), "text"),
    ],
    ids=["utf-8", "bom", "utf-16", "le", "be", "utf-32", "powershell", "mac"],
)
def test_a_log_in_any_encoding_loses_nothing(tmp_path: Path, data: bytes, code: str | None) -> None:
    (tmp_path / "r.json").write_bytes(data.replace(b"\\u00e9", b"\\u00e9"))
    (run,) = load(tmp_path).runs
    assert isinstance(run, TrainingRun)
    assert run.setup.arch == "réseau"
    assert len(run.epochs) == 4
    codes = {note.code for note in load(tmp_path).notes} - {"name mismatch"}
    assert codes == ({code, "text"} if code else set())


def test_a_line_that_is_not_utf_8_is_read_and_told(tmp_path: Path) -> None:
    text = TEXT.replace("\\u00e9", "é")
    (tmp_path / "r.json").write_bytes(text.encode("cp1252"))
    corpus = load(tmp_path)
    (run,) = corpus.runs
    assert run.setup.arch == "réseau"
    (note,) = (note for note in corpus.notes if note.code == "text")
    assert note.severity is Severity.WARNING
    assert "Windows-1252: 1" in note.text


def test_each_log_has_its_hash(tmp_path: Path) -> None:
    path = write_training(tmp_path / "run" / "r.json")
    (tmp_path / "notes.txt").write_text("no log")
    corpus = load(tmp_path)
    (log,) = corpus.files
    assert (log.name, log.size_bytes) == ("run/r.json", path.stat().st_size)
    assert len(log.sha256) == 64
    assert corpus.roots == (str(tmp_path),)
