"""`dl2 import` from the command line."""

import json
from pathlib import Path

from typer.testing import CliRunner

from dl2cli.cli.main import app


def test_a_csv_becomes_an_image_folder(tmp_path: Path) -> None:
    source = tmp_path / "birds"
    source.mkdir()
    rows = [f"{i}.jpg,{'crow' if i % 2 else 'jay'}" for i in range(10)]
    (source / "labels.csv").write_text("\n".join(["file,species", *rows, "lost.jpg,jay"]) + "\n")
    for i in range(10):
        (source / f"{i}.jpg").write_bytes(b"\xff\xd8")
    command = ["import", "csv", str(source), str(tmp_path / "out"), "--label-column", "species"]
    result = CliRunner().invoke(app, [*command, "--val-fraction", "0.2", "--by", "copy"])
    assert result.exit_code == 0, result.output
    words = "".join(result.stdout.split())  # paths may be folded
    assert "10imagesin2classes;" in words
    assert "lost.jpg:nosuchfileordirectory" in words
    again = CliRunner().invoke(app, [*command, "--val-fraction", "0.2", "--by", "copy", "--json"])
    document = json.loads(again.stdout)
    assert (document["already_there"], document["placed"]) == (10, 0)
    assert document["images"] == {"train": 8, "val": 2}
    assert len(list((tmp_path / "out" / "val").rglob("*.jpg"))) == 2
