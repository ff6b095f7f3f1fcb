"""Shows a training: a live view on a terminal, else a line per window and per epoch."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from dl2cli.cli.framework.shared import facts_table, size
from dl2cli.cli.train.shares import ShareBar, Shares, progress_bar, share_bar
from dl2cli.text import clean_text
from dl2cli.training.log.events import (
    EpochReport,
    Notice,
    NoticeKind,
    Observer,
    Phase,
    PhaseReport,
    RunInfo,
    StepReport,
)

if TYPE_CHECKING:
    from dl2cli.training.log.events import TrainResult

_logger = logging.getLogger(__name__)
_REFRESH_HZ = 4
_NOTICE_STYLES = {
    NoticeKind.NAN_LOSS: "bold red",
    NoticeKind.DAMAGE: "yellow",
    NoticeKind.FIDELITY: "cyan",
    NoticeKind.CHECKPOINT: "dim",
    NoticeKind.INFO: "",
}
_MAX_NOTICE = 2000


@dataclass(slots=True)
class _PhaseProgress:
    """How far a phase has come, as the host saw it.

    `before_s` is the time of the epoch's earlier phase, `windows` are those of training so far.
    """

    phase: Phase
    epoch: int
    iteration: int = 0
    before_s: float = 0.0
    steps: int = 0
    images: int = 0
    wall_s: float = 0.0
    data_s: float = 0.0
    windows: list[PhaseReport] = field(default_factory=list)


class UnfailingView(Observer):
    """Passes events on to a view; one that fails is left alone: no view may end a training."""

    def __init__(self, view: Observer) -> None:
        self._view: Observer | None = view

    def started(self, info: RunInfo) -> None:
        """Pass the event on."""
        self._pass_on("started", info)

    def stepped(self, report: StepReport) -> None:
        """Pass the event on."""
        self._pass_on("stepped", report)

    def window(self, report: PhaseReport) -> None:
        """Pass the event on."""
        self._pass_on("window", report)

    def epoch_ended(self, report: EpochReport) -> None:
        """Pass the event on."""
        self._pass_on("epoch_ended", report)

    def noticed(self, notice: Notice) -> None:
        """Pass the event on."""
        self._pass_on("noticed", notice)

    def close(self) -> None:
        """Pass the event on."""
        self._pass_on("close")

    def _pass_on(self, event: str, *arguments: object) -> None:
        if self._view is None:
            return
        try:
            getattr(self._view, event)(*arguments)
        except Exception:  # whatever it is, the training matters more
            self._view = None
            _logger.exception("The view of the training failed; the training goes on without it.")


class TrainView(Observer):
    """Shows how far rank 0 has come and what it waits for."""

    def __init__(self, console: Console, *, live: bool = True) -> None:
        """Show on a console, which should be that of stderr.

        Args:
            console: where to.
            live: whether what is drawn may be drawn over; colours alone (FORCE_COLOR, which makes
                a file a terminal for rich) do not say so.
        """
        self._console = console
        self._may_redraw = live
        self._live: Live | None = None
        self._drawn: list[int] = []  # cells of each line on the screen
        self._info: RunInfo | None = None
        self._epochs: list[EpochReport] = []
        self._window: PhaseReport | None = None  # the last of training, or an epoch
        self._best: tuple[float, int] | None = None
        self._now = _PhaseProgress(Phase.TRAIN, 0)

    def started(self, info: RunInfo) -> None:
        """Begin to show, on a terminal."""
        self._info = info
        self._now = _PhaseProgress(Phase.TRAIN, info.first_epoch, info.first_iteration)
        if info.best_top1_pct is not None and info.best_epoch is not None:
            self._best = (info.best_top1_pct, info.best_epoch)
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        if terminal and self._may_redraw:
            self._live = Live(
                console=self._console,
                get_renderable=self._render,
                refresh_per_second=_REFRESH_HZ,
                transient=True,
                redirect_stdout=False,  # stdout is for results, and processes of loaders inherit it
                redirect_stderr=False,
            )
            self._live.start()

    def stepped(self, report: StepReport) -> None:
        """Note an iteration; it is drawn by another thread, some times a second."""
        now = self._now
        if report.epoch != now.epoch or report.phase is not now.phase:
            before_s = now.wall_s if report.epoch == now.epoch else 0.0
            now = self._now = _PhaseProgress(report.phase, report.epoch, before_s=before_s)
        now.iteration = report.iteration
        now.steps += 1
        now.images += report.images
        now.wall_s += report.iteration_s
        now.data_s += report.data_s

    def window(self, report: PhaseReport) -> None:
        """Take what only windows know; without a terminal, print it."""
        if report.phase is Phase.TRAIN:
            self._window = report
            self._now.windows.append(report)
        if self._live is None and self._info is not None:
            self._print(_window_line(report, self._info))

    def epoch_ended(self, report: EpochReport) -> None:
        """Print a line that stays."""
        self._epochs.append(report)
        if self._window is None or self._window.epoch < report.epoch:  # too short for a window
            self._window = report.train
        validation = report.validation
        if validation is not None and report.best:
            self._best = (validation.top1_pct, report.epoch)
        if self._info is not None:
            self._print(_epoch_line(report, self._info.epochs))

    def noticed(self, notice: Notice) -> None:
        """Print a notice above the view."""
        text = clean_text(notice.text, _MAX_NOTICE)
        self._print(Text(text, _NOTICE_STYLES[notice.kind]))

    def close(self) -> None:
        """Take the view from the screen."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _print(self, text: Text) -> None:
        self._fit_erasure(self._console.width)
        # A line stays whole in a file; on a terminal, it breaks between words.
        self._console.print(text, soft_wrap=not self._console.is_terminal, highlight=False)

    def _render(self) -> Text:
        """Draw the view; called by the thread that refreshes it, so it must be cheap."""
        info, now = self._info, self._now
        if info is None:
            return Text()
        width = self._console.width
        lines = [*self._bars(info, now, width), self._figures(info, now)]
        shares = self._shares(info, now)
        if shares.parts():
            words = shares.text()
            # There is room behind the last line for the ^C that a terminal echoes.
            bar = share_bar(shares, max(4, width - words.cell_len - 10), self._console)
            lines.append(Text("time  ").append_text(bar).append(" ").append_text(words))
        for line in lines:
            line.truncate(width)
        self._fit_erasure(width)
        self._drawn = [line.cell_len for line in lines]
        return Text("\n", no_wrap=True).join(lines)

    def _fit_erasure(self, width: int) -> None:
        """Let rich erase as many rows as the last drawing has now.

        A terminal that was made narrower has broken its lines into more rows; rich goes up by as
        many as it drew, and would leave the upper ones standing.
        """
        drawing = getattr(self._live, "_live_render", None)
        rows = sum(max(1, math.ceil(cells / max(width, 1))) for cells in self._drawn)
        if drawing is not None and rows > len(self._drawn):
            drawing._shape = (width, rows)
        self._drawn = [min(cells, width) for cells in self._drawn]

    def _bars(self, info: RunInfo, now: _PhaseProgress, width: int) -> list[Text]:
        """Return the bar of epochs above the bar of steps."""
        training = now.phase is Phase.TRAIN
        steps = info.steps_per_epoch if training else info.val_steps
        step_s = now.wall_s / now.steps if now.steps else None
        rows = [
            (
                "epoch",
                _epochs_done(info, now) / max(info.epochs, 1),
                f"{min(now.epoch + 1, info.epochs)}/{info.epochs}",
                self._left_s(info, now),
            ),
            (
                "train" if training else "val",
                now.iteration / max(steps, 1),
                f"{now.iteration}/{steps}",
                None if step_s is None else step_s * (steps - now.iteration),
            ),
        ]
        room = max(len(count) for _, _, count, _ in rows)
        cells = max(4, width - room - 21)
        return [
            Text(f"{name:<5} ")
            .append_text(progress_bar(done, cells, self._console))
            .append(f" {count:>{room}}  {_left(left_s):>12}")
            for name, done, count, left_s in rows
        ]

    def _left_s(self, info: RunInfo, now: _PhaseProgress) -> float | None:
        """Return the seconds to the end if epochs go on as those that warmed up, or as this one."""
        known = [epoch.total_s for epoch in self._epochs[1:] or self._epochs]
        if known:
            whole_s = (info.epochs - now.epoch) * sum(known) / len(known)
            return max(0.0, whole_s - now.before_s - now.wall_s)
        if not now.steps or now.phase is Phase.VALIDATION:
            return None
        epoch_s = now.wall_s / now.steps * info.steps_per_epoch
        return (info.epochs - _epochs_done(info, now)) * epoch_s

    def _figures(self, info: RunInfo, now: _PhaseProgress) -> Text:
        """Return loss, accuracy, speed and fidelity."""
        window = self._window
        words: list[str] = []
        if window is not None:
            words += [f"loss {window.loss:.3f}", f"top-1 {window.top1_pct:.1f} %"]
        if now.wall_s > 0:
            words.append(f"{_rate(now.images * info.world_size, now.wall_s)} img/s")
        if window is not None:
            words += _fidelity(info, window, now.windows or [window])
        if self._best is not None:
            words.append(f"best {self._best[0]:.1f} % @ {self._best[1] + 1}")
        return Text("  ".join(words), no_wrap=True, overflow="ellipsis")

    def _shares(self, info: RunInfo, now: _PhaseProgress) -> Shares:
        """Return where the time of this epoch went.

        A GPU's times are known at the end of a window; what the host sees in between misleads.
        """
        known = Shares.of(now.windows or ([self._window] if self._window else []))
        if info.device != "cpu":
            return known
        return Shares(now.data_s, now.wall_s - now.data_s, known.fetch_part)


