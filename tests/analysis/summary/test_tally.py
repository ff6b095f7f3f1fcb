"""Distributions, histograms, and what rows add up to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.analysis.distribution import Distribution, Histogram
from dl2cli.analysis.summary.tally import Tally
from dl2cli.analysis.table.rows import ImageRow, Note, Point, row_from_line, row_to_line

ROW = ImageRow(
    file="train/a/caf\udce9.jpg", class_name="a", size=1234, width=40, height=30, mode="RGB",
    quality=75, mean=(1.5, 2.5, 3.25), std=(0.1, 0.2, 0.3), format="JPEG", subsampling="4:2:0",
    progressive=False, scans=1, orientation=1, icc=False, tables="0123456789ab",
    fidelity=(Point("k1", 99, 31.25, 0.5, 0.75), Point("k2", 1234, None, 1.0, 1.0)),
    notes=(Note.ICC, Note.TRAILING), error=None, mtime_ns=17,
)  # fmt: skip


@pytest.mark.parametrize("row", [ROW, ImageRow("a.jpg", error="empty file", size=0)])
def test_rows_survive_their_line(row):
    assert row_from_line(row_to_line(row)) == row


@given(st.lists(st.integers(0, 10**7), min_size=1, max_size=200))
def test_distributions_and_histograms(values):
    spread = Distribution.of(values)
    assert (spread.minimum, spread.maximum) == (min(values), max(values))
    assert spread.median in values
    assert sum(value <= spread.p95 for value in values) >= 0.95 * len(values)
    assert spread.mean == pytest.approx(np.mean(values))
    histogram = Histogram.of(values)
    assert sum(histogram.counts) == len(values)
    assert list(histogram.edges) == sorted(set(histogram.edges))
    assert len(histogram.edges) == len(histogram.counts) + 1 <= 25
    assert histogram.edges[0] <= min(values)
    assert histogram.edges[-1] >= max(values)


def test_nothing_has_no_distribution():
    assert Distribution.of([]) is None
    assert Histogram.of([]) is None


def test_gray_counts_as_equal_colours_and_pixels_count_alike():
    tally = Tally(0.95)
    tally.add(ImageRow("gray", width=10, height=10, mean=(51.0,), std=(0.0,)))
    tally.add(
        ImageRow("rgb", width=30, height=10, mean=(255.0, 0.0, 51.0), std=(0.0, 0.0, 0.0))
    )  # fmt: skip
    tally.add(ImageRow("not decoded", width=1000, height=1000))
    colour = tally.result().colour
    assert colour.images == 2
    assert colour.mean == pytest.approx((0.8, 0.05, 0.2))
    assert colour.std == pytest.approx((0.12**0.5, 0.0075**0.5, 0.0), abs=1e-9)


def test_counts_examples_and_failures():
    tally = Tally(0.95)
    for number in range(5):
        tally.add(ImageRow(f"{number}.jpg", quality=60 + number % 2, notes=(Note.ICC,), size=10))
    tally.add(ImageRow("bad.jpg", size=7, error="empty file"))
    summary = tally.result()
    assert (summary.images, summary.total_bytes) == (6, 57)
    assert summary.qualities == {60: 3, 61: 2}
    (oddity,) = summary.oddities
    assert (oddity.count, oddity.examples) == (5, ("0.jpg", "1.jpg", "2.jpg"))
    assert [(f.file, f.reason) for f in summary.failures] == [("bad.jpg", "empty file")]
    assert summary.bits_per_pixel is None
    assert summary.fidelity is None


def test_the_sides_that_a_damaged_file_claims_do_not_count():
    tally = Tally(0.95)
    tally.add(ImageRow("good.jpg", size=100, width=20, height=10))
    tally.add(ImageRow("other.jpg", size=300, width=40, height=30))
    tally.add(ImageRow("huge.jpg", size=5000, width=65500, height=65500, error="too many pixels"))
    tally.add(ImageRow("text.jpg", size=7, error="not an image of a known format"))
    summary = tally.result()
    assert (summary.width.maximum, summary.height.maximum) == (40, 30)
    assert summary.megapixels.mean == pytest.approx(700e-6)
    assert summary.bits_per_pixel == pytest.approx(400 * 8 / 1400)
    assert summary.total_bytes == 5407
