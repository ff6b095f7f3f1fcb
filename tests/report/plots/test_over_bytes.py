"""Accuracy over bytes: drawn where runs read different numbers of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from training_reports import PARAMETERS, epoch_report, run_info, train_result

from dl2cli.report.config import ReportConfig
from dl2cli.report.plots.canvas import inline_svg
from dl2cli.report.plots.figures import all_plots
from dl2cli.report.read.discover import Finder
from dl2cli.report.report import build_report
from dl2cli.training.log.run_log import RunLog

pytest.importorskip("matplotlib.figure")


def write_run(folder: Path, variant: str, bytes_read: int) -> None:
    folder.mkdir()
    log = RunLog(folder / "experiment_report.json")
    told = {**PARAMETERS, "experiment_name": folder.name, "variant": variant, "scans": variant}
    log.started(run_info(folder, parameters=told))
    for epoch in range(3):
        report = epoch_report(epoch)
        assert report.train is not None
        train = replace(report.train, bytes_read=bytes_read * (epoch + 1))
        log.epoch_ended(replace(report, train=train))
    log.ended(train_result(folder))
    log.close()


@pytest.mark.parametrize(("half", "drawn"), [(500_000_000, True), (1_000_000_000, False)])
def test_runs_that_read_different_bytes_are_drawn(tmp_path: Path, half: int, drawn: bool):
    write_run(tmp_path / "full", "pcr", 1_000_000_000)
    write_run(tmp_path / "less", "pcr-progressive", half)
    plots = all_plots(build_report(Finder([tmp_path]).load(), ReportConfig()))
    found = [plot for plot in plots if plot.title.startswith("Accuracy over bytes")]
    assert bool(found) is drawn
    if drawn:
        svg = inline_svg(found[0])
        text = str(svg)
        assert "after 6 GB" in text and "after 3 GB" in text