def _epochs_done(info: RunInfo, now: _PhaseProgress) -> float:
    """Return how many epochs are over; validation belongs to the end of one."""
    part = 1.0 if now.phase is Phase.VALIDATION else now.iteration / max(info.steps_per_epoch, 1)
    return min(now.epoch + part, info.epochs)


def _window_line(report: PhaseReport, info: RunInfo) -> Text:
    training = report.phase is Phase.TRAIN
    steps = info.steps_per_epoch if training else info.val_steps
    words = [
        f"epoch {report.epoch + 1}/{info.epochs} {'train' if training else 'val'} "
        f"{report.iteration}/{steps}",
        f"loss {report.loss:.3f}",
        f"top-1 {report.top1_pct:.1f} %",
        f"{_rate(report.images, report.wall_s)} img/s",
        *_fidelity(info, report, [report]),
    ]
    return Text("  ".join([*words, Shares.of([report]).text().plain]))


def _epoch_line(report: EpochReport, epochs: int) -> Text:
    line = Text(f"epoch {report.epoch + 1:>{len(str(epochs))}}/{epochs}")
    train, validation = report.train, report.validation
    if train is not None:
        line.append(f"  loss {train.loss:.3f}  top-1 {train.top1_pct:.1f} %")
    if validation is not None:
        line.append(f"  val {validation.top1_pct:.1f} %", "bold" if report.best else "")
    if train is not None:
        line.append(f"  {_rate(train.images, train.wall_s)} img/s")
        stall = Shares.of([train])
        if stall.parts():
            line.append(f"  stall {1 - stall.parts()[-1][1]:.0%}")
    return line.append(f"  {_duration(report.total_s)}")


