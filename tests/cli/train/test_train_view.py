"""The live view of a training: what is on the screen, at which width, and what stays."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from training_reports import epoch_report, phase_report, run_info, train_result

from dl2cli.cli.train.shares import Shares
from dl2cli.cli.train.view import TrainView, UnfailingView, result_tables
from dl2cli.training.log.events import Notice, NoticeKind, Observer, Phase, StepReport


def console(width: int = 80, *, terminal: bool = True, **options) -> Console:
    options = {"color_system": None, **options}
    return Console(
        file=io.StringIO(), width=width, height=24, force_terminal=terminal, **options
    )  # fmt: skip


def printed(it: Console) -> str:
    return it.file.getvalue()


def drawn(it: TrainView) -> list[str]:
    return it._render().plain.split("\n")


def step(epoch: int, iteration: int, phase: Phase = Phase.TRAIN) -> StepReport:
    return StepReport(phase, epoch, iteration, 64, 0.1, 0.4)


def view(it: Console, **info) -> TrainView:
    started = TrainView(it)
    started.started(run_info(Path("/runs/demo"), **info))
    if started._live is not None:
        started._live.auto_refresh = False
        started._live._refresh_thread.stop()
    return started


@pytest.mark.parametrize("width", [40, 64, 80, 120, 200])
def test_every_line_fits(width: int):
    it = view(console(width))
    it.stepped(step(0, 1))
    it.window(phase_report(0, 100))
    it.epoch_ended(epoch_report(0))
    it.stepped(step(1, 125))
    lines = drawn(it)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    assert len(lines[0]) == len(lines[1]) == width
    it.close()


def test_a_terminal_that_becomes_narrower_keeps_no_old_lines() -> None:
    screen = console(80)
    it = view(screen)
    it.stepped(step(0, 1))
    it.window(phase_report(0, 100))
    it._live.refresh()
    assert it._live._live_render._shape == (80, 4)
    rows = sum(math.ceil(len(line) / 30) for line in drawn(it))
    screen.width = 30
    drawn(it)  # rich erases as many rows as the terminal has made of the last drawing
    assert it._live._live_render._shape == (30, rows)
    it._live.refresh()
    assert it._live._live_render._shape == (30, 4)
    it.close()


def test_it_shows_where_the_training_is_and_what_it_waits_for():
    it = view(console(120))
    for iteration in range(1, 51):
        it.stepped(step(0, iteration))
    it.window(phase_report(0, 100))
    epoch, train, figures, time = drawn(it)
    assert re.match(r"epoch .* 1/3 +4:40 left", epoch)  # 700 steps of 0.4 s
    assert re.match(r"train .* 50/250 +1:20 left", train)
    assert figures == "loss 2.500  top-1 14.3 %  160 img/s  k=5  2.3 kB/s"
    assert time.endswith("fetch stall 8.3%  prep stall 16.7%  compute 75.0%")
    it.close()


def test_it_shows_the_size_where_that_changes():
    it = view(console(120), parameters={"size_schedule": "128@0,224@2"})
    it.stepped(step(0, 1))
    it.window(phase_report(0, 100))
    assert "k=5  224 px  " in drawn(it)[2]
    it.close()


def test_before_a_window_a_cpus_stall_is_known_but_not_its_cause():
    it = view(console())
    it.stepped(step(0, 1))
    assert drawn(it)[-1].endswith("data stall 25.0%  compute 75.0%")
    it.close()


def test_what_the_host_sees_of_a_gpu_is_not_shown():
    it = view(console(), device="cuda:0")
    it.stepped(step(0, 1))
    assert "stall" not in "\n".join(drawn(it))
    it.window(phase_report(0, 100, data_s=0.1, compute_s=0.9, fetch_stall_s=None))
    assert drawn(it)[-1].endswith("data stall 10.0%  compute 90.0%")
    it.close()


def test_validation_has_its_own_bar():
    it = view(console())
    it.stepped(step(0, 250))
    it.stepped(step(0, 10, Phase.VALIDATION))
    assert re.match(r"val .* 10/40 +12 s left", drawn(it)[1])
    it.epoch_ended(epoch_report(0, total_s=100.0, best=True))
    it.stepped(step(1, 1))
    assert "3:20 left" in drawn(it)[0]  # 200 s, less a step
    assert "best 14.3 % @ 1" in drawn(it)[2]
    it.close()


def test_speeds_count_all_ranks():
    it = view(console(), world_size=4)
    it.stepped(step(0, 1))
    assert "640 img/s" in drawn(it)[2]
    it.close()


def test_a_resumed_run_begins_where_it_was():
    it = view(console(), first_epoch=1, first_iteration=100)
    assert "2/3" in drawn(it)[0]
    assert "100/250" in drawn(it)[1]
    it.close()


def test_epochs_too_short_for_a_window_tell_what_windows_would():
    it = view(console(120))
    it.stepped(step(0, 1))
    it.epoch_ended(epoch_report(0))
    it.stepped(step(1, 1))
    _, _, figures, time = drawn(it)
    assert figures.startswith("loss 2.500  top-1 14.3 %")
    assert "fetch stall" in time
    it.close()


def test_a_resumed_run_knows_the_best_epoch_before_it():
    it = view(console(120), first_epoch=1, best_top1_pct=99.0, best_epoch=0)
    it.epoch_ended(epoch_report(1))
    it.stepped(step(2, 1))
    assert "best 99.0 % @ 1" in drawn(it)[2]
    it.close()


def test_notices_and_epochs_stay_above_the_view():
    it = view(console())
    it.noticed(Notice(NoticeKind.NAN_LOSS, "The loss is \x1b[2Jnan [bold]here[/].", 0, 3))
    it.epoch_ended(epoch_report(0))
    it.close()
    text = printed(it._console)
    assert r"The loss is \x1b[2Jnan [bold]here[/]." in text
    assert "\x1b[2J" not in text
    assert "epoch 1/3  loss 2.500  top-1 14.3 %  val 14.3 %" in text


def test_the_terminal_is_left_as_it_was():
    it = view(console())
    it.close()
    it.close()
    text = printed(it._console)
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is back


def test_without_a_terminal_there_is_a_line_a_window_and_an_epoch():
    it = view(console(terminal=False))
    it.stepped(step(0, 1))
    it.window(phase_report(0, 100))
    it.window(phase_report(0, 20, Phase.VALIDATION))
    it.epoch_ended(epoch_report(0))
    it.close()
    text = printed(it._console)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3 train 100/250  loss 2.500  top-1 14.3 %")
    assert lines[1].startswith("epoch 1/3 val 20/40")
    assert lines[2].startswith("epoch 1/3  loss 2.500  top-1 14.3 %  val 14.3 %")
    assert all("stall" in line for line in lines)


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "dumb")
    it = view(console())
    it.window(phase_report(0, 100))
    it.close()
    assert printed(it._console).startswith("epoch 1/3 train 100/250")


def test_colours_can_be_turned_off(monkeypatch: pytest.MonkeyPatch):
    def bars(**options) -> str:
        it = console(120, **options)
        shown = view(it)
        shown.stepped(step(0, 1))
        it.print(shown._render())
        shown.close()
        return printed(it)

    assert "\x1b[31m" in bars(color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    plain = bars(color_system="standard")
    assert "\x1b[31m" not in plain
    assert "█" in plain  # then textures tell the parts apart
    assert "░" in plain


def test_nothing_odd_breaks_the_view():
    it = view(console(), epochs=0, steps_per_epoch=0, val_steps=0)
    assert len(drawn(it)) == 3
    it.stepped(StepReport(Phase.TRAIN, 0, 1, 0, 0.0, 0.0))
    it.window(phase_report(0, 100, loss=math.nan, top1_pct=math.nan, wall_s=0.0, bytes_read=0))
    assert "loss nan" in drawn(it)[2]
    it.epoch_ended(epoch_report(0, train=None, validation=None))
    it.close()


def test_shares_add_up():
    reports = [phase_report(0, 100), phase_report(1, 250)]
    shares = Shares.of(reports)
    assert sum(part for _, part in shares.parts()) == pytest.approx(1)
    assert dict(shares.parts())["fetch stall"] == pytest.approx(
        sum(r.fetch_stall_s * r.iterations for r in reports)
        / sum(r.iteration_s * r.iterations for r in reports)
    )
    assert Shares(0.0, 0.0).parts() == []
    assert [name for name, _ in Shares(1.0, 3.0).parts()] == ["data stall", "compute"]


def table(result) -> str:
    it = console(80)
    for renderable in result_tables(result):
        it.print(renderable)
    return printed(it)


def test_the_table_at_the_end():
    text = table(train_result(Path("/runs/demo")))
    images, seconds = 48_000, sum(epoch_report(e).train.wall_s for e in range(3))
    assert "16.29 % @ epoch 3" in text
    assert f"{images / seconds:,.0f} images/s (48,000 images in" in text
    assert "/runs/demo/experiment_report.json" in text
    assert "prep stall" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_table_of_a_run_that_was_stopped_before_anything_was_done():
    result = train_result(Path("/runs/demo"), status="stopped", stopped_by="SIGINT")
    result = replace(result, epochs_done=0, best_top1_pct=None, best_epoch=None, final=None)
    text = table(replace(result, history=(), checkpoint=None, bytes_read=0))
    assert "0 of 3, stopped by SIGINT" in text
    assert "best top-1" not in text


def test_a_view_that_fails_does_not_end_the_training(caplog: pytest.LogCaptureFixture):
    class Broken(Observer):
        seen = 0

        def stepped(self, report: StepReport) -> None:
            self.seen += 1
            raise ValueError("I/O operation on closed file")

    broken = Broken()
    it = UnfailingView(broken)
    for iteration in range(1, 4):
        it.stepped(step(0, iteration))
    it.close()
    assert broken.seen == 1
    assert "goes on without it" in caplog.text


def test_a_file_with_colours_is_not_drawn_over():
    out = Console(file=io.StringIO(), force_terminal=True, width=80)  # as FORCE_COLOR makes it
    it = TrainView(out, live=False)
    it.started(run_info(Path("run")))
    it.stepped(step(0, 1))
    it.epoch_ended(epoch_report(0))
    it.close()
    assert "\x1b[1A" not in out.file.getvalue()
