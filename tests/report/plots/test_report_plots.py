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
    PNG_DPI,
    WIDTH_IN,
    Canvas,
    InlineSvg,
    _drawn,
    chunks,
    inline_svg,
    write_plot,
)
from dl2cli.report.plots.figures import LIST_NAME, all_plots, write_plots
from dl2cli.report.plots.palette import RAW_COLOUR, look_of
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import Report, build_report

Figure = pytest.importorskip("matplotlib.figure").Figure


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
        "rate-by-variant-resnet50-1-gpu", "rate-by-variant-no-model-bench-io", "stalls",
        f"accuracy-over-epochs-{where}", f"accuracy-over-time-{where}",
        f"fewer-images-or-fewer-bytes-{where}", f"regimens-{where}",
        "disk-reads-and-page-cache", "disk-over-time-io", "encoding", "qualities",
    }  # fmt: skip


def test_png_files_are_whole_and_of_one_width(everything: Report, tmp_path: Path) -> None:
    paths = write_plots(everything, tmp_path, "png")
    assert len(paths) == len({path.name for path in paths}) == len(all_plots(everything))
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert image.width == pytest.approx(WIDTH_IN * PNG_DPI, abs=1)
            colours = image.convert("RGB").getcolors(1 << 20)
        assert colours is not None
        assert len(colours) > 3
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {path.name for path in paths} | {LIST_NAME}, "no temporary file is left"


