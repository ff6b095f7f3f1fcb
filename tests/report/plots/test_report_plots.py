"""The plots: which there are, that they can be read, that one variant has one look."""

import re
import sys
import warnings
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from PIL import Image
from report_logs import BENCH, Training, iostat_document, write_json, write_text, write_training

from dl2cli.errors import MissingDependency, UsageError
from dl2cli.report.config import ReportConfig
from dl2cli.report.plots.canvas import (
    DPI,
    WIDTH_IN,
    Canvas,
    InlineSvg,
    _drawn,
    chunks,
    inline_svg,
    write_plot,
)
from dl2cli.report.plots.figures import all_plots, write_plots
from dl2cli.report.plots.palette import COLOURS, RAW_COLOUR, looks
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

Figure = pytest.importorskip("matplotlib.figure").Figure

_VARIANTS = ("raw ", "jpeg")


def parse_svg(svg: str) -> ET.Element:
    return ET.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def make(root: Path) -> Report:
    return build_report(Finder([root]).load(), ReportConfig())


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One of each kind of log."""
    root = tmp_path_factory.mktemp("logs")
    raw = "data-hdd/imagenet/raw/"
    variants = [raw, "data-hdd/imagenet/jpeg-10/", "data-ssd/imagenet/raw-50/"]
    for index, data in enumerate(variants):
        training = Training(
            data=data, start=index + 1.0, epochs=20, workers=4 * (index + 1), top1=1.0
        )
        write_training(root / f"run{index}" / "r.json", training)
    minio = {"dataset_class": "MinIOFolder"}
    write_training(root / "minio-hdd" / "r.json", Training(params=minio, start=9.0))
    one = Training(data="data-sas/imagenet/jpeg-10", epochs=10, start=20.0)
    two = Training(first_epoch=10, epochs=10, start=30.0)
    write_training(root / "regimen" / "experiment_report_stage_0.json", one)
    write_training(root / "regimen" / "experiment_report_stage_1.json", two)
    write_training(root / "io" / "r.json", Training(start=40.0))
    write_json(root / "io" / "iostat.json", iostat_document(Training(start=40.0)))
    write_text(root / "io" / "meminfo.txt", "MemTotal: 9000 kB\nCached: 50000 kB\n")
    write_json(root / "bench" / "bench.json", BENCH)
    encode = {"dataset": "data-sas/imagenet-5/raw", "total_time": 2.0, "enc_times": [0.5]}
    write_json(root / "enc-mp-jpeg-10" / "r.json", encode)
    write_text(root / "q.csv", "file,quality\na,95\nb,75\n")
    return make(root)


@pytest.fixture(scope="module")
def drawn(everything: Report) -> dict[str, InlineSvg]:
    return {plot.name: inline_svg(plot) for plot in all_plots(everything)}


def test_every_plot_that_is_asked_for(everything: Report) -> None:
    names = {plot.name for plot in all_plots(everything)}
    where = "resnet50-imagenet"
    assert names >= {
        "rate-resnet50-1-gpu", "rate-resnet50-1-gpu-by-variant", "rate-no-model-bench-io",
        "rate-resnet50-1-gpu-by-codec-and-workers", "rate-resnet50-1-gpu-minio-and-compression",
        "stalls", f"accuracy-over-epochs-{where}", f"accuracy-over-time-{where}",
        f"fewer-images-or-fewer-bytes-{where}", f"regimens-{where}",
        "disk-reads-and-page-cache", "disk-over-time-io", "encoding", "qualities",
    }  # fmt: skip


def test_png_files_are_whole_and_of_one_width(everything: Report, tmp_path: Path) -> None:
    paths = write_plots(everything, tmp_path, "png")
    assert len(paths) == len({path.name for path in paths}) == len(all_plots(everything))
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert image.width == pytest.approx(1152, abs=1)
            colours = image.convert("RGB").getcolors(1 << 20)
        assert colours is not None
        assert len(colours) > 3
    assert sorted(tmp_path.iterdir()) == sorted(paths), "no temporary file is left"


def test_svg_and_pdf_files_are_whole_and_the_same_each_time(
    everything: Report, tmp_path: Path
) -> None:
    for plot in all_plots(everything)[::6]:
        for suffix in ("svg", "pdf"):
            first = write_plot(plot, tmp_path / "a", suffix).read_bytes()
            assert write_plot(plot, tmp_path / "b", suffix).read_bytes() == first
            if suffix == "svg":
                ET.fromstring(first)
            else:
                assert first.startswith(b"%PDF")


def test_bars_carry_their_values_and_axes_their_units(
    everything: Report, drawn: dict[str, InlineSvg]
) -> None:
    plot = drawn["rate-resnet50-1-gpu"]
    assert "images/s" in plot.svg
    rates = [
        f"{e.timing.rate_epoch_img_s:.0f}"
        for e in everything.compared
        if e.run.kind == "train" and e.timing.rate_epoch_img_s
    ]
    assert len(rates) == 5
    for rate in rates:
        assert rate in plot.svg
    assert len(plot.points) == 5


def test_hover_values_lie_on_the_picture(drawn: dict[str, InlineSvg]) -> None:
    for name, plot in drawn.items():
        root = parse_svg(plot.svg)
        _, _, width, height = (float(v) for v in root.attrib["viewBox"].split())
        assert plot.points, name
        assert all(0 <= x <= width and 0 <= y <= height for x, y, _ in plot.points), name
        used = {node.attrib["id"] for node in root.iter() if "id" in node.attrib}
        assert not {one for one in used if re.fullmatch(r"[a-z0-9.]+_\d+", one)}


def test_a_zoomed_panel_tells_only_what_it_shows(drawn: dict[str, InlineSvg]) -> None:
    points = drawn["accuracy-over-epochs-resnet50-imagenet"].points
    first = [text for _, _, text in points if "run0, epoch 1:" in text]
    last = [text for _, _, text in points if "run0, epoch 20:" in text]
    assert len(first) == 2, "top-1 and top-5"
    assert sum("top-1" in text for text in last) == 2, "in the whole and in the zoomed panel"


def test_one_look_for_a_variant_everywhere() -> None:
    first = looks(["jpeg-10", "raw", None, "webp-05"], ["mbt-1"])
    again = looks([None, "webp-05", "raw", "jpeg-10", "jpeg-10"], ["jpeg-10", "mbt-1"])
    assert first == again
    assert first["raw"].colour == RAW_COLOUR
    many = looks([f"jpeg-{i:02d}" for i in range(25)])
    assert len(set(many.values())) == len(many)
    assert {look.colour for look in many.values()} == {RAW_COLOUR, *COLOURS}


def test_very_many_runs_give_few_plots() -> None:
    parts = list(chunks(list(range(1000)), 12))
    assert len(parts) == 4
    assert "the first 48 of 1000" in parts[0][0]
    assert list(chunks([1], 12)) == [("", [1])]


def test_names_from_logs_are_drawn_as_they_are(tmp_path: Path) -> None:
    name = "$\\frac{a$<script>&"
    write_training(tmp_path / "run" / "r.json", Training(arch=name, data="d/$x_{$/raw"))
    for plot in all_plots(make(tmp_path)):
        svg = inline_svg(plot).svg
        assert "<script>" not in svg
        parse_svg(svg)


def test_without_matplotlib_tables_still_work(
    everything: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert everything.table("throughput") is not None
    with pytest.raises(MissingDependency, match=r"dl2cli\[plots\]"):
        write_plots(everything, tmp_path, "svg")


def test_a_folder_that_cannot_be_written(everything: Report, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no folder"):
        write_plots(everything, tmp_path / "file", "svg")


def test_bars_of_one_variant_in_one_group_carry_their_runs(tmp_path: Path) -> None:
    for index in (1, 2):
        write_training(tmp_path / f"run{index}" / "r.json", Training(start=float(index)))
    plot = next(p for p in all_plots(make(tmp_path)) if p.name.startswith("rate"))
    svg = inline_svg(plot).svg
    assert "raw, run1" in svg
    assert "raw, run2" in svg


def test_no_two_curves_of_a_plot_share_a_colour(tmp_path: Path) -> None:
    sources = [f"data-hdd/imagenet/jpeg-{quality:02d}" for quality in range(10, 20)]
    sources += ["data-hdd/imagenet/raw/"] * 2
    for index, data in enumerate(sources):
        training = Training(data=data, start=index + 1.0, epochs=10, top1=1.0 + index)
        write_training(tmp_path / f"run{index:02d}" / "r.json", training)
    report = make(tmp_path)
    plots = {plot.name: plot for plot in all_plots(report)}
    for name in ("accuracy-over-epochs-resnet50-imagenet", "accuracy-over-time-resnet50-imagenet"):
        canvas = Canvas(Figure())
        plots[name].draw(canvas)
        lines = [
            line for line in canvas.figure.axes[0].lines if str(line.get_label())[:4] in _VARIANTS
        ]
        assert len(lines) == len(sources)
        assert len({line.get_color() for line in lines}) == len(sources)
        raw = next(line for line in lines if "run10" in str(line.get_label()))
        assert raw.get_color() == RAW_COLOUR, "the first curve of a variant has its look"


def test_long_names_leave_room_for_the_plot(tmp_path: Path) -> None:
    long = "a-very-long-name-of-an-experiment-with-all-of-its-parameters-" * 3
    for end in ("first", "second"):
        training = Training(arch=long, params={"variant": long}, start=float(len(end)))
        write_training(tmp_path / (long + end) / "r.json", training)
    for plot in all_plots(make(tmp_path)):
        with _drawn(plot) as canvas:
            warnings.simplefilter("error")  # matplotlib's, where nothing is left of an axes
            canvas.figure.draw_without_rendering()
        for axes in canvas.figure.axes:
            assert axes.get_window_extent().width > WIDTH_IN * DPI / 6, plot.name
            for label in axes.get_yticklabels():
                assert label.get_window_extent().x0 >= 0, plot.name
        for legend in canvas.figure.legends:
            assert legend.get_window_extent().x0 >= 0, plot.name
            assert legend.get_window_extent().x1 <= WIDTH_IN * DPI, plot.name
