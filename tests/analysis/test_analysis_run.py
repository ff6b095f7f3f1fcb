"""The analysis of whole datasets: every layout, output, interruption and damage."""

import csv
import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from jpeg_samples import damaged, jpeg, picture
from PIL import Image

from dl2cli.analysis.run import AnalysisConfig, Progress, analyse_dataset
from dl2cli.analysis.summary.tally import Tally
from dl2cli.analysis.table.rows import CHEAP, Analysis, ImageRow
from dl2cli.errors import Interrupted, MissingDependency, UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert

PUBLISHED = "file,quality,size,mode,mean_0,mean_1,mean_2,std_0,std_1,std_2"
QUICK = frozenset({Analysis.QUALITY, Analysis.SIZE})
ALL = frozenset(Analysis)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A flat folder of 90 small JPEGs of quality 10 to 99, one text file, and one hidden file."""
    folder = tmp_path / "flat"
    folder.mkdir()
    for quality in range(10, 100):
        (folder / f"{quality}.jpg").write_bytes(jpeg(picture(24, 16, quality), quality=quality))
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.jpg").write_bytes(b"")
    return folder


def run(root: Path, output: Path | None = None, progress: Progress | None = None, **options):
    options = {"workers": 1, "analyses": QUICK} | options
    return analyse_dataset(AnalysisConfig(root, output=output, **options), progress)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


def colour_by_numpy(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation over all pixels of all files, in the plainest way."""
    pixels = []
    for path in files:
        with Image.open(path) as image:
            pixels.append(np.asarray(image.convert("RGB")).reshape(-1, 3))
    everything = np.concatenate(pixels) / 255.0
    return everything.mean(axis=0), everything.std(axis=0)


def test_a_dataset_in_splits(sample_set, tmp_path):
    output = tmp_path / "images.csv"
    result = run(sample_set, output, analyses=CHEAP)
    files = sorted(sample_set.rglob("*.jpg"))
    assert (result.kind, result.splits) == ("image folder", ("train", "val"))
    assert (result.classes, result.images_found, result.summary.images) == (6, 36, 36)
    assert result.summary.total_bytes == sum(path.stat().st_size for path in files)
    mean, std = colour_by_numpy(files)
    assert result.summary.colour.mean == pytest.approx(mean, abs=1e-6)
    assert result.summary.colour.std == pytest.approx(std, abs=1e-6)
    assert output.read_text().splitlines()[0].startswith(PUBLISHED + ",")
    rows = table(output)
    assert [row["file"] for row in rows] == [str(p.relative_to(sample_set)) for p in files]
    assert [int(row["size"]) for row in rows] == [path.stat().st_size for path in files]
    assert not output.with_name("images.csv.part").exists()


def test_the_photos(test_data):
    root = test_data / "clothing"
    result = run(root, analyses=frozenset({Analysis.STATS}), workers=2)
    mean, std = colour_by_numpy(sorted(root.rglob("*.jpg")))
    assert result.summary.colour.images == 1250
    assert result.summary.colour.mean == pytest.approx(mean, abs=1e-6)
    assert result.summary.colour.std == pytest.approx(std, abs=1e-6)


def test_a_flat_folder_and_the_summary(flat, tmp_path):
    output = tmp_path / "q.csv"
    result = run(flat, output)
    summary = result.summary
    assert (result.kind, result.classes, result.ignored) == ("flat folder", 0, 2)
    assert summary.qualities == dict.fromkeys(range(10, 100), 1)
    assert (summary.quality.minimum, summary.quality.median, summary.quality.maximum) == (
        10,
        54,
        99,
    )
    assert sum(summary.sizes.counts) == 90
    assert summary.failures == ()
    assert summary.colour is None
    assert [(row["file"], int(row["quality"])) for row in table(output)] == [
        (f"{quality}.jpg", quality) for quality in range(10, 100)
    ]
    assert list(table(output)[0]) == [
        "file", "quality", "size", "mode", "width", "height", "notes", "error",
    ]  # fmt: skip


def test_a_pcr_dataset_at_each_fidelity(sample_set, tmp_path):
    train = sample_set / "train"
    convert(ConvertConfig(source=train, out=tmp_path / "pcr", images_per_record=7))
    folder = run(train, tmp_path / "a.csv", analyses=frozenset({Analysis.JPEG, Analysis.STATS}))
    whole = run(tmp_path / "pcr", tmp_path / "b.csv", analyses=CHEAP)
    assert (whole.kind, whole.classes, whole.images_found) == ("PCR dataset", 6, 24)
    ours = {row["file"]: row for row in table(tmp_path / "b.csv")}
    theirs = {row["file"]: row for row in table(tmp_path / "a.csv")}
    assert ours.keys() == theirs.keys()
    for name, row in ours.items():
        # The same pixels and tables, in ten scans.
        same = ("mean_0", "mean_1", "mean_2", "std_0", "std_1", "std_2", "tables", "subsampling")
        assert [row[key] for key in same] == [theirs[name][key] for key in same]
        assert row["scans"] == "10"
    assert whole.summary.colour.mean == pytest.approx(folder.summary.colour.mean, abs=1e-12)
    first = run(tmp_path / "pcr", scans=1)
    assert first.summary.total_bytes < whole.summary.total_bytes / 4
    assert first.summary.failures == ()
    with pytest.raises(UsageError, match="fidelities 1 to 10"):
        run(tmp_path / "pcr", scans=11)
    with pytest.raises(UsageError, match="--scans needs a PCR dataset"):
        run(train, scans=1)


