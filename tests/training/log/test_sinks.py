"""Trackers: what they stored, read back with their own libraries."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest
from training_reports import epoch_report, phase_report, run_info, train_result

from dl2cli.errors import MissingDependency, UsageError
from dl2cli.training.log.events import Notice, NoticeKind, Observer
from dl2cli.training.log.sinks import create_sinks

NOTICE = Notice(NoticeKind.FIDELITY, "The tuner chose 5 scans.", 1, 0, {"scans": 5})


def tell(sink: Observer, folder: Path, epochs: range, *, end: bool = True, state=None) -> dict:
    sink.started(run_info(folder, first_epoch=epochs.start, log_state=state or {}))
    for epoch in epochs:
        sink.window(phase_report(epoch, 100))
        if epoch == 1:
            sink.noticed(NOTICE)
        sink.epoch_ended(epoch_report(epoch))
    saved = {type(sink).__name__: json.loads(json.dumps(sink.state()))}
    if end:
        sink.ended(train_result(folder))
    sink.close()
    return saved


def test_tensorboard_shows_what_was_told(tmp_path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of protobuf and numpy inside
        event_accumulator = pytest.importorskip(
            "tensorboard.backend.event_processing.event_accumulator"
        )
        [sink] = create_sinks(["tensorboard"], tmp_path)
        state = tell(sink, tmp_path, range(2), end=False)
        [again] = create_sinks(["tensorboard"], tmp_path)
        tell(again, tmp_path, range(2, 3), state=state)
        events = event_accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
    scalars = [(s.step, s.value) for s in events.Scalars("epoch/v.top1")]
    assert [step for step, _ in scalars] == [250, 500, 750]
    expected = [epoch_report(epoch).validation.top1_pct for epoch in range(3)]
    assert [value for _, value in scalars] == pytest.approx(expected, rel=1e-6)
    windows = [s.step for s in events.Scalars("window/t.loss")]
    assert windows == [100, 350, 600]
    [notice] = events.Tensors("fidelity/text_summary")
    assert notice.step == 250
    assert notice.tensor_proto.string_val[0] == NOTICE.text.encode()


@pytest.mark.slow
def test_wandb_keeps_a_run_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pytest.importorskip("wandb")
        monkeypatch.setenv("WANDB_MODE", "offline")
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            monkeypatch.setenv(name, str(tmp_path / "home"))
        [sink] = create_sinks(["wandb"], tmp_path)
        state = tell(sink, tmp_path, range(2))
    assert caplog.records == []
    [file] = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    assert state["WandB"]["run_id"] in file.name
    for _ in range(300):  # a process of its own writes it, also after `finish` has returned
        if NOTICE.text.encode() in (written := file.read_bytes()):
            break
        time.sleep(0.1)
    assert b"epoch/v.top1" in written
    assert b"window/t.loss" in written
    assert NOTICE.text.encode() in written


@pytest.mark.slow
def test_mlflow_shows_what_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the store in files, all that its small package has
        mlflow = pytest.importorskip("mlflow")
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
        [sink] = create_sinks(["mlflow"], tmp_path)
        state = tell(sink, tmp_path, range(2), end=False)
        [again] = create_sinks(["mlflow"], tmp_path)
        tell(again, tmp_path, range(2, 3), state=state)
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name("dl2")
        [run] = client.search_runs([experiment.experiment_id])
        history = client.get_metric_history(run.info.run_id, "epoch/v.top1")
    assert run.info.status == "FINISHED"
    assert run.data.params["arch"] == "resnet18"
    assert sorted(m.step for m in history) == [250, 500, 750]
    assert {m.value for m in history} == {epoch_report(e).validation.top1_pct for e in range(3)}
    assert run.data.tags["fidelity/250"] == NOTICE.text


def test_mlflow_starts_with_what_the_extra_brings(tmp_path: Path):
    """Without a tracking URI, where it keeps runs by default; in a process without our filters."""
    pytest.importorskip("alembic")
    pytest.importorskip("mlflow")
    code = (
        "from pathlib import Path\n"
        "from training_reports import epoch_report, run_info\n"
        "from dl2cli.training.log.sinks import create_sinks\n"
        "[sink] = create_sinks(['mlflow'], Path('run'))\n"
        "sink.started(run_info(Path('run')))\n"
        "sink.epoch_ended(epoch_report(0))\n"
        "sink.close()\n"
        "print(sink.state()['run_id'])\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**kept, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mlflow.db").is_file()


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_library_that_is_missing_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.delattr("torch.utils.tensorboard", raising=False)
    with pytest.raises(MissingDependency, match=rf"{name} is needed.*dl2cli\[trackers\]"):
        create_sinks([name], tmp_path)


def test_an_unknown_tracker_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"'comet': there are tensorboard, wandb, mlflow"):
        create_sinks(["comet"], tmp_path)
    assert create_sinks([], tmp_path) == []


def test_a_tracker_that_cannot_start_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("in the way")
    [sink] = create_sinks(["tensorboard"], tmp_path)
    with pytest.raises(UsageError, match="TensorBoard cannot start"):
        sink.started(run_info(tmp_path))
    sink.close()
    assert caplog.records == []


def test_a_tracker_that_fails_later_does_not_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    pytest.importorskip("tensorboard")
    [sink] = create_sinks(["tensorboard"], tmp_path)
    sink.started(run_info(tmp_path))

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(sink._writer, "add_scalar", fail)
    sink.window(phase_report(0, 100, loss=math.nan))
    sink.epoch_ended(epoch_report(0))
    sink.close()
    assert [r.getMessage() for r in caplog.records] == [
        "TensorBoard failed and is left alone: no space left"
    ]
