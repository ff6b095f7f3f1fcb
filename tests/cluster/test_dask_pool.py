"""An analysis on a Dask cluster finds what the processes of one machine find."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from dask_processes import Cluster
from failing_calls import run_dl2

from dl2cli.analysis.run import AnalysisConfig, analyse_dataset
from dl2cli.analysis.table.rows import ImageRow, row_from_line, row_to_line
from dl2cli.analysis.worker import CRASHED, Task, WorkerConfig
from dl2cli.cluster import dask_pool
from dl2cli.cluster.dask_cluster import Build
from dl2cli.pcr.config import ConvertConfig


def test_a_cluster_finds_what_one_machine_finds(
    config: ConvertConfig, tmp_path: Path, cluster: Cluster
) -> None:
    command = ("analyze-images", config.source, "-a", "all", "--fidelity-samples", 5, "-o")
    for output, extra in (("here.csv", ()), ("there.csv", ("--scheduler", cluster.file))):
        run = run_dl2(*command, tmp_path / output, *extra, rules=[])
        assert run.returncode == 3, run.stderr  # one file is damaged
    assert (tmp_path / "there.csv").read_text() == (tmp_path / "here.csv").read_text()


def die_over_one(config: WorkerConfig, build: Build, tasks: Sequence[Task]) -> list[str]:
    if any(task.item.name == "bee/3.jpg" for task in tasks):
        os.kill(os.getpid(), signal.SIGKILL)
    return [
        row_to_line(ImageRow(file=task.item.name, class_name=task.item.class_name))
        for task in tasks
    ]


@pytest.mark.slow
def test_an_image_that_kills_every_worker_is_named(
    config: ConvertConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "1")
    folder = Path(__file__).parent  # the scheduler and the workers import this module
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{folder.parent}")
    monkeypatch.setattr(dask_pool, "analyse_chunk", die_over_one)
    lines: list[ImageRow] = []
    with Cluster(tmp_path / "cluster", workers=1) as cluster:
        cluster.keep_alive(workers=1)

        class Pool(dask_pool.DaskPool):
            def map(self, chunks):  # type: ignore[no-untyped-def]
                for line in super().map(chunks):
                    lines.append(row_from_line(line))
                    yield line

        analyse_dataset(
            AnalysisConfig(config.source), None, lambda worker: Pool(str(cluster.file), worker)
        )
    assert {row.file for row in lines if row.error == CRASHED} == {"bee/3.jpg"}
    assert len(lines) == 62
