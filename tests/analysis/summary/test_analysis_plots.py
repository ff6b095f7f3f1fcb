"""The plots of an analysis are drawn, readable, and the same each time."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dl2cli.analysis.summary.plots import check_plots, write_plots
from dl2cli.analysis.summary.tally import Summary, Tally
from dl2cli.analysis.table.rows import ImageRow, Point
from dl2cli.errors import MissingDependency, UsageError

pytest.importorskip("matplotlib")


def summary(images: int = 40) -> Summary:
    tally = Tally(0.9)
    for number in range(images):
        points = tuple(
            Point(f"k{k}", 900 * k + number, 20.0 + 5 * k if k < 4 else None, k / 4, k / 4)
            for k in range(1, 5)
        )
        lossy = tuple(Point(s, 2000, 30.0, 0.8, 0.9) for s in ("jpeg:50", "webp:50"))
        tally.add(
            ImageRow(
                f"{number}.jpg",
                "a",
                size=9000 + 900 * number,
                quality=50 + number % 50,
                fidelity=points + lossy,
            )
        )
    return tally.result()


def texts(path: Path) -> str:
    return " ".join("".join(e.itertext()) for e in ET.parse(path).iter() if e.tag.endswith("text"))


def test_svg_says_what_it_shows_and_is_the_same_each_time(tmp_path):
    title = "a $dataset$ <&> ünïcode"
    files = write_plots(summary(), title, tmp_path / "new" / "plots", "svg")
    assert [path.name for path in files] == ["qualities.svg", "sizes.svg", "rate_distortion.svg"]
    assert all(title in texts(path) for path in files)
    assert "median 69" in texts(files[0])
    assert "kB an image" in texts(files[1])
    assert "target 0.9: k = 4, saves 0%" in texts(files[2])
    assert "lossy WebP" in texts(files[2])
    again = write_plots(summary(), title, tmp_path / "again", "svg")
    assert [p.read_bytes() for p in files] == [p.read_bytes() for p in again]


def test_png_shows_bars_where_the_values_are(tmp_path):
    files = write_plots(summary(), "few", tmp_path, "png")
    with Image.open(files[0]) as image:
        assert image.width > 1000
        pixels = np.asarray(image.convert("RGB")).astype(int)
    blue = (pixels[..., 2] > 150) & (pixels[..., 0] < 30)
    columns = np.flatnonzero(blue.any(axis=0)) / pixels.shape[1]
    assert 0.45 < columns.min() < 0.6  # quality 50, on an axis of 1 to 100
    assert 0.8 < columns.max() < 0.95  # quality 89


def test_one_image_and_none(tmp_path):
    tally = Tally(0.9)
    assert write_plots(tally.result(), "none", tmp_path, "png") == ()
    tally.add(ImageRow("a.jpg", size=5000, quality=100))
    assert len(write_plots(tally.result(), "one", tmp_path, "png")) == 2


def test_what_cannot_be_drawn_is_said(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="is a file"):
        check_plots(file, "png")
    with pytest.raises(UsageError, match="png or svg"):
        check_plots(tmp_path, "pdf")
    with pytest.raises(UsageError, match="lies under a file, which is not a folder"):
        write_plots(summary(1), "x", file / "below", "png")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependency, match=r"dl2cli\[plots\]"):
        check_plots(tmp_path, "png")