def test_a_pcr_dataset_in_splits_and_one_that_was_damaged(sample_set, tmp_path):
    for split in ("train", "val"):
        out = tmp_path / "pcr" / split
        convert(ConvertConfig(source=sample_set / split, out=out, images_per_record=6))
    result = run(tmp_path / "pcr")
    assert (result.splits, result.images_found) == (("train", "val"), 36)
    record = tmp_path / "pcr" / "val" / "PCR_1.db"
    content = bytearray(record.read_bytes())
    content[-100] ^= 255
    record.write_bytes(content)
    failures = run(tmp_path / "pcr").summary.failures
    assert len(failures) == 6
    assert all(f.file.startswith("val/") and "PCR_1.db" in f.reason for f in failures)


def test_the_output_does_not_depend_on_the_workers_or_the_ending(flat, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    (flat / "50.jpg").write_bytes(b"damaged")
    run(flat, tmp_path / "1.csv", workers=1)
    run(flat, tmp_path / "2.csv", workers=2)
    assert (tmp_path / "1.csv").read_bytes() == (tmp_path / "2.csv").read_bytes()
    run(flat, tmp_path / "3.jsonl")
    run(flat, tmp_path / "4.parquet")
    lines = [json.loads(line) for line in (tmp_path / "3.jsonl").read_text().splitlines()]
    rows = parquet.read_table(tmp_path / "4.parquet").to_pylist()
    assert [{k: v for k, v in row.items() if v is not None} for row in rows] == lines
    as_text = [{name: str(line.get(name, "")) for name in rows[0]} for line in lines]
    assert as_text == table(tmp_path / "1.csv")


class StopAfter(Progress):
    """Presses Ctrl-C after so many images; remembers what `begin` was told."""

    def __init__(self, images: int | None = None) -> None:
        self.images = images
        self.began = (-1, -1)
        self.seen = 0

    def begin(self, total: int, resumed: int) -> None:
        self.began = (total, resumed)

    def advance(self, row) -> None:
        self.seen += 1
        if self.seen == self.images:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_where_it_stopped(flat, tmp_path):
    output, whole = tmp_path / "q.csv", tmp_path / "whole.csv"
    expected = run(flat, whole).summary
    with pytest.raises(Interrupted, match=r"40 of 90 images.*q\.csv\.part: run the same command"):
        run(flat, output, StopAfter(40))
    assert not output.exists()
    watch = StopAfter()
    result = run(flat, output, watch)
    assert watch.began == (90, 40)
    assert (watch.seen, result.resumed) == (50, 40)
    assert output.read_bytes() == whole.read_bytes()
    assert result.summary == expected
    assert sorted(p.name for p in tmp_path.iterdir()) == ["flat", "q.csv", "whole.csv"]


def test_ctrl_c_while_rows_are_read_again_keeps_them(flat, tmp_path, monkeypatch):
    output = tmp_path / "q.csv"
    with pytest.raises(Interrupted):
        run(flat, output, StopAfter(60))
    kept = output.with_name("q.csv.part").read_bytes()
    add = Tally.add

    def add_until_the_user_loses_patience(tally: Tally, row: ImageRow) -> None:
        add(tally, row)
        if row.file == "30.jpg":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Tally, "add", add_until_the_user_loses_patience)
        with pytest.raises(Interrupted, match=r"q\.csv\.part: run the same command"):
            run(flat, output)
    assert output.with_name("q.csv.part").read_bytes() == kept
    watch = StopAfter()
    run(flat, output, watch)
    assert watch.began == (90, 60)


def test_a_file_that_can_be_opened_again_is_looked_at_again(flat, tmp_path):
    output, aside = tmp_path / "q.csv", tmp_path / "aside.jpg"

    class Vanish(StopAfter):
        def begin(self, total: int, resumed: int) -> None:
            super().begin(total, resumed)
            (flat / "30.jpg").rename(aside)

    with pytest.raises(Interrupted):
        run(flat, output, Vanish(60))
    aside.rename(flat / "30.jpg")
    watch = StopAfter()
    result = run(flat, output, watch)
    assert watch.began == (90, 20)
    assert result.summary.failures == ()


