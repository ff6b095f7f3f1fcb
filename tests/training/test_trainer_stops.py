"""How a training goes on after it was stopped: by signals, crashes, a time budget."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from train_runs import Listener, curve, records, small_config, train

from dl2cli.training import fidelity_control
from dl2cli.training.checkpoint.read import load_checkpoint
from dl2cli.training.fidelity.autotune import AutotuneConfig, mean_gradient
from dl2cli.training.log.events import NoticeKind, Phase


@pytest.mark.parametrize("steps", [1, 3, 4, 6])
def test_a_run_that_is_stopped_goes_on_as_if_nothing_had_happened(
    sample_pcr: Path, tmp_path: Path, steps: int
):
    straight = train(small_config(sample_pcr, tmp_path / "straight"))
    config = small_config(sample_pcr, tmp_path / "stopped")
    stopped = train(config, [Listener(stop_after=steps)])
    assert (stopped.status, stopped.stopped_by) == ("stopped", "SIGTERM")
    resumed = train(
        replace(config, checkpoint=replace(config.checkpoint, resume=stopped.checkpoint))
    )
    assert curve(resumed.log) == curve(straight.log)
    assert len(records(resumed.log, "P")) == 1
    assert resumed.best_top1_pct == straight.best_top1_pct


def test_a_run_that_is_stopped_while_it_validates_does_not_train_again(
    sample_pcr: Path, tmp_path: Path
):
    straight = train(small_config(sample_pcr, tmp_path / "straight"))
    config = small_config(sample_pcr, tmp_path / "stopped")
    stopped = train(config, [Listener(stop_after=1, phase=Phase.VALIDATION)])
    assert stopped.stopped_by == "SIGTERM"
    listener = Listener()
    again = small_config(sample_pcr, tmp_path / "stopped", checkpoint_resume=stopped.checkpoint)
    resumed = train(again, [listener])
    assert sum(s.phase is Phase.TRAIN for s in listener.steps) == 4
    assert curve(resumed.log) == curve(straight.log)


def test_checkpoints_within_an_epoch_survive_a_crash(sample_pcr: Path, tmp_path: Path):
    class Crash(Listener):
        def stepped(self, report):
            super().stepped(report)
            if len(self.steps) == 4:
                raise RuntimeError("power cut")

    straight = train(small_config(sample_pcr, tmp_path / "straight"))
    config = small_config(sample_pcr, tmp_path / "crashed", checkpoint_every_steps=1)
    with pytest.raises(RuntimeError, match="power cut"):
        train(config, [Crash()])
    assert load_checkpoint(tmp_path / "crashed")["iteration"] == 3
    resumed = train(
        small_config(sample_pcr, tmp_path / "crashed", checkpoint_resume=tmp_path / "crashed")
    )
    assert curve(resumed.log) == curve(straight.log)


def test_a_warning_saves_and_the_run_goes_on(sample_pcr: Path, tmp_path: Path):
    class Warned(Listener):
        def stepped(self, report):
            super().stepped(report)
            if len(self.steps) == 2:
                os.kill(os.getpid(), signal.SIGUSR1)
            if len(self.steps) == 4:  # no more than two steps later
                self.saved = load_checkpoint(tmp_path / "run")["iteration"]

    class AlwaysWarned(Listener):
        def stepped(self, report):
            os.kill(os.getpid(), signal.SIGUSR1)

    listener = Warned()
    result = train(small_config(sample_pcr, tmp_path / "run"), [listener])
    assert (result.status, listener.saved) == ("complete", 2)
    straight = train(small_config(sample_pcr, tmp_path / "straight"))
    assert curve(result.log) == curve(straight.log)
    config = small_config(sample_pcr, tmp_path / "stopped", checkpoint_on_usr1="stop")
    stopped = train(config, [AlwaysWarned()])
    assert stopped.stopped_by == "SIGUSR1"


def test_a_stop_while_the_tuner_works_is_heard_at_its_next_batch(sample_pcr: Path, tmp_path: Path):
    class Early(Listener):
        def started(self, info):
            super().started(info)
            os.kill(os.getpid(), signal.SIGTERM)

    tuner = AutotuneConfig(batches=2)
    listener = Early()
    config = small_config(sample_pcr, tmp_path / "stopped", fidelity=tuner)
    stopped = train(config, [listener])
    assert (stopped.stopped_by, listener.steps) == ("SIGTERM", [])
    assert not any(notice.kind is NoticeKind.FIDELITY for notice in listener.notices)
    resumed = train(
        replace(config, checkpoint=replace(config.checkpoint, resume=stopped.checkpoint))
    )
    straight = train(small_config(sample_pcr, tmp_path / "straight", fidelity=tuner))
    assert curve(resumed.log) == curve(straight.log)


@pytest.mark.parametrize("then", ["save", "stop"])
def test_the_warning_of_a_cluster_while_the_tuner_works(
    sample_pcr: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str
):
    def warned(*arguments):
        os.kill(os.getpid(), signal.SIGUSR1)
        return mean_gradient(*arguments)

    class Looks(Listener):
        def stepped(self, report):
            super().stepped(report)
            if len(self.steps) == 3:
                self.saved = (tmp_path / "run" / "checkpoint.pth.tar").exists()

    tuner, listener = AutotuneConfig(batches=1, every_epochs=2), Looks()
    straight = train(small_config(sample_pcr, tmp_path / "straight", fidelity=tuner))
    config = small_config(sample_pcr, tmp_path / "run", fidelity=tuner, checkpoint_on_usr1=then)
    with monkeypatch.context() as patch:
        patch.setattr(fidelity_control, "mean_gradient", warned)
        result = train(config, [listener])
    if then == "save":
        assert listener.saved  # by the first steps, not by the end of the epoch
    else:
        assert (result.stopped_by, listener.steps) == ("SIGUSR1", [])
        again = replace(config.checkpoint, resume=result.checkpoint)
        result = train(replace(config, checkpoint=again))
    assert curve(result.log) == curve(straight.log)


def test_a_time_budget_stops_a_run(sample_pcr: Path, tmp_path: Path):
    result = train(small_config(sample_pcr, tmp_path, time_budget_s=0.0))
    assert result.stopped_by == "time budget"
    assert load_checkpoint(tmp_path)["iteration"] == 1


def test_run_epochs_ends_a_process_and_resume_goes_on(sample_pcr: Path, tmp_path: Path):
    straight = train(small_config(sample_pcr, tmp_path / "straight"))
    first = train(small_config(sample_pcr, tmp_path / "two", run_epochs=1))
    assert (first.status, first.epochs_done) == ("complete", 1)
    listener = Listener()
    config = small_config(sample_pcr, tmp_path / "two", checkpoint_resume=first.checkpoint)
    second = train(config, [listener])
    assert curve(second.log) == curve(straight.log)
    assert (listener.info.best_top1_pct, listener.info.best_epoch) == (first.best_top1_pct, 0)