def _fidelity(info: RunInfo, last: PhaseReport, windows: Sequence[PhaseReport]) -> list[str]:
    """Return k, the size where it changes, and bytes a second: one window may read nothing."""
    now = last.fidelity
    words = [] if now.scans is None else [f"k={now.scans}"]
    words += [f"{now.size_px} px"] if info.parameters.get("size_schedule") else []
    wall_s = sum(window.wall_s for window in windows)
    if wall_s > 0:
        words.append(f"{size(sum(window.bytes_read for window in windows) / wall_s)}/s")
    return words


def _rate(count: float, seconds: float) -> str:
    return f"{count / seconds:,.0f}" if seconds > 0 else "–"


def _left(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return ""
    return f"{seconds:.0f} s left" if seconds < 60 else f"{_duration(seconds)} left"


def _duration(seconds: float) -> str:
    """Return `3:05`, or `2:03:05` from an hour on; a short time with tenths (`4.2 s`)."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def result_tables(result: TrainResult) -> list[RenderableType]:
    """Return the table that stands at the end."""
    phases = [epoch.train for epoch in result.history if epoch.train is not None]
    shares = Shares.of(phases)
    table = facts_table(str(result.folder))
    for name, value in _rows(result, phases):
        table.add_row(name, value)
    if shares.parts():
        table.add_row("where time went", Group(ShareBar(shares, 40), shares.text()))
    table.add_row("log", str(result.log))
    return [table]


def _rows(result: TrainResult, phases: Sequence[PhaseReport]) -> list[tuple[str, str]]:
    ended = f", stopped by {result.stopped_by}" if result.stopped_by else ""
    rows = [("epochs", f"{result.epochs_done} of {result.epochs}{ended}")]
    if result.best_top1_pct is not None and result.best_epoch is not None:
        rows.append(("best top-1", f"{result.best_top1_pct:.2f} % @ epoch {result.best_epoch + 1}"))
    if result.final is not None and result.final.train is not None:
        train = result.final.train
        rows.append(("last epoch", f"loss {train.loss:.3f}, top-1 {train.top1_pct:.2f} %"))
    train_s = sum(phase.wall_s for phase in phases)
    if train_s > 0:
        images = sum(phase.images for phase in phases)
        rate = f"{_rate(images, train_s)} images/s ({images:,} images in {_duration(train_s)})"
        rows.append(("training", rate))
        rows.append(("bytes read", _bytes(result.bytes_read, images)))
    if result.final is not None and (result.final.degraded or result.final.skipped):
        damage = f"{result.final.degraded:,} degraded, {result.final.skipped:,} left out"
        rows.append(("damaged images", damage))
    start = _duration(result.startup_s)
    rows.append(("wall time", f"{_duration(result.wall_s)}, after a start of {start}"))
    if result.checkpoint is not None:
        rows.append(("checkpoint", str(result.checkpoint)))
    return rows


def _bytes(count: int, images: int) -> str:
    return f"{size(count)} ({size(count / images)} an image)" if images else size(count)