def test_plots_of_an_earlier_report_do_not_stay(everything: Report, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.svg", tmp_path / "rate-old.svg"
    before = write_plots(everything, tmp_path, "svg")
    for path in (mine, other):
        path.write_text("of the user")
    write_training(tmp_path / "logs" / "run" / "r.json", Training())
    after = write_plots(make(tmp_path / "logs"), tmp_path, "pdf")
    kept = {path for path in tmp_path.iterdir() if path.suffix}
    assert kept == {*after, mine, other}
    assert not set(before) & kept


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
    plot = drawn["rate-by-variant-resnet50-1-gpu"]
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
        assert all(0 <= x <= width and 0 <= y <= height for x, y, *_ in plot.points), name
        used = {node.attrib["id"] for node in root.iter() if "id" in node.attrib}
        assert not {one for one in used if re.fullmatch(r"[a-z0-9.]+_\d+", one)}


def test_hover_values_of_a_curve_tell_its_run_and_both_accuracies(
    drawn: dict[str, InlineSvg],
) -> None:
    points = drawn["accuracy-over-epochs-resnet50-imagenet"].points
    texts = [name + text for _, _, name, text in points]
    assert "run0, epoch 1: top-1 1.00 %, top-5 21.00 %" in texts
    assert "run0, epoch 20: top-1 96.00 %, top-5 116.00 %" in texts


def test_a_zoomed_panel_is_for_long_trainings_only(tmp_path: Path) -> None:
    for epochs, panels in ((3, 1), (30, 2)):
        folder = tmp_path / str(epochs)
        write_training(folder / "run" / "r.json", Training(epochs=epochs, top1=33.28))
        plot = next(p for p in all_plots(make(folder)) if p.name.startswith("accuracy-over-epochs"))
        canvas = Canvas(Figure())
        plot.draw(canvas)
        assert len(canvas.figure.axes) == panels


@pytest.mark.parametrize(
    ("epochs", "iterations", "unit"), [(2, 250, "seconds"), (8, 1000, "minutes")]
)
def test_a_time_axis_has_a_unit_that_can_be_read(
    tmp_path: Path, epochs: int, iterations: int, unit: str
) -> None:
    write_training(tmp_path / "r.json", Training(epochs=epochs, iterations=iterations))
    plot = next(p for p in all_plots(make(tmp_path)) if p.name.startswith("accuracy-over-time"))
    canvas = Canvas(Figure())
    plot.draw(canvas)
    (axes,) = canvas.figure.axes
    assert axes.get_xlabel().startswith(unit)
    assert 1 < axes.get_xlim()[1] < 1000


def test_the_colour_of_a_variant_comes_from_its_name() -> None:
    names = [f"jpeg-{q:02d}" for q in (5, 10, 25, 50, 75, 85, 95)]
    names += [f"webp-{q:02d}" for q in (1, 5, 10)] + [f"pcr-{k}" for k in (1, 2, 5, 10)]
    names += ["raw", "raw-10", "raw-20", "raw-50", "synthetic"]
    assert len({look_of(name).colour for name in names}) == len(names)
    assert look_of("raw").colour == RAW_COLOUR
    assert look_of("jpeg-10+raw") == look_of("jpeg-10"), "a regimen looks like its first stage"
    assert all(re.fullmatch(r"#[0-9a-fA-F]{6}", look_of(name).colour) for name in names)
    assert look_of(None) == look_of("?")


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
    with pytest.raises(UsageError, match="lies under a file, which is not a folder"):
        write_plots(everything, tmp_path / "file", "svg")


def test_bars_of_one_variant_in_one_group_carry_their_runs(tmp_path: Path) -> None:
    for index in (1, 2):
        write_training(tmp_path / f"run{index}" / "r.json", Training(start=float(index)))
    plot = next(p for p in all_plots(make(tmp_path)) if p.name.startswith("rate"))
    svg = inline_svg(plot).svg
    assert "raw, run1" in svg
    assert "raw, run2" in svg


def test_curves_of_one_variant_share_its_colour_and_differ_in_their_line(tmp_path: Path) -> None:
    sources = ["jpeg-10", "jpeg-10", "raw", "raw", "raw"]
    for index, variant in enumerate(sources):
        training = Training(data=f"d/imagenet/{variant}", start=index + 1.0, epochs=12)
        write_training(tmp_path / f"run{index}" / "r.json", training)
    plot = next(p for p in all_plots(make(tmp_path)) if p.name.startswith("accuracy-over-time"))
    canvas = Canvas(Figure())
    plot.draw(canvas)
    lines = canvas.figure.axes[0].lines
    assert {line.get_color() for line in lines} == {look_of("jpeg-10").colour, RAW_COLOUR}
    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 5 - 1
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 5
    labels = [str(line.get_label()) for line in lines]
    assert len(set(labels)) == len(labels)


def test_runs_are_grouped_by_what_they_ask(tmp_path: Path) -> None:
    start = 0.0
    for experiment, storage in (("acc", "mem"), ("time", "hdd")):
        for variant in ("raw", "jpeg-10", "jpeg-50", "webp-10"):
            start += 1.0
            training = Training(data=f"data-sas/imagenet/{variant}/", epochs=12, start=start)
            name = f"{experiment}-inet-r50-{variant.replace('-', '')}-{storage}"
            write_training(tmp_path / "h2" / name / "r.json", training)
    write_training(
        tmp_path / "h2" / "space-inet-r50-raw10-mem" / "r.json",
        Training(data="data-sas/imagenet/raw-10/", epochs=12, start=99.0),
    )
    titles = {plot.title for plot in all_plots(make(tmp_path))}
    assert {
        "Accuracy over epochs: resnet50, imagenet: acc, mem",
        "Accuracy over epochs: resnet50, imagenet: time, hdd (path: sas)",
        "Fewer images or fewer bytes: resnet50, imagenet",
    } <= titles
    plots = {plot.title: plot for plot in all_plots(make(tmp_path))}
    canvas = Canvas(Figure())
    plots["Fewer images or fewer bytes: resnet50, imagenet"].draw(canvas)
    assert {tip.name for tip in canvas.tips} == {
        "h2/space-inet-r50-raw10-mem",
        *(f"h2/acc-inet-r50-{variant}-mem" for variant in ("jpeg10", "jpeg50", "webp10")),
    }, "the subset is paired with the runs that agree with it most"


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


def test_what_stands_beside_the_bars_of_stalls_is_on_the_picture(tmp_path: Path) -> None:
    for number in range(12):
        name = f"an-experiment-with-a-long-name-{number}"
        write_training(tmp_path / name / "r.json", Training(data_s=0.75, start=float(number)))
    (plot,) = [p for p in all_plots(make(tmp_path)) if p.name.startswith("stalls")]
    with _drawn(plot) as canvas:
        canvas.figure.draw_without_rendering()
    texts = [text for axes in canvas.figure.axes for text in axes.texts]
    assert len(texts) == 12
    assert all(text.get_window_extent().x1 <= WIDTH_IN * DPI for text in texts)


def test_measurements_of_bench_io_are_grouped_by_what_was_measured(tmp_path: Path) -> None:
    run = BENCH["runs"][0]  # type: ignore[index]
    runs = [
        {**run, "name": f"pcr k={k}, 2 workers, {how}", "scans": k, "storage": storage}
        for k in (1, 2, 5, 10)
        for how, storage in (("cached", "mem"), ("throttled 1MB/s", "1MB/s"))
    ]
    write_json(tmp_path / "bench.json", {**BENCH, "runs": runs})
    (plot,) = [p for p in all_plots(make(tmp_path)) if p.name.startswith("rate-by-variant")]
    canvas = Canvas(Figure())
    plot.draw(canvas)
    labels = {label.get_text() for axes in canvas.figure.axes for label in axes.get_yticklabels()}
    assert labels == {"1MB/s", "mem"}