def test_what_does_not_fit_any_more_is_done_again(flat, tmp_path):
    output = tmp_path / "q.csv"
    part = tmp_path / "q.csv.part"
    with pytest.raises(Interrupted):
        run(flat, output, StopAfter(60))
    content = part.read_bytes()

    def resumed(before: bytes = content, **options) -> int:
        part.write_bytes(before)
        watch = StopAfter(1)
        with pytest.raises(Interrupted):
            run(flat, output, watch, **options)
        return watch.began[1]

    assert resumed() == 60
    # The machine stopped in the middle of a line; the file is another program's; a damaged line.
    assert resumed(content + b'{"file": "70.jpg", "siz') == 60
    assert resumed(b"\xff\0 no part file of ours\n" * 3) == 0
    assert resumed(content.replace(b'"40.jpg"', b'"40.jpg', 1)) == 30
    assert resumed(analyses=frozenset({Analysis.SIZE})) == 0
    assert resumed(fresh=True) == 0
    os.utime(flat / "30.jpg", (1, 1))  # changed: the 21st image
    assert resumed() == 20
    (flat / "100.jpg").write_bytes(jpeg())
    assert resumed() == 0


def test_two_runs_do_not_write_one_file(flat, tmp_path):
    output = tmp_path / "q.csv"

    class Second(Progress):
        def advance(self, row) -> None:
            with pytest.raises(UsageError, match="Another run"):
                run(flat, output)

    run(flat, output, Second(), sample=1)


def test_samples(flat, tmp_path):
    first, again, other = (tmp_path / f"{name}.csv" for name in ("first", "again", "other"))
    result = run(flat, first, sample=20, seed=1)
    assert (result.images_found, result.summary.images) == (90, 20)
    run(flat, again, sample=20, seed=1)
    run(flat, other, sample=20, seed=2)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    names = [row["file"] for row in table(first)]
    assert names == sorted(set(names))
    assert run(flat, sample=1000).summary.images == 90


def test_names_are_bytes_and_anything(tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    names = [b"caf\xe9.jpg", b'a,b "c"\n.jpg', b"[0] 50%d *?.jpg", b"jpeg:x.jpg", b"-o.jpg"]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(jpeg(quality=44))
    for engine in ("native", "magick"):
        from dl2cli.analysis.image.quality import Engine

        run(tmp_path, tmp_path / "q.csv", engine=Engine(engine))
        rows = table(tmp_path / "q.csv")
        assert {os.fsencode(row["file"]) for row in rows} == {b"class/" + name for name in names}
        assert {row["quality"] for row in rows} == {"44"}


def test_3000_damaged_files(tmp_path):
    rng = random.Random(7)
    sources = [jpeg(quality=q, progressive=q % 2 == 0) for q in range(30, 96, 5)]
    sources.append(jpeg(picture().convert("L")))
    folder = tmp_path / "damaged"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number:04d}.jpg").write_bytes(damaged(rng.choice(sources), rng))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    result = run(folder, tmp_path / "d.csv", analyses=ALL, fidelity_samples=40)
    rows = table(tmp_path / "d.csv")
    assert result.summary.images == len(rows) == 3000
    assert {f.file: f.reason for f in result.summary.failures} == {
        row["file"]: row["error"] for row in rows if row["error"]
    }
    assert len(result.summary.failures) > 800
    assert not any("crashed" in failure.reason for failure in result.summary.failures)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_files_that_cannot_be_opened_are_listed(flat, tmp_path):
    (flat / "10.jpg").unlink()
    (flat / "10.jpg").symlink_to(flat / "11.jpg")

    class Vanish(Progress):
        def begin(self, total: int, resumed: int) -> None:
            (flat / "11.jpg").unlink()  # the link leads nowhere now
            (flat / "12.jpg").unlink()
            os.mkfifo(flat / "12.jpg")

    failures = run(flat, tmp_path / "q.csv", Vanish()).summary.failures
    reasons = {failure.file: failure.reason for failure in failures}
    assert reasons == {
        "10.jpg": "No such file or directory",
        "11.jpg": "No such file or directory",
        "12.jpg": "empty file",
    }


def test_what_cannot_be_done_is_said_before_the_work(flat, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl, \.parquet"):
        run(flat, tmp_path / "q.txt")
    with pytest.raises(UsageError, match="which is missing"):
        run(flat, tmp_path / "missing" / "q.csv")
    with pytest.raises(UsageError, match="There is no"):
        run(tmp_path / "nothing")
    with pytest.raises(UsageError, match="--workers must be at least 1"):
        run(flat, workers=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no dataset"):
        run(tmp_path / "empty")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependency, match=r"dl2cli\[parquet\]"):
        run(flat, tmp_path / "q.parquet")
